"""Reading NIfTI files, distrustfully: nothing is allocated before the header has proved possible."""

from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from isal import igzip, isal_zlib

from ankleseg.errors import FileError
from ankleseg.volumes.geometry import Affine, affine_problem
from ankleseg.volumes.memory import GZIP_LARGEST_RATIO, readable_size
from ankleseg.volumes.volume import Header

GZIP_MAGIC = b"\x1f\x8b"
SECONDS = {8: 1.0, 16: 1e-3, 24: 1e-6}  # of the units of time
SPATIAL_UNITS = {0: "unknown", 1: "metre", 2: "mm", 3: "micrometre"}


def is_nifti_name(path: Path) -> bool:
    """Tell whether the ending of a path is that of a NIfTI file."""
    return path.name.lower().endswith((".nii", ".nii.gz"))


def read_nifti_header(path: Path) -> Header:
    """Read the header of a NIfTI file and refuse what cannot be the header of a scan.

    Raises:
        FileError: not a NIfTI file, truncated, declaring more than the file can hold, or without usable geometry.
    """
    return _header_of(path, _raw_header(path))


def nifti_shape(path: Path) -> tuple[int, ...]:
    """Return the shape a NIfTI file declares, whatever the rest of its header says.

    Raises:
        FileError: not a NIfTI file, truncated, or declaring more than the file can hold.
    """
    return tuple(map(int, _raw_header(path).get_data_shape()))


def read_nifti_voxels(path: Path) -> np.ndarray:
    """Read all voxels, scaled by slope and intercept, checking length and checksum of the file.

    Raises:
        FileError: truncated or damaged.
    """
    raw = _raw_header(path)
    shape, dtype = tuple(map(int, raw.get_data_shape())), raw.get_data_dtype()
    data = np.empty(shape, dtype, order="F")
    with _opened(path, igzip.open) as stream:
        stream.seek(int(raw["vox_offset"]))
        _fill(path, stream, data)
    try:
        slope, intercept = raw.get_slope_inter()
    except nib.spatialimages.HeaderDataError:
        raise FileError("scales its values by NaN", file=path, mend="correct scl_slope and scl_inter") from None
    if slope is None or (slope == 1 and intercept == 0):
        return data.astype(dtype.newbyteorder("="), copy=False)
    scaled = data.astype(np.float64)
    scaled *= slope
    scaled += intercept
    return scaled


def _raw_header(path: Path) -> Any:
    with _opened(path) as stream:
        start = stream.read(540)
    if len(start) < 348:
        raise FileError("is truncated: it ends within the header", file=path, mend="copy the file again")
    kind: type[nib.Nifti1Header] | type[nib.Nifti2Header]
    if start[344:348] == b"n+1\0":
        kind, length = nib.Nifti1Header, 348
    elif start[4:8] == b"n+2\0":
        kind, length = nib.Nifti2Header, 540
    else:
        raise FileError(
            "is not a NIfTI file, whatever its name says",
            file=path,
            mend="convert the scan to .nii.gz, e.g. by dcm2niix",
        )
    raw = kind(start[:length], check=False)
    _check_declared_size(path, raw)
    return raw


@contextmanager
def _opened(path: Path, decompress: Callable[..., Any] = gzip.open) -> Iterator[io.BufferedIOBase]:
    """Open for reading, through gzip by the name's ending, and tell what goes wrong meanwhile in one line.

    ISA-L's reader is several times as fast, but gives nothing of a truncated file, whose header can be told.
    """
    try:
        with path.open("rb") as file:
            if _is_compressed(path, file):
                with decompress(file) as stream:
                    yield stream
            else:
                yield file
    except EOFError:
        raise FileError("is truncated: its compressed data end early", file=path, mend="copy the file again") from None
    except (gzip.BadGzipFile, zlib.error, isal_zlib.error) as error:  # type: ignore[misc]
        raise FileError(
            f"is damaged: its compressed data do not pass their check ({error})",
            file=path,
            mend="copy the file again",
        ) from None
    except OSError as error:
        raise FileError(
            f"cannot be read ({error.strerror or error})", file=path, mend="check the file and its disk"
        ) from None


def _is_compressed(path: Path, file: io.BufferedReader) -> bool:
    by_name = path.name.lower().endswith(".gz")
    by_content = file.read(2) == GZIP_MAGIC
    file.seek(0)
    if by_name and not by_content:
        raise FileError("is named .gz and is not compressed", file=path, mend="rename it to .nii if it is a NIfTI file")
    if by_content and not by_name:
        raise FileError("is compressed although its name ends in .nii", file=path, mend="rename it to .nii.gz")
    return by_name


