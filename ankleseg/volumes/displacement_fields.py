"""Displacement fields as NIfTI files that ITK and ANTs apply."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
from jaxtyping import Float

from ankleseg.errors import FileError
from ankleseg.volumes.files import read_volume
from ankleseg.volumes.geometry import Affine
from ankleseg.volumes.volume import SCANNER, Volume
from ankleseg.volumes.writing import check_nifti_name, write_nifti

VECTOR = 1007  # NIfTI intent code


def write_displacement_field(path: str | Path, displacement: Float[np.ndarray, "x y z 3"], affine: Affine) -> Path:
    """Write a displacement field as NIfTI (X, Y, Z, 1, 3), float32, and return its path.

    The field belongs to the grid that an image is resampled on: a point ``p`` of it shows what the image has at
    ``p + displacement(p)``. The file holds the components in LPS mm, as ITK and ANTs read them (intent code 1007,
    vector); in memory they are in RAS+ mm. Written beside and renamed; equal fields give equal bytes.

    Args:
        path: ends in .nii or .nii.gz.
        displacement: mm, RAS+.
        affine: voxel to RAS+ mm.

    Raises:
        FileError: another ending, or the folder cannot be written.
    """
    path = Path(path)
    check_nifti_name(path)
    stored = np.asarray(displacement, np.float32) * np.array([-1, -1, 1], np.float32)
    image = nib.Nifti1Image(stored[:, :, :, None, :], affine)
    image.header.set_intent(VECTOR, allow_unknown=True)
    image.header.set_xyzt_units("mm", "sec")
    image.set_sform(affine, SCANNER)
    image.set_qform(affine, SCANNER)
    return write_nifti(path, image)


def read_displacement_field(path: str | Path) -> Volume:
    """Read a displacement field (X, Y, Z, 1, 3) of ITK, ANTs or this package as (X, Y, Z, 3), RAS+ mm.

    Raises:
        FileError: it cannot be read, or has another shape.
    """
    volume = read_volume(path, dimensions=None)
    if volume.data.ndim != 5 or volume.data.shape[3:] != (1, 3):
        shape = "×".join(map(str, volume.data.shape))
        raise FileError(
            f"is no displacement field: its shape is {shape}, expected X×Y×Z×1×3",
            file=volume.path,
            mend="write it as NIfTI with ITK or ANTs",
        )
    return replace(volume, data=volume.data[:, :, :, 0] * np.array([-1, -1, 1], np.float32))
