"""What a sample says of where it came from: its file, its affine."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from monai.data import MetaTensor, get_track_meta
from monai.utils import ImageMetaKey, convert_to_tensor

from ankleseg import keys
from ankleseg.errors import AnklesegError
from ankleseg.volumes.geometry import Affine
from ankleseg.volumes.monai_reader import FILES


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
    return with_voxels(image, image.as_tensor())


def with_voxels(image: MetaTensor, voxels: torch.Tensor) -> MetaTensor:
    """Other voxels in the place of an image, with what it knows of itself."""
    return MetaTensor(voxels, meta=dict(image.meta), applied_operations=list(image.applied_operations))


def affine_of(image: Any) -> Affine:
    """Voxel to world of an image, the identity where it says nothing."""
    return np.asarray(image.affine, dtype=np.float64) if isinstance(image, MetaTensor) else np.eye(4)


@contextmanager
def naming_file(image: Any, channel: int = 0) -> Iterator[None]:
    """Add the file of an image to errors of functions that see arrays only."""
    try:
        yield
    except AnklesegError as error:
        if error.file is None:
            error.file = file_of(image, channel)
        raise
