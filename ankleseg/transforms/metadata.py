"""What an array says of itself beside its voxels: where they lie, what was done to them, their file."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from monai.data import MetaTensor, get_track_meta
from monai.utils import ImageMetaKey, convert_to_tensor
from torch import Tensor

from ankleseg import keys
from ankleseg.errors import AnklesegError, ConfigError
from ankleseg.volumes.geometry import Affine
from ankleseg.volumes.monai_reader import FILES


def without_meta(array: Any) -> Tensor:
    """The plain tensor of an array, which shares its memory."""
    return array.as_tensor() if isinstance(array, MetaTensor) else torch.as_tensor(array)


def with_meta_of(source: Any, result: Tensor) -> Any:
    """A result with the metadata of what it was made of; plain where that has none or MONAI does not track it."""
    if not isinstance(source, MetaTensor) or not get_track_meta():
        return result
    return MetaTensor(result).copy_meta_from(source)


def affine_of(array: Any, sample: Mapping | None = None) -> Affine:
    """Voxel to world of an array: of the array itself, else what its sample carries for all.

    Raises:
        ConfigError: neither is there.
    """
    beside = None if sample is None else sample.get(keys.AFFINE)
    tells = isinstance(array, MetaTensor) and (get_track_meta() or beside is None)  # some add it untracked
    affine = array.affine if tells else beside
    if affine is None or np.shape(affine) != (4, 4):
        raise ConfigError(
            f"missing key {keys.AFFINE!r}: expected the affine of the volume, or a MetaTensor of 4×4 affine",
            mend="read the scan with LoadImaged, or add its affine to the sample",
        )
    return np.asarray(affine, dtype=np.float64)


def file_of(image: Any, channel: int = 0) -> str | None:
    """The file of a channel of an image, None where nothing is known of it."""
    meta = image.meta if isinstance(image, MetaTensor) else {}
    files = meta.get(FILES)
    if files and channel < len(files):
        return str(files[channel])
    name = meta.get(ImageMetaKey.FILENAME_OR_OBJ)
    return None if name is None else str(name)


def own_copy(image: Any, sample: Mapping[Hashable, Any] | None = None) -> Any:
    """An image with metadata of its own, over the same voxels: what a transform may push its trace to.

    A plain one lies where its sample says.
    """
    if not isinstance(image, MetaTensor):
        own = convert_to_tensor(image, track_meta=get_track_meta())
        if isinstance(own, MetaTensor) and sample is not None and keys.AFFINE in sample:
            own.affine = torch.as_tensor(sample[keys.AFFINE])
        return own
    return with_meta_of(image, image.as_tensor())


@contextmanager
def naming_file(image: Any, channel: int = 0) -> Iterator[None]:
    """Add the file of an image to errors of functions that see arrays only."""
    try:
        yield
    except AnklesegError as error:
        if error.file is None:
            error.file = file_of(image, channel)
        raise
