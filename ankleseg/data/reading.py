"""From a case of a cohort to a prepared sample: the item of a MONAI datalist, the transforms that read it."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Hashable
from typing import Any

import numpy as np
import torch
from monai.data import MetaTensor
from monai.transforms import Compose, EnsureChannelFirstd, LoadImaged, Transform

from ankleseg import keys
from ankleseg.cohorts import Case
from ankleseg.errors import GeometryError, own_errors
from ankleseg.labels import Labels
from ankleseg.transforms import LoadReferencesd, Preparation
from ankleseg.transforms.metadata import affine_of, file_of
from ankleseg.transforms.mirror_to_side import is_mirrored
from ankleseg.volumes import Reader
from ankleseg.volumes.geometry import same_grid

FROM_FILES = (keys.IMAGE, keys.TARGET, keys.FOREGROUND)

logging.getLogger("monai.data.nvimgcodec_pydicom_plugin").setLevel(logging.ERROR)  # MONAI's DICOM reader is not used


def item_of(case: Case) -> dict[Hashable, Any]:
    """A case as the item of a MONAI datalist: files by key, and the case itself, from which its references are read."""
    frame = "" if case.frame_in_files is None else f"#frame={case.frame_in_files}"
    item: dict[Hashable, Any] = {
        keys.IMAGE: [f"{path}{frame}" for path in case.images],
        keys.LABEL: case,
        keys.CASE: case.name,
        keys.SIDE: case.side or "",
        keys.SEQUENCE: str(case.taken_from or ""),
    }
    if case.foreground is not None:
        item[keys.FOREGROUND] = f"{case.foreground}{frame}"
    return item


def reading(labels: Labels | None = None, **mends: Any) -> list[Transform]:
    """Transforms that read the files of an item; without labels its references are left out.

    Args:
        labels: which structures.
        mends: ``copy_headers`` and ``resample_masks`` of `LoadReferencesd`.
    """
    with warnings.catch_warnings(action="ignore"):  # MONAI's other readers tell what they lack; they are not used
        loading = LoadImaged(FROM_FILES, reader=Reader, allow_missing_keys=True)
    transforms: list[Transform] = [
        loading,
        EnsureChannelFirstd(FROM_FILES, allow_missing_keys=True),
        ForegroundAsMaskd(),
    ]
    if labels is not None:
        transforms.append(LoadReferencesd(keys.LABEL, labels, **mends, allow_missing_keys=True))
    return transforms


class ForegroundAsMaskd(Transform):
    """A foreground that was read from a file, as a mask."""

    def __call__(self, data: dict[Hashable, Any]) -> dict[Hashable, Any]:
        return data if keys.FOREGROUND not in data else data | {keys.FOREGROUND: data[keys.FOREGROUND] > 0.5}


def preparing(preparation: Preparation, labels: Labels | None = None, **mends: Any) -> Compose:
    """Read and prepare an item, see `reading`; in one list, as MONAI takes a list inside another one for random."""
    return Compose([*reading(labels, **mends), *preparation.transforms])


def prepared(case: Case, preparation: Preparation, labels: Labels | None = None, **mends: Any) -> dict[Hashable, Any]:
    """Read and prepare one case.

    Returns:
        A sample with metadata: image (C, X, Y, Z), foreground (1, X, Y, Z), and with labels its label.

    Raises:
        AnklesegError: a file cannot be read, or a transform refuses it.
    """
    item = item_of(case)
    if labels is None:
        del item[keys.LABEL]
    with own_errors():
        return with_foreground(preparing(preparation, labels, **mends)(item))


def with_foreground(sample: dict[Hashable, Any]) -> dict[Hashable, Any]:
    """A sample whose foreground is the whole image where the preparation looked for none.

    Raises:
        GeometryError: what lay on the grid of the image before the preparation does not do so any more.
    """
    for name in (keys.LABEL, keys.TARGET, keys.FOREGROUND):
        _require_on_grid(sample, name)
    if keys.FOREGROUND in sample:
        return sample
    image = sample[keys.IMAGE]
    return sample | {keys.FOREGROUND: torch.ones((1, *image.shape[1:]), dtype=torch.bool)}


def _require_on_grid(sample: dict[Hashable, Any], name: str) -> None:
    """Refuse an array that was not moved as the image was; one that is mirrored fills the same place in the world."""
    image, other = sample[keys.IMAGE], sample.get(name)
    if not isinstance(image, MetaTensor) or not isinstance(other, MetaTensor):
        return
    on_grid = same_grid(image.shape[1:], affine_of(image), other.shape[1:], affine_of(other))
    if not on_grid or is_mirrored(image) != is_mirrored(other):
        raise GeometryError(
            f"its {name} is not on the grid of its prepared image",
            file=file_of(image),
            mend=f"give it on the grid of the scan, and list {name} in the keys of every transform of "
            "prepare.transforms that moves the image",
        )


class WithoutMetadata(Transform):
    """Plain tensors and the affine, as they are kept: transforms of patches need no more, and tracking costs time.

    The voxels of a slice (last axis) lie together, so that patches of a slice are cut fast.
    """

    def __call__(self, data: dict[Hashable, Any]) -> dict[Hashable, Any]:
        sample = with_foreground(data)
        plain = {name: _plain(value) for name, value in sample.items()}
        return plain | {keys.AFFINE: torch.from_numpy(affine_of(sample[keys.IMAGE]).copy())}


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):  # such as the corners that `CropForegroundd` adds
        return torch.from_numpy(np.array(value)) if value.dtype.kind in "biuf" else value.tolist()
    if not isinstance(value, torch.Tensor):
        return value
    tensor = value.as_tensor() if isinstance(value, MetaTensor) else value
    return slices_together(tensor) if tensor.ndim == 4 else tensor


def slices_together(volume: torch.Tensor) -> torch.Tensor:
    """The same volume (C, X, Y, Z) with the voxels of each slice side by side in memory."""
    return volume.movedim(-1, 1).contiguous().movedim(1, -1)