def _fill(path: Path, stream: io.BufferedIOBase, data: np.ndarray) -> None:
    """Read exactly the voxels, then on to the end, where gzip compares the checksum."""
    target = data.reshape(-1, order="F").view(np.uint8).data
    filled = 0
    while filled < len(target):
        count = stream.readinto(target[filled : filled + (1 << 24)])
        if not count:
            raise FileError(
                f"is truncated: it holds {readable_size(filled)} of {readable_size(len(target))} of voxels",
                file=path,
                mend="copy the file again",
            )
        filled += count
    if isinstance(stream, gzip.GzipFile):
        while stream.read(1 << 20):
            pass


def _declared_bytes(raw: Any) -> int:
    size = int(raw.get_data_dtype().itemsize)
    for length in raw["dim"][1 : int(raw["dim"][0]) + 1]:
        size *= int(length)
    return size


def _check_declared_size(path: Path, raw: Any) -> None:
    """Refuse a header that promises more voxels than the file can hold, before anything is allocated."""
    dimensions = int(raw["dim"][0])
    if not 1 <= dimensions <= 7 or any(int(length) < 1 for length in raw["dim"][1 : dimensions + 1]):
        raise FileError(
            f"declares the impossible dimensions {raw['dim'].tolist()}", file=path, mend="convert the scan again"
        )
    code = int(raw["datatype"])
    try:
        dtype = raw.get_data_dtype()
    except (KeyError, nib.spatialimages.HeaderDataError):
        dtype = None
    if dtype is None or dtype.kind not in "iuf":
        raise FileError(
            f"stores voxels of NIfTI type {code}, not real numbers",
            file=path,
            mend="convert it to whole or floating numbers",
        )
    declared, size, start = _declared_bytes(raw), path.stat().st_size, float(raw["vox_offset"])
    largest = size * GZIP_LARGEST_RATIO if path.name.lower().endswith(".gz") else size
    if not start >= 348:
        raise FileError(f"declares that its voxels start at byte {start:g}", file=path, mend="convert the scan again")
    if start + declared > largest:
        raise FileError(
            f"is truncated or its header is wrong: it declares {readable_size(declared)} of voxels, "
            f"and a file of {readable_size(size)} cannot hold them",
            file=path,
            mend="copy the file again",
        )


def _header_of(path: Path, raw: Any) -> Header:
    shape = tuple(map(int, raw.get_data_shape()))
    while len(shape) > 3 and shape[-1] == 1:
        shape = shape[:-1]
    pixdim = np.asarray(raw["pixdim"][1:4], dtype=float)
    if not (np.isfinite(pixdim).all() and (pixdim > 0).all()):
        voxel = " × ".join(f"{size:g}" for size in pixdim)
        raise FileError(
            f"declares voxels of {voxel} mm", file=path, mend="correct the voxel size (pixdim) in its header"
        )
    unit = SPATIAL_UNITS.get(int(raw["xyzt_units"]) & 7, "unknown")
    if unit not in ("mm", "unknown"):
        raise FileError(f"gives its voxel size in the unit {unit}", file=path, mend="convert its header to mm")
    qform, sform = (_stored_affine(path, raw, name) for name in ("qform", "sform"))
    affine = np.asarray(raw.get_best_affine(), dtype=float)
    problem = affine_problem(affine)
    if problem:
        raise FileError(problem, file=path, mend="correct its header, or copy that of the scan it belongs to")
    return Header(
        path=path,
        shape=shape,
        affine=affine,
        dtype=raw.get_data_dtype().newbyteorder("="),
        qform_code=0 if qform is None else int(raw["qform_code"]),
        sform_code=0 if sform is None else int(raw["sform_code"]),
        format="nifti",
        qform=qform,
        sform=sform,
        unit=unit,
        frame_time=_frame_time(raw) if len(shape) > 3 else 0.0,
    )


def _frame_time(raw: Any) -> float:
    time = float(raw["pixdim"][4]) * SECONDS.get(int(raw["xyzt_units"]) & 0b111000, 0.0)
    return time if 0 < time < np.inf else 0.0


def _stored_affine(path: Path, raw: Any, name: str) -> Affine | None:
    if int(raw[f"{name}_code"]) <= 0:
        return None
    try:
        return np.asarray(getattr(raw, f"get_{name}")(), dtype=float)
    except (ValueError, nib.spatialimages.HeaderDataError) as error:
        raise FileError(f"holds a {name} that is no affine ({error})", file=path, mend="correct its header") from None
