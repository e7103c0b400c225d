"""`CropAlongCentrelined`: a window around the cord in every slice."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import InvertibleTransform, MapTransform
from monai.utils import TraceKeys

from ankleseg import keys as names
from ankleseg.errors import ConfigError
from ankleseg.measures.centreline import voxels_of
from ankleseg.transforms.boxes import darkest, is_discrete
from ankleseg.transforms.metadata import affine_of, file_of, own_copy, with_meta_of, without_meta
from ankleseg.transforms.slice_windows import cut_windows, put_windows_back
from ankleseg.volumes.geometry import Affine, anatomical_axis, spacing


class CropAlongCentrelined(MapTransform, InvertibleTransform):
    """Cut a window around the centreline out of every slice perpendicular to the axis nearest to superior–inferior.

    MONAI has none: its crops take one box of all slices. Windows are moved by whole voxels, so that the inverse is
    exact; around them it puts the darkest intensity of an image, and nothing in masks and labels. In slices beyond the
    ends of the centreline the window stays where it is at the end. As the slices are moved against each other, the
    affine of the result tells spacing and axes, and the place of the windows on average.

    Args:
        keys: arrays (C, X, Y, Z) of one grid.
        size: sides of the window in voxels, along the two axes of the slices in their order.
        beyond: mm of slices that are kept beyond each end of the centreline; None keeps all slices.
        centreline_key: (N, 3) world mm.
        allow_missing_keys: pass over keys that a sample lacks.

    Raises:
        ConfigError: the size is not two sides, or ``beyond`` is negative; or, when called, the sample has no
            centreline, or it lies outside the image.
    """

    def __init__(
        self,
        keys: KeysCollection,
        size: Sequence[int] = (80, 80),
        beyond: float | None = 0.0,
        centreline_key: str = names.CENTRELINE,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        if len(size) != 2 or min(size) < 1:
            raise ConfigError(f"invalid size {list(size)}: expected 2 sides of a window", mend="give them in voxels")
        if beyond is not None and beyond < 0:
            raise ConfigError(f"invalid beyond {beyond:g}: expected mm", mend="choose 0 or more, or null")
        self.size = (int(size[0]), int(size[1]))
        self.beyond = beyond
        self.centreline_key = centreline_key

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        d = dict(data)
        for key in self.key_iterator(d):
            if self.centreline_key not in d:
                raise ConfigError(
                    f"missing key {self.centreline_key!r}: expected the centreline of the cord",
                    mend="add a centreline model to checkpoint=[…], or centreline=FILE",
                )
            image = own_copy(d[key], d)
            array, affine = without_meta(image), affine_of(image)
            shape = tuple(array.shape[1:])
            axis = anatomical_axis(affine, "IS")
            points = np.asarray(without_meta(d[self.centreline_key]), dtype=np.float64)
            first, starts = self._windows(points, shape, affine, axis, file_of(image))
            fill = darkest(d, str(key), array, is_discrete(key, array))
            cut = with_meta_of(image, cut_windows(array, axis, first, torch.from_numpy(starts), self.size, fill))
            if isinstance(cut, MetaTensor):
                cut.affine = torch.as_tensor(_moved(affine, axis, first, starts))
                extra = {"axis": axis, "first": first, "starts": starts.tolist(), "fill": fill, "affine": affine}
                self.push_transform(cut, orig_size=shape, extra_info=extra)
            d[key] = cut
        return d

    def inverse(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        d = dict(data)
        for key in self.key_iterator(d):
            image = own_copy(d[key])
            done = self.pop_transform(image)
            extra, shape = done[TraceKeys.EXTRA_INFO], [int(side) for side in done[TraceKeys.ORIG_SIZE]]
            starts = torch.as_tensor(extra["starts"], dtype=torch.int64)
            fill = [float(value) for value in extra["fill"]]
            whole = put_windows_back(without_meta(image), int(extra["axis"]), int(extra["first"]), starts, shape, fill)
            d[key] = with_meta_of(image, whole)
            d[key].affine = torch.as_tensor(extra["affine"])
        return d

    def _windows(
        self, points: np.ndarray, shape: Sequence[int], affine: Affine, axis: int, file: str | None
    ) -> tuple[int, np.ndarray]:
        """The first slice, and the first voxel of the window in each slice from there on (slices, 2)."""
        places = voxels_of(points, affine, axis) if len(points) else np.full((1, 3), np.inf)
        beyond = np.inf if self.beyond is None else self.beyond / spacing(affine)[axis]
        low, high = places[0, axis], places[-1, axis]
        outside = not (high > -0.5 and low < shape[axis] - 0.5)
        first = int(max(np.ceil(low - beyond - 0.5 + 1e-6), 0)) if not outside else 0
        last = int(min(np.floor(high + beyond + 0.5 - 1e-6), shape[axis] - 1)) if not outside else -1
        others = [other for other in range(3) if other != axis]
        rows = np.arange(first, last + 1)
        centres = np.stack([np.interp(rows, places[:, axis], places[:, other]) for other in others], axis=-1)
        sides = np.array([shape[other] for other in others])
        if outside or ((centres < -0.5) | (centres > sides - 0.5)).any():
            raise ConfigError(
                "its centreline leaves the image", file=file, mend="give the centreline of this scan, in world mm"
            )
        return first, np.rint(centres - (np.array(self.size) - 1) / 2 - 1e-6).astype(np.int64)


def _moved(affine: Affine, axis: int, first: int, starts: np.ndarray) -> Affine:
    """The affine of the windows as they lie on average."""
    corner = np.insert(starts.mean(axis=0), axis, first)
    moved = affine.copy()
    moved[:3, 3] += affine[:3, :3] @ corner
    return moved
