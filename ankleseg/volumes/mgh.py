"""FreeSurfer's .mgh and .mgz files, whose header nibabel knows, read as distrustfully as NIfTI files."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
from isal import igzip
from nibabel.freesurfer.mghformat import MGHError, MGHHeader

from ankleseg.errors import FileError
from ankleseg.volumes.formats import foreign_format
from ankleseg.volumes.geometry import affine_problem
from ankleseg.volumes.memory import check_declared
from ankleseg.volumes.nifti import fill, opened
from ankleseg.volumes.volume import SCANNER, Header, Remark

ENDINGS = (".mgh", ".mgz")
VERSION = b"\0\0\0\1"
DATA_OFFSET = 284
LENGTH = MGHHeader.template_dtype.itemsize


def is_mgh_name(path: Path) -> bool:
    """Tell whether the ending of a path is that of a FreeSurfer volume."""
    return path.name.lower().endswith(ENDINGS)


def read_mgh_header(path: Path) -> Header:
    """Read the header of an .mgh or .mgz file.

    Raises:
        FileError: not such a file, truncated, declaring more than the file can hold, or without usable geometry.
    """
    raw = _raw_header(path)
    shape = tuple(int(length) for length in raw["dims"])
    while len(shape) > 3 and shape[-1] == 1:
        shape = shape[:-1]
    affine = np.asarray(raw.get_affine(), float)
    if problem := affine_problem(affine):
        raise FileError(problem, file=path, mend="correct its header")
    placed = bool(raw["goodRASFlag"])
    unplaced = Remark("does not say how it lies; the axes LIA are assumed", "check left and right in a viewer")
    codes = (SCANNER, SCANNER) if placed else (0, 0)
    remarks = () if placed else (unplaced,)
    frame_time = max(float(raw["tr"]) / 1000, 0.0) if len(shape) > 3 and np.isfinite(raw["tr"]) else 0.0
    dtype = raw.get_data_dtype().newbyteorder("=")
    return Header(path, shape, affine, dtype, *codes, "mgh", frame_time=frame_time, remarks=remarks)


def read_mgh_voxels(path: Path) -> np.ndarray:
    """Read all voxels.

    Raises:
        FileError: truncated or damaged.
    """
    raw = _raw_header(path)
    data = np.empty(tuple(int(length) for length in raw["dims"]), raw.get_data_dtype(), order="F")
    with opened(path, igzip.open) as stream:
        stream.seek(DATA_OFFSET)
        fill(path, stream, data)
    return data.astype(data.dtype.newbyteorder("="), copy=False)


def _raw_header(path: Path) -> MGHHeader:
    with opened(path) as stream:
        start = stream.read(DATA_OFFSET)
    if not start.startswith(VERSION):
        raise foreign_format(path)
    if len(start) < DATA_OFFSET:
        raise FileError("is truncated: it ends within the header", file=path, mend="copy the file again")
    try:
        raw = MGHHeader(start[:LENGTH].ljust(LENGTH, b"\0"), check=False)
        dtype = raw.get_data_dtype()
    except (MGHError, KeyError, ValueError) as error:
        raise FileError(f"has a header that is damaged ({error})", file=path, mend="copy the file again") from None
    dims = [int(length) for length in raw["dims"]]
    if min(dims) < 1:
        raise FileError(f"declares the impossible dimensions {dims}", file=path, mend="convert the scan again")
    packed = path.name.lower().endswith("z")
    check_declared(path, math.prod(dims) * dtype.itemsize, path.stat().st_size, packed=packed)
    return raw
