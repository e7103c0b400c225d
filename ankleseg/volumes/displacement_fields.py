"""Displacement fields as NIfTI files that ITK and ANTs apply."""

from __future__ import annotations

import gzip
from pathlib import Path

import nibabel as nib
import numpy as np
from jaxtyping import Float

from ankleseg.errors import FileError
from ankleseg.volumes.geometry import Affine
from ankleseg.volumes.nifti import is_nifti_name
from ankleseg.volumes.replacing import replace_file
from ankleseg.volumes.volume import SCANNER
from ankleseg.volumes.writing import COMPRESSION_LEVEL

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
    if not is_nifti_name(path):
        raise FileError("cannot be written in this format", file=path, mend="name it .nii.gz")
    stored = np.asarray(displacement, np.float32) * np.array([-1, -1, 1], np.float32)
    image = nib.Nifti1Image(stored[:, :, :, None, :], affine)
    image.header.set_intent(VECTOR, allow_unknown=True)
    image.header.set_xyzt_units("mm", "sec")
    image.set_sform(affine, SCANNER)
    image.set_qform(affine, SCANNER)
    with replace_file(path) as part, part.open("wb") as file:
        if path.name.lower().endswith(".gz"):
            with gzip.GzipFile("", "wb", COMPRESSION_LEVEL, file, mtime=0) as stream:
                image.to_stream(stream)
        else:
            image.to_stream(file)
    return path
