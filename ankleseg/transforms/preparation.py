"""The deterministic transforms from a scan as it was read to what a network sees, shared by training and prediction."""

from __future__ import annotations

import copy
from collections.abc import Hashable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from monai.data import MetaTensor
from monai.transforms import (
    Compose,
    InvertibleTransform,
    MapTransform,
    Orientationd,
    RandomizableTrait,
    Spacingd,
    Transform,
    allow_missing_keys_mode,
    convert_applied_interp_mode,
)
from monai.utils import TraceKeys

from ankleseg import keys
from ankleseg.config import build, resolve_target
from ankleseg.errors import ConfigError, own_errors
from ankleseg.transforms.foreground_mask import ForegroundMaskd
from ankleseg.transforms.metadata import affine_of, with_meta_of
from ankleseg.transforms.mirror_to_side import MirrorToSided
from ankleseg.transforms.planes import AXCODES, PLANES, check_planes
from ankleseg.transforms.resample_to_spacing import ResampleToSpacingd
from ankleseg.transforms.slices_last import SlicesLastd
from ankleseg.volumes.geometry import ANATOMICAL_AXES, Affine

TURNS = (Orientationd, SlicesLastd)
Spacing = Sequence[float | None]


class Preparation(Compose):
    """A MONAI ``Compose`` of deterministic dictionary transforms that knows the configuration it was built of.

    So the list of a YAML file serves training and prediction, and travels in a checkpoint as plain types. The
    transforms work on the keys ``image`` and, where there are such, ``label``, ``target`` and ``foreground``.

    Args:
        nodes: for each transform its configuration node, a mapping with ``_target_`` and arguments. The transforms of a
            ``Compose`` among them take its place.

    Raises:
        ConfigError: a node is refused, is no deterministic transform, or an orientation is none.
    """

    def __init__(self, nodes: Sequence[Mapping[str, Any]]) -> None:
        self.nodes = [copy.deepcopy(dict(node)) for node in _flat(nodes)]
        transforms = [build(node) for node in self.nodes]
        for node, transform in zip(self.nodes, transforms, strict=True):
            if not isinstance(transform, Transform) or isinstance(transform, RandomizableTrait):
                raise ConfigError(
                    f"invalid preparation: {node.get('_target_')} is no deterministic transform",
                    mend="random transforms belong into augment.transforms",
                )
            if isinstance(transform, Orientationd):
                _check_axcodes(node.get("axcodes"))
        super().__init__(transforms)

    def __call__(self, input_: Mapping[Hashable, Any], **others: Any) -> dict[Hashable, Any]:  # type: ignore[override]
        """Prepare a sample.

        Raises:
            AnklesegError: a transform refuses it.
        """
        with own_errors():
            return super().__call__(dict(input_), **others)

    @property
    def spacing(self) -> tuple[float | None, ...] | None:
        """mm along the prepared axes by `ResampleToSpacingd`; None where scans keep their own, or it is not there."""
        return next((t.pixdim for t in self.transforms if isinstance(t, ResampleToSpacingd)), None)

    def with_spacing(self, spacing: Spacing) -> Preparation:
        """The same preparation with another spacing, in mm along the prepared axes.

        Raises:
            ConfigError: it does not bring scans to a spacing.
        """
        resampling = [isinstance(transform, ResampleToSpacingd) for transform in self.transforms]
        if not any(resampling):
            fixed = any(isinstance(transform, Spacingd) for transform in self.transforms)
            instead = "Spacingd of MONAI, but " if fixed else ""
            raise ConfigError(
                f"the preparation has {instead}no ankleseg.transforms.ResampleToSpacingd, "
                "so it cannot be given a spacing",
                mend="leave predict.spacing out, or train with one in prepare.transforms",
            )
        changed = [
            {**node, "pixdim": list(spacing)} if resamples else node
            for node, resamples in zip(self.nodes, resampling, strict=True)
        ]
        return Preparation(changed)

    def at_own_spacing(self) -> Preparation:
        """The same preparation without change of spacing or side: what a pose in the world can be applied to."""
        kept = [not isinstance(t, ResampleToSpacingd | MirrorToSided) for t in self.transforms]
        return Preparation([node for node, keep in zip(self.nodes, kept, strict=True) if keep])

    def of_label_maps(self) -> Preparation:
        """The same for images that are label maps: only what moves labels, and by nearest neighbour."""
        kept = [keys.LABEL in getattr(transform, "keys", ()) for transform in self.transforms]
        nodes = [node for node, keep in zip(self.nodes, kept, strict=True) if keep]
        return Preparation([{**node, "mode": "nearest"} if "mode" in node else node for node in nodes])

    def in_plane(self, plane: str) -> Preparation:
        """The same preparation that turns every scan so that the last axis is across the slices of a plane.

        Raises:
            ConfigError: there is no such plane, or the preparation turns no scan.
        """
        check_planes([plane])
        turns = [isinstance(transform, TURNS) for transform in self.transforms]
        if not any(turns):
            raise ConfigError("the preparation turns no scan", mend="add Orientationd or SlicesLastd to it")
        fixed = {"_target_": "monai.transforms.Orientationd", "axcodes": AXCODES[PLANES[plane]], "labels": None}
        kept = ("keys", "allow_missing_keys")
        return Preparation(
            [
                fixed | {name: node[name] for name in kept if name in node} if turned else node
                for node, turned in zip(self.nodes, turns, strict=True)
            ]
        )

    def parts(self) -> tuple[Compose, Compose]:
        """The transforms before the foreground is looked for, which leave raw intensities, and those from there."""
        first = next((n for n, t in enumerate(self.transforms) if isinstance(t, ForegroundMaskd)), len(self.transforms))
        return Compose(self.transforms[:first]), Compose(self.transforms[first:])

    def oriented(self, affine: Affine) -> Affine:
        """Axes and spacing of a scan of this affine once it is turned, at its own spacing; its place is not told."""
        voxel: dict[Hashable, Any] = {keys.IMAGE: MetaTensor(torch.zeros(1, 1, 1, 1), affine=torch.as_tensor(affine))}
        with self._image_alone():
            for transform in self.transforms:
                if isinstance(transform, TURNS):
                    voxel = transform(voxel)
        return affine_of(voxel[keys.IMAGE])

    def restore(
        self, values: torch.Tensor, like: MetaTensor, *, resample: bool = True, nearest: bool = False
    ) -> MetaTensor:
        """Bring values of the prepared space back to where the input lies.

        Args:
            values: (K, X, Y, Z) on the grid of the prepared image.
            like: the prepared image; its trace says what was done. Intensities are left as they are.
            resample: False keeps the prepared spacing, and only turns the values as the input was stored.
            nearest: each voxel takes the nearest value, instead of a linear interpolation.

        Returns:
            The values with their affine.
        """
        restored = with_meta_of(like, values)
        trace = copy.deepcopy(like.applied_operations)
        for done in trace:  # around what was cropped lies nothing, not the darkest intensity of the image
            extra = done.get(TraceKeys.EXTRA_INFO)
            if isinstance(extra, dict) and "fill" in extra:
                extra["fill"] = [0.0] * len(values)
        restored.applied_operations = convert_applied_interp_mode(trace, "nearest") if nearest else trace
        with self._image_alone(), own_errors():
            for transform in reversed(self.flatten().transforms):
                if not isinstance(transform, InvertibleTransform) or keys.IMAGE not in getattr(transform, "keys", ()):
                    continue
                if isinstance(transform, ResampleToSpacingd) and not resample:
                    transform.forget(restored)
                else:
                    restored = transform.inverse({keys.IMAGE: restored})[keys.IMAGE]
        return restored

    def _image_alone(self) -> AbstractContextManager[None]:
        """Let transforms pass over the keys that a sample of an image alone lacks."""
        takes_keys = any(isinstance(transform, MapTransform) for transform in self.transforms)
        return allow_missing_keys_mode(self) if takes_keys else nullcontext()


def _flat(nodes: Sequence[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
    for node in nodes:
        if "_target_" not in node or resolve_target(str(node["_target_"])) is not Compose:
            yield node
        elif set(node) == {"_target_", "transforms"}:
            yield from _flat(node["transforms"])
        else:
            raise ConfigError(
                f"invalid preparation: a Compose in the list has {', '.join(map(str, node))}: expected transforms",
                mend="write its transforms into the list itself",
            )


def _check_axcodes(axcodes: Any) -> None:
    axes = sorted(next((axis for axis in ANATOMICAL_AXES if code in axis), code) for code in str(axcodes or ""))
    if axes != sorted(ANATOMICAL_AXES):
        raise ConfigError(
            f"invalid prepare.orientation {axcodes!r}: expected letters like PSR",
            mend="name what the three axes point to; prepare=whole_image keeps a scan's own slices",
        )
