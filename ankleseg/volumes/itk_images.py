"""What ITK reads for us: the grid of an image file in RAS+ mm, its voxels, and NRRD and MetaImage files."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ankleseg.errors import FileError
from ankleseg.volumes.geometry import Affine, affine_problem
from ankleseg.volumes.memory import GZIP_LARGEST_RATIO, readable_size
from ankleseg.volumes.volume import SCANNER, Header

RAS_FROM_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
TYPES = {
    "unsigned_char": "u1", "char": "i1", "unsigned_short": "u2", "short": "i2", "unsigned_int": "u4", "int": "i4",
    "unsigned_long": "u8", "long": "i8", "unsigned_long_long": "u8", "long_long": "i8", "float": "f4", "double": "f8",
}  # fmt: skip
HEADER_LINES_BYTES = 1 << 16


def ras_affine(axes_lps: Sequence[Sequence[float]], spacing: Sequence[float], origin_lps: Sequence[float]) -> Affine:
    """Return the RAS+ affine of a grid given in LPS: unit axes (one a row), spacing in mm, place of the first voxel."""
    affine = np.eye(4)
    affine[:3, :3] = np.array(axes_lps, dtype=float).T * np.array(spacing, dtype=float)
    affine[:3, 3] = origin_lps
    return RAS_FROM_LPS @ affine


def read_itk_header(path: Path) -> Header:
    """Read the header of an NRRD or MetaImage file.

    Raises:
        FileError: not such a file, data in another file, colours, an impossible size, or no usable geometry.
    """
    _check_attached(path)
    reader = image_reader(path)
    dimensions = reader.GetNumberOfDimensions()
    shape = tuple(int(reader.GetDimensions(axis)) for axis in range(dimensions))
    if dimensions < 3:
        raise FileError(f"has {dimensions} dimensions, 3 are needed", file=path, mend="give the whole scan")
    while len(shape) > 3 and shape[-1] == 1:
        shape = shape[:-1]
    declared = int(reader.GetImageSizeInBytes())
    if declared > path.stat().st_size * GZIP_LARGEST_RATIO:
        raise FileError(
            f"declares {readable_size(declared)} of voxels, and a file of {readable_size(path.stat().st_size)} "
            "cannot hold them",
            file=path,
            mend="copy the file again",
        )
    size = [reader.GetSpacing(axis) for axis in range(3)]
    if not (np.isfinite(size).all() and min(size) > 0):
        raise FileError(
            f"declares voxels of {' × '.join(f'{s:g}' for s in size)} mm", file=path, mend="correct its header"
        )
    axes = [reader.GetDirection(axis)[:3] for axis in range(3)]
    affine = ras_affine(axes, size, [reader.GetOrigin(axis) for axis in range(3)])
    problem = affine_problem(affine)
    if problem:
        raise FileError(problem, file=path, mend="correct its header")
    kind = "nrrd" if path.suffix.lower() == ".nrrd" else "mha"
    return Header(path, shape, affine, voxel_type(path, reader), SCANNER, SCANNER, kind)


def read_itk_voxels(path: Path) -> np.ndarray:
    """Read the voxels of any image file ITK knows, as (X, Y, Z, …).

    Raises:
        FileError: truncated or damaged.
    """
    import itk

    if path.suffix.lower() == ".mha":
        _check_compressed_mha(path)
    try:
        return np.asarray(itk.array_from_image(itk.imread(str(path)))).T
    except RuntimeError as error:
        reason = " ".join(str(error).split())[-120:]
        raise FileError(f"is truncated or damaged (ITK: …{reason})", file=path, mend="copy the file again") from None


def image_reader(path: Path) -> Any:
    """Return ITK's reader for a file with its header read.

    Raises:
        FileError: ITK does not know the file, whatever its name says.
    """
    import itk

    try:
        reader = itk.ImageIOFactory.CreateImageIO(str(path), itk.CommonEnums.IOFileMode_ReadMode)
        if reader is None:
            raise RuntimeError
        reader.SetFileName(str(path))
        reader.ReadImageInformation()
    except RuntimeError:
        raise FileError(
            f"is no readable {path.suffix.lstrip('.')} file, whatever its name says",
            file=path,
            mend="copy or convert it again",
        ) from None
    return reader


def voxel_type(path: Path, reader: Any) -> np.dtype:
    """Return the stored type of a voxel.

    Raises:
        FileError: colours or vectors.
    """
    if reader.GetNumberOfComponents() != 1:
        raise FileError(
            f"stores {reader.GetNumberOfComponents()} numbers a voxel (colours or vectors)",
            file=path,
            mend="give a scan with one intensity a voxel",
        )
    return np.dtype(TYPES[reader.GetComponentTypeAsString(reader.GetComponentType())])


def _header_lines(path: Path) -> tuple[dict[str, str], int]:
    """Return the text fields of an NRRD or MetaImage header, names in lower case, and where it ends."""
    with path.open("rb") as file:
        start = file.read(HEADER_LINES_BYTES)
    fields, position = {}, 0
    for line in start.split(b"\n"):
        position += len(line) + 1
        text = line.decode("latin-1").strip()
        name, _, value = text.partition("=" if "=" in text.split(":")[0] else ":")
        fields[name.strip().lower()] = value.strip()
        if not text or name.strip().lower() == "elementdatafile":
            break
    return fields, position


def _check_attached(path: Path) -> None:
    """Refuse a header whose voxels lie in another file: it could name any file of the machine."""
    fields, _ = _header_lines(path)
    other = fields.get("data file") or fields.get("datafile") or fields.get("elementdatafile", "LOCAL")
    if other.upper() != "LOCAL":
        raise FileError(f"keeps its voxels in another file ({other})", file=path, mend="convert it to one .nii.gz file")


def _check_compressed_mha(path: Path) -> None:
    """Check the sum of compressed voxels, which ITK's MetaImage reader passes over."""
    fields, start = _header_lines(path)
    if fields.get("compresseddata", "false").lower() != "true":
        return
    inflate = zlib.decompressobj(wbits=47)  # zlib or gzip
    try:
        with path.open("rb") as file:
            file.seek(start)
            while chunk := file.read(1 << 20):
                inflate.decompress(chunk)
    except zlib.error as error:
        raise FileError(f"is damaged ({error})", file=path, mend="copy the file again") from None
    if not inflate.eof:
        raise FileError("is truncated: its compressed data end early", file=path, mend="copy the file again")
