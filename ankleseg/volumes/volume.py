"""What a file says about its grid, and a scan in memory."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float, Shaped

from ankleseg.errors import GeometryError
from ankleseg.volumes import geometry
from ankleseg.volumes.geometry import Affine

SCANNER = 1  # NIfTI code of an affine into scanner coordinates


@dataclass(frozen=True)
class Remark:
    """Something a file leaves open or contradicts, which does not keep it from being read: how it is read, and a mend.

    A ``suspect`` one may make results wrong, and is told by every command; the others are told by the preflight.
    """

    problem: str
    mend: str
    suspect: bool = False


@dataclass(frozen=True, eq=False)
class Header:
    """What a file says about its grid, without its voxels.

    Attributes:
        path: the file, or the folder or archive of a DICOM series, with what was chosen of it at its end.
        shape: (X, Y, Z) or (X, Y, Z, …); trailing axes of length one are left out.
        affine: voxel to world, RAS+ mm.
        dtype: as stored, before any slope and intercept.
        qform_code, sform_code: NIfTI codes, 0 where the file has no such affine; 1 and 1 for the other formats.
        format: ``nifti``, ``analyze``, ``mgh``, ``nrrd``, ``mha`` or ``dicom``.
        qform, sform: the two affines of a NIfTI file, None where its code is 0 and in other formats.
        unit: spatial unit the file names, ``unknown`` where it names none.
        frame_time: seconds from one frame of a sequence to the next; 0 where the file does not say.
        thickness_mm: of a slice without the gap to the next; 0 where the file does not say.
        remarks: what its format left open or contradicted, and how it was read all the same.
    """

    path: Path
    shape: tuple[int, ...]
    affine: Affine
    dtype: np.dtype
    qform_code: int
    sform_code: int
    format: str
    qform: Affine | None = None
    sform: Affine | None = None
    unit: str = "mm"
    frame_time: float = 0.0
    thickness_mm: float = 0.0
    remarks: tuple[Remark, ...] = ()

    @property
    def spacing(self) -> Float[np.ndarray, "xyz=3"]:
        """Size of a voxel in mm."""
        return geometry.spacing(self.affine)


@dataclass(frozen=True, eq=False)
class Volume:
    """A scan or a mask in memory: voxels (X, Y, Z) or (X, Y, Z, …), affine to RAS+ mm, and where it came from."""

    data: Shaped[np.ndarray, "x y z *rest"]
    affine: Affine
    header: Header | None = None

    @property
    def spacing(self) -> Float[np.ndarray, "xyz=3"]:
        """Size of a voxel in mm."""
        return geometry.spacing(self.affine)

    @property
    def path(self) -> Path | None:
        """The file it was read from."""
        return None if self.header is None else self.header.path


def with_header_of(volume: Volume, header: Header) -> Volume:
    """Return the volume with the affine and codes of another file: the voxels stay, their place in the world changes.

    Mends a mask that was drawn on a scan and saved with another header.

    Raises:
        GeometryError: the grids have different shapes.
    """
    if volume.data.shape[:3] != header.shape[:3]:
        raise GeometryError(
            f"has {_times(volume.data.shape[:3])} voxels and cannot take the header of {header.path.name} "
            f"with {_times(header.shape[:3])}",
            file=volume.path,
            mend="resample it",
        )
    return _placed(volume, volume.data, header)


def on_grid_of(mask: Volume, header: Header) -> Volume:
    """Return a mask or label map on the grid of another file, each voxel taking the nearest value; exact for flips."""
    data = geometry.resample(mask.data, mask.affine, header.shape[:3], header.affine, order=0)
    return _placed(mask, data, header)


def covered_by(volume: Volume, reference: Volume) -> Bool[np.ndarray, "x y z"]:
    """Tell which voxels of a reference have their centre in the field of view of a volume."""
    shape = reference.data.shape
    step = np.linalg.inv(volume.affine) @ reference.affine
    index = np.ogrid[tuple(slice(0, length) for length in shape)]
    covered = np.ones(shape, dtype=bool)
    for axis, length in enumerate(volume.data.shape):
        place = step[axis, 3] + sum(step[axis, k] * index[k] for k in range(3))
        covered &= (place > -0.5 - 1e-3) & (place < length - 0.5 + 1e-3)
    return covered


def _placed(source: Volume, data: np.ndarray, header: Header) -> Volume:
    path = source.path or header.path
    return Volume(data, header.affine, replace(header, path=path, shape=data.shape, dtype=data.dtype))


def _times(shape: tuple[int, ...]) -> str:
    return "×".join(str(size) for size in shape)
