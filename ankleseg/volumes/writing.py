"""The one writer of volumes."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
from isal import igzip
from jaxtyping import Shaped

from ankleseg.errors import FileError
from ankleseg.files import replace_file
from ankleseg.volumes.geometry import Affine, same_grid
from ankleseg.volumes.nifti import is_nifti_name
from ankleseg.volumes.volume import SCANNER, Header

COMPRESSION_LEVEL = 2  # of ISA-L: files 2 % larger than zlib's at its level 3, in a seventh of the time and less


def write_volume(
    path: str | Path, data: Shaped[np.ndarray, "x y z *rest"], affine: Affine, *, like: Header | None = None
) -> Path:
    """Write a volume as NIfTI and return its path; the same voxels and geometry give the same bytes.

    The file is written beside and renamed. The type is kept, except: bool becomes uint8, float16 becomes float32, and
    64-bit whole numbers that fit become int32, since many readers know no others.

    Args:
        path: ends in .nii or .nii.gz.
        data: (X, Y, Z) or (X, Y, Z, …).
        affine: voxel to world, RAS+ mm.
        like: header of the input. Its qform and sform codes are kept; where ``affine`` is that of ``like``, so are its
            two affines, which makes the result overlay the input in a reader that trusts the other one. Without it
            both are scanner coordinates. The time between frames of a sequence is kept.

    Raises:
        FileError: another ending, or the folder cannot be written.
    """
    path = Path(path)
    check_nifti_name(path)
    return write_nifti(path, _nifti_image(data, affine, like))


def check_nifti_name(path: Path) -> None:
    """Refuse a name that is none of a NIfTI file, before anything is computed for it.

    Raises:
        FileError: another ending.
    """
    if not is_nifti_name(path):
        raise FileError("cannot be written in this format", file=path, mend="name it .nii.gz")


def write_nifti(path: Path, image: nib.Nifti1Image) -> Path:
    """Write a NIfTI image beside and rename it, compressed by the name's ending; equal images give equal bytes.

    Raises:
        FileError: the folder cannot be written.
    """
    with replace_file(path) as part, part.open("wb") as file:
        if path.name.lower().endswith(".gz"):
            with igzip.IGzipFile("", "wb", COMPRESSION_LEVEL, file, mtime=0) as stream:
                image.to_stream(stream)
        else:
            image.to_stream(file)
    return path


def _nifti_image(data: np.ndarray, affine: Affine, like: Header | None) -> nib.Nifti1Image:
    storable = _storable(data)
    image = nib.Nifti1Image(storable, affine, dtype=storable.dtype)
    image.header.set_xyzt_units("mm", "sec")
    if storable.ndim > 3 and like is not None and like.frame_time:
        image.header["pixdim"][4] = like.frame_time
    elif storable.ndim > 3:
        image.header.set_xyzt_units("mm", "unknown")  # the number that stands there, 1, means nothing
    if like is not None and same_grid(data.shape, affine, data.shape, like.affine, tolerance=1e-4):
        qform, sform = like.qform, like.sform
        qform_code, sform_code = like.qform_code, like.sform_code
    else:
        qform = sform = None
        qform_code, sform_code = (SCANNER, SCANNER) if like is None else (like.qform_code, like.sform_code)
        if qform_code == sform_code == 0:
            sform_code = SCANNER  # without any code a reader would make up the origin
    image.set_sform(affine if sform is None else sform, sform_code)
    image.set_qform(affine if qform is None else qform, qform_code)
    if qform is None and not same_grid(data.shape, affine, data.shape, image.get_qform()):
        image.set_qform(affine, 0)  # sheared: a qform cannot say it, and must not contradict
        image.set_sform(affine, sform_code or SCANNER)
    return image


def _storable(data: np.ndarray) -> np.ndarray:
    if data.dtype == bool:
        return data.astype(np.uint8)
    if data.dtype == np.float16:
        return data.astype(np.float32)
    if data.dtype in (np.int64, np.uint64):
        limits = np.iinfo(np.int32)
        if data.size == 0 or (data.min() >= limits.min and data.max() <= limits.max):
            return data.astype(np.int32)
    return data
