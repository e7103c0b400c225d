"""Displacement fields as NIfTI files that ITK and ANTs apply."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
from jaxtyping import Float

from ankleseg.volumes.geometry import Affine
from ankleseg.volumes.volume import SCANNER
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
