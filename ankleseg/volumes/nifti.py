"""Reading NIfTI files, distrustfully: nothing is allocated before the header has proved possible."""

from __future__ import annotations

import gzip
import io
import math
import os
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from isal import igzip, isal_zlib

from ankleseg.errors import FileError
from ankleseg.volumes.formats import foreign_format, is_nifti_content, is_pair_content, require_file
from ankleseg.volumes.geometry import affine_problem, size_text
from ankleseg.volumes.memory import SPARE_BYTES, check_declared, gzip_content, readable_size
from ankleseg.volumes.nifti_geometry import geometry_of, unplaced
from ankleseg.volumes.volume import Header, Remark

GZIP_MAGIC = b"\x1f\x8b"
VECTORS = range(
    1004, 1010
)  # intents of matrices, displacements, vectors and points: their components are the fifth axis
SECONDS = {8: 1.0, 16: 1e-3, 24: 1e-6}  # of the units of time
PAIR_ENDINGS = (".hdr", ".img", ".hdr.gz", ".img.gz")


def is_nifti_name(path: Path) -> bool:
    """Tell whether the ending of a path is that of a NIfTI file."""
    return path.name.lower().endswith((".nii", ".nii.gz"))


def is_pair_name(path: Path) -> bool:
    """Tell whether the ending of a path is that of one file of a NIfTI or Analyze pair."""
    return path.name.lower().endswith(PAIR_ENDINGS)


def read_nifti_header(path: Path) -> Header:
    """Read the header of a NIfTI file, or of a NIfTI or Analyze pair, and refuse what cannot be the header of a scan.

    Args:
        path: of the file; of a pair, either.

    Raises:
        FileError: not a NIfTI file, truncated, declaring more than the file can hold, or without usable geometry.
    """
    return _header_of(path, _raw_header(path))


def read_nifti_voxels(path: Path) -> np.ndarray:
    """Read all voxels, scaled by slope and intercept, checking length and checksum of the file.

    Raises:
        FileError: truncated or damaged.
    """
    raw, voxels = _raw_header(path), _pair(path)[1]
    shape, dtype = _shape(raw), raw.get_data_dtype()
    data = np.empty(shape, dtype, order="F")
    with opened(voxels, igzip.open) as stream:
        stream.seek(int(raw["vox_offset"]))
        fill(voxels, stream, data)
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
    file, voxels = _pair(path)
    with opened(file) as stream:
        start = stream.read(540)
    if len(start) < 348:
        raise FileError("is truncated: it ends within the header", file=file, mend="copy the file again")
    kind = _header_kind(start, pair=file != voxels)
    if kind is None:
        raise foreign_format(file)
    raw = kind(start[: kind.template_dtype.itemsize], check=False)
    _check_declared_size(voxels, raw, pair=file != voxels)
    return raw


def _header_kind(start: bytes, *, pair: bool) -> Any:
    """The class of a header, None where it is no header of this kind."""
    if pair and is_pair_content(start):
        kinds = {b"ni1\0": nib.nifti1.Nifti1PairHeader, b"ni2\0": nib.nifti2.Nifti2PairHeader}
        return kinds.get(start[344:348]) or kinds.get(start[4:8]) or nib.Spm2AnalyzeHeader
    if not pair and is_nifti_content(start):
        return nib.Nifti1Header if start[344:348] == b"n+1\0" else nib.Nifti2Header
    return None


def _pair(path: Path) -> tuple[Path, Path]:
    """The file of the header and that of the voxels: one for NIfTI files, two for a pair."""
    if not is_pair_name(path):
        return path, path
    files = []
    ending = next(ending for ending in reversed(PAIR_ENDINGS) if path.name.lower().endswith(ending))
    for wanted in ("hdr", "img"):
        if wanted in ending:
            files.append(path)
            continue
        stem, rest = path.name[: -len(ending)], ending[4:]
        beside = [path.with_name(f"{stem}.{kind}{rest}") for kind in (wanted, wanted.upper())]
        found = next((file for file in beside if os.path.lexists(file)), None)
        if found is None:
            raise FileError(f"lacks the other file of its pair, {beside[0].name}", file=path, mend="copy it beside")
        files.append(require_file(found))
    return files[0], files[1]


@contextmanager
def opened(path: Path, decompress: Callable[..., Any] = gzip.open) -> Iterator[Any]:
    """Open for reading, through gzip by the name's ending, and tell what goes wrong meanwhile in one line.

    ISA-L's reader is several times as fast, but gives nothing of a truncated file, whose header can be told.
    """
    try:
        with path.open("rb") as file:
            if _is_compressed(path, file):
                with decompress(file) as stream:
                    if stream.peek(2)[:2] == GZIP_MAGIC:
                        raise foreign_format(path)
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
    by_name = path.name.lower().endswith((".gz", ".mgz"))
    by_content = file.read(2) == GZIP_MAGIC
    file.seek(0)
    if by_name != by_content:
        raise foreign_format(path)
    return by_name


