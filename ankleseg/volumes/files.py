"""The one reader of volumes, whatever their format."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import DTypeLike

from ankleseg.errors import FileError
from ankleseg.volumes.formats import recognised, require_file
from ankleseg.volumes.memory import check_memory
from ankleseg.volumes.mgh import is_mgh_name, read_mgh_header, read_mgh_voxels
from ankleseg.volumes.nifti import is_nifti_name, is_pair_name, read_nifti_header, read_nifti_voxels
from ankleseg.volumes.selection import split_frame, without_selection
from ankleseg.volumes.volume import Header, Volume

NRRD_AND_META = (".nrrd", ".nhdr", ".mha", ".mhd")
KEPT = 4  # sequences of which frames are asked for: the image and the masks of three bones


def read_header(path: str | Path) -> Header:
    """Read what a file says about its grid, without reading a voxel.

    Args:
        path: .nii, .nii.gz, .hdr with .img, .mgz, .nrrd, .nhdr, .mha, .mhd, or a DICOM series as a folder, a .zip or an
            enhanced file, one of several being chosen at the end of the path (``FOLDER#series=301&echo=80``); of a 4-D
            file one volume can be chosen (``FILE#frame=0``).

    Raises:
        FileError: missing, empty, of another format, truncated within the header, declaring more voxels than it can
            hold, or without a usable voxel size and affine.
    """
    chosen = require_file(path)
    path, frame = split_frame(chosen)
    if frame is not None:
        return replace(header_of_frame(read_header(path), frame), path=chosen)
    if is_nifti_name(path) or is_pair_name(path):
        return read_nifti_header(path)
    if is_mgh_name(path):
        return read_mgh_header(path)
    if path.suffix.lower() in NRRD_AND_META:
        from ankleseg.volumes.itk_images import read_itk_header

        return read_itk_header(path)
    if path.is_file() and (error := recognised(path)):
        raise error
    from ankleseg.volumes.dicom import read_dicom_header

    return read_dicom_header(path)


def read_grid(path: str | Path) -> Header:
    """Read the header of a scan, or that of one frame of a sequence: its shape is (X, Y, Z)."""
    header = read_header(path)
    return replace(header, shape=header.shape[:3])


def read_volume(
    path: str | Path, *, dtype: DTypeLike | None = np.float32, dimensions: int | None = 3, finite: bool = True
) -> Volume:
    """Read a volume whole and check it.

    Slope and intercept are applied; trailing axes of length one are dropped.

    Args:
        path: .nii, .nii.gz, .hdr with .img, .mgz, .nrrd, .nhdr, .mha, .mhd, or a DICOM series as a folder, a .zip or an
            enhanced file, one of several being chosen at the end of the path (``FOLDER#series=301&echo=80``); of a 4-D
            file one volume can be chosen (``FILE#frame=0``).
        dtype: of the voxels; None keeps the stored one (float64 where a slope applies).
        dimensions: number of axes expected, 3 for a scan and 4 for a dynamic sequence; None: any.
        finite: refuse NaN and infinite voxels; without it the caller has to look for them.

    Raises:
        FileError: what `read_header` refuses, another number of axes, truncated or damaged data, more voxels than fit
            in memory, NaN or infinite voxels, or values that ``dtype`` cannot hold.
    """
    chosen = require_file(path)
    path, frame = split_frame(chosen)
    if frame is not None:
        header = read_header(chosen)
        return replace(read_frame(path, frame, dtype=dtype, finite=finite), header=header)
    header = read_header(path)
    if dimensions is not None and len(header.shape) != dimensions:
        raise FileError(
            f"has {len(header.shape)} dimensions ({'×'.join(map(str, header.shape))}), {dimensions} are needed",
            file=path,
            mend="split it into volumes" if len(header.shape) > dimensions else "give the whole scan",
        )
    bytes_a_voxel = header.dtype.itemsize + (0 if dtype is None else np.dtype(dtype).itemsize)
    check_memory(path, math.prod(header.shape) * bytes_a_voxel)
    data = _read_voxels(path, header).reshape(header.shape, order="F")
    if finite and np.issubdtype(data.dtype, np.floating):
        broken = data.size - int(np.count_nonzero(np.isfinite(data)))
        if broken:
            raise FileError(f"holds {broken} NaN or infinite voxels", file=path, mend="replace them, e.g. by 0")
    return Volume(data if dtype is None else _converted(path, data, np.dtype(dtype)), header.affine, header)


def read_frame(path: str | Path, frame: int, *, dtype: DTypeLike | None = np.float32, finite: bool = True) -> Volume:
    """Read one frame of a 4-D file.

    A compressed file cannot be read in parts; the ones read last stay in memory, as its next frame is asked for next.

    Args:
        path: of the sequence.
        frame: from 0.
        dtype: of the voxels; None keeps the stored one.
        finite: refuse NaN and infinite voxels.

    Raises:
        FileError: what `read_volume` refuses, no such frame, or NaN or infinite voxels in it.
    """
    path = Path(path)
    sequence = _sequence(path, without_selection(require_file(path)).stat().st_mtime_ns)
    assert sequence.header is not None
    header = header_of_frame(sequence.header, frame)
    data = np.array(sequence.data[..., frame], dtype=dtype, order="F")
    if finite and np.issubdtype(data.dtype, np.floating) and not np.isfinite(data).all():
        raise FileError(f"holds NaN or infinite voxels in frame {frame}", file=path, mend="leave this frame out")
    return Volume(data, sequence.affine, header)


@lru_cache(maxsize=KEPT)
def _sequence(path: Path, stamp: int) -> Volume:
    """A whole sequence; `stamp`, the time the file was changed, keeps an old one from being taken for a new one."""
    return read_volume(path, dtype=None, dimensions=4, finite=False)


def header_of_frame(header: Header, frame: int) -> Header:
    """Return the header that one frame of a 4-D file has.

    Raises:
        FileError: the file is not 4-D, or has no such frame.
    """
    if len(header.shape) != 4:
        raise FileError(
            f"has {len(header.shape)} dimensions ({'×'.join(map(str, header.shape))}), 4 are needed to choose a frame",
            file=header.path,
            mend="leave out the frame, or give a file of several volumes",
        )
    if not 0 <= frame < header.shape[3]:
        problem = f"has no frame {frame}, but {header.shape[3]} counted from 0"
        raise FileError(problem, file=header.path, mend="give its other frames")
    return replace(header, shape=header.shape[:3])


def _read_voxels(path: Path, header: Header) -> np.ndarray:
    if header.format in ("nifti", "analyze"):
        return read_nifti_voxels(path)
    if header.format == "mgh":
        return read_mgh_voxels(path)
    if header.format == "dicom":
        from ankleseg.volumes.dicom import read_dicom_voxels

        return read_dicom_voxels(path)
    from ankleseg.volumes.itk_images import read_itk_voxels

    return read_itk_voxels(path)


def _converted(path: Path, data: np.ndarray, dtype: np.dtype) -> np.ndarray:
    with np.errstate(over="ignore"):
        converted = data.astype(dtype, copy=False)
    if np.issubdtype(dtype, np.floating) and not np.can_cast(data.dtype, dtype):
        beyond = int(np.count_nonzero(np.isinf(converted) & np.isfinite(data)))
        if beyond:
            voxels = "1 voxel" if beyond == 1 else f"{beyond} voxels"
            farthest = max(data[np.isinf(converted) & np.isfinite(data)].tolist(), key=abs)
            raise FileError(
                f"holds {voxels} beyond the range of {dtype}, up to {farthest:g}",
                file=path,
                mend="replace them, e.g. by 0",
            )
    if np.issubdtype(dtype, np.integer) and not np.can_cast(data.dtype, dtype) and not np.array_equal(converted, data):
        raise FileError(
            f"holds values from {data.min():g} to {data.max():g} that are not all {dtype} numbers",
            file=path,
            mend="read it as float32, or check that it is a label map",
        )
    return converted