def fill(path: Path, stream: io.BufferedIOBase, data: np.ndarray) -> None:
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
    return int(raw.get_data_dtype().itemsize) * math.prod(_shape(raw))


def _check_declared_size(path: Path, raw: Any, *, pair: bool) -> None:
    """Refuse a header that promises more voxels than the file can hold, before anything is allocated."""
    dimensions = int(raw["dim"][0])
    lengths = raw["dim"][1 : dimensions + 1].astype(int)
    if not 1 <= dimensions <= 7 or (lengths[:3] < 1).any() or (lengths[3:] < 0).any():
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
    start, packed = float(raw["vox_offset"]), path.name.lower().endswith(".gz")
    if not start >= (0 if pair else 348):
        raise FileError(f"declares that its voxels start at byte {start:g}", file=path, mend="convert the scan again")
    check_declared(path, _declared_bytes(raw), path.stat().st_size, packed=packed, start=start)


def _header_of(path: Path, raw: Any) -> Header:
    shape = _shape(raw)
    if isinstance(raw, nib.Spm2AnalyzeHeader):
        return _analyze_header(path, raw, shape)
    geometry = geometry_of(path, raw, shape)
    return Header(
        path=path,
        shape=shape,
        affine=geometry.affine,
        dtype=raw.get_data_dtype().newbyteorder("="),
        qform_code=geometry.qform_code,
        sform_code=geometry.sform_code,
        format="nifti",
        qform=geometry.qform,
        sform=geometry.sform,
        unit=geometry.unit,
        frame_time=_frame_time(raw) if len(shape) > 3 else 0.0,
        remarks=(*geometry.remarks, *_content_remarks(_pair(path)[1], raw)),
    )


def _content_remarks(path: Path, raw: Any) -> list[Remark]:
    """Signs that a header was not written for the voxels it is with."""
    remarks = []
    declared = int(raw["vox_offset"]) + _declared_bytes(raw)
    left = _held_bytes(path) - declared
    if left > SPARE_BYTES:
        problem = f"holds {readable_size(left)} more than the {readable_size(declared)} its header declares"
        remarks.append(Remark(problem, "check its dimensions in a viewer", suspect=True))
    if int(raw["bitpix"]) != 8 * raw.get_data_dtype().itemsize:
        problem = f"declares voxels of {raw.get_data_dtype()} and of {int(raw['bitpix'])} bits; the former is believed"
        remarks.append(Remark(problem, "check its intensities in a viewer", suspect=True))
    return remarks


def _held_bytes(path: Path) -> int:
    return gzip_content(path) if path.name.lower().endswith(".gz") else path.stat().st_size


def _analyze_header(path: Path, raw: Any, shape: tuple[int, ...]) -> Header:
    """The format knows no left and right; a .mat file of SPM beside it does, and nibabel reads that."""
    sizes = np.asarray(raw["pixdim"][1:4], float)
    if not (np.isfinite(sizes).all() and (sizes > 0).all()):
        mend = "correct the voxel size (pixdim) in its header"
        raise FileError(f"declares voxels of {size_text(sizes)} mm", file=path, mend=mend)
    try:
        affine = np.asarray(nib.Spm2AnalyzeImage.from_filename(_pair(path)[1]).affine, float)
    except Exception as error:  # scipy meets a damaged .mat with errors of many kinds
        raise FileError(f"has a .mat beside it that cannot be read ({error})", file=path, mend="remove it") from None
    if problem := affine_problem(affine):
        raise FileError(problem, file=path, mend="correct its header")
    placed = _pair(path)[1].with_suffix(".mat").exists()
    return Header(
        path=path,
        shape=shape,
        affine=affine,
        dtype=raw.get_data_dtype().newbyteorder("="),
        qform_code=0,
        sform_code=int(placed),
        format="analyze",
        sform=affine if placed else None,
        remarks=() if placed else (unplaced(affine),),
    )


def _shape(raw: Any) -> tuple[int, ...]:
    """Lengths of the axes; beyond the third, those of one are left out, and a length of 0 means 1.

    Not in front of the components of vectors, which are no frames.
    """
    lengths = [int(length) for length in raw["dim"][1 : int(raw["dim"][0]) + 1]]
    if len(lengths) > 4 and lengths[4] > 1 and int(raw.get("intent_code", 0)) in VECTORS:
        return (*lengths[:3], *(max(length, 1) for length in lengths[3:]))
    return (*lengths[:3], *(length for length in lengths[3:] if length > 1))


def _frame_time(raw: Any) -> float:
    time = float(raw["pixdim"][4]) * SECONDS.get(int(raw["xyzt_units"]) & 0b111000, 0.0)
    return time if 0 < time < np.inf else 0.0
