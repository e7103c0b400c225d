"""What ITK reads for us: the grid of an image file in RAS+ mm, its voxels, and NRRD and MetaImage files."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ankleseg.errors import FileError
from ankleseg.volumes.formats import foreign_format
from ankleseg.volumes.geometry import Affine, affine_problem, size_text
from ankleseg.volumes.memory import check_declared
from ankleseg.volumes.text_headers import (
    header_fields,
    header_lines,
    is_compressed,
    is_nrrd,
    lists_volumes,
    require_numbers,
    size_remarks,
    unit_of,
    voxel_file,
)
from ankleseg.volumes.volume import SCANNER, Header

META = (".mha", ".mhd")
RAS_FROM_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
TYPES = {
    "unsigned_char": "u1", "char": "i1", "unsigned_short": "u2", "short": "i2", "unsigned_int": "u4", "int": "i4",
    "unsigned_long": "u8", "long": "i8", "unsigned_long_long": "u8", "long_long": "i8", "float": "f4", "double": "f8",
}  # fmt: skip


def ras_affine(axes_lps: Sequence[Sequence[float]], spacing: Sequence[float], origin_lps: Sequence[float]) -> Affine:
    """Return the RAS+ affine of a grid given in LPS: unit axes (one a row), spacing in mm, place of the first voxel."""
    affine = np.eye(4)
    affine[:3, :3] = np.array(axes_lps, dtype=float).T * np.array(spacing, dtype=float)
    affine[:3, 3] = origin_lps
    return RAS_FROM_LPS @ affine


def read_itk_header(path: Path) -> Header:
    """Read the header of an NRRD or MetaImage file.

    An NRRD axis of frames or layers (of the kind ``list``), wherever it stands, comes last.

    Raises:
        FileError: not such a file, its voxels are missing or elsewhere, colours, an impossible size, or no usable
            geometry.
    """
    fields = header_fields(path)
    require_numbers(path, fields)
    voxels = voxel_file(path, fields)
    reader = image_reader(path)
    dimensions = reader.GetNumberOfDimensions()
    shape = tuple(int(reader.GetDimensions(axis)) for axis in range(dimensions))
    if dimensions < 3:
        raise FileError(f"has {dimensions} dimensions, 3 are needed", file=path, mend="give the whole scan")
    if reader.GetNumberOfComponents() > 1 and lists_volumes(fields):
        shape = (*shape, int(reader.GetNumberOfComponents()))
    shape = (*shape[:3], *(length for length in shape[3:] if length > 1))
    dtype = voxel_type(path, reader, volumes=lists_volumes(fields))
    declared = int(reader.GetImageSizeInBytes())
    check_declared(path, declared, voxels.stat().st_size, packed=True)
    factor, remarks = unit_of(path, fields)
    remarks += size_remarks(path, voxels, fields, declared)
    size = [reader.GetSpacing(axis) * factor for axis in range(3)]
    if not (np.isfinite(size).all() and min(size) > 0):
        raise FileError(f"declares voxels of {size_text(size)} mm", file=path, mend="correct its header")
    axes = [reader.GetDirection(axis)[:3] for axis in range(3)]
    affine = ras_affine(axes, size, [reader.GetOrigin(axis) * factor for axis in range(3)])
    if problem := affine_problem(affine):
        raise FileError(problem, file=path, mend="correct its header")
    kind = "nrrd" if is_nrrd(path) else "mha"
    return Header(path, shape, affine, dtype, SCANNER, SCANNER, kind, remarks=remarks)


def read_itk_voxels(path: Path) -> np.ndarray:
    """Read the voxels of any image file ITK knows, as (X, Y, Z, …).

    Raises:
        FileError: truncated or damaged.
    """
    import itk

    if path.suffix.lower() in META:
        _check_compressed(path)
    try:
        reader = image_reader(path)
        if reader.GetNumberOfComponents() == 1:
            return np.asarray(itk.array_from_image(itk.imread(str(path), imageio=reader))).T
        dtype = voxel_type(path, reader, volumes=True)
        kinds = {"uint8": itk.UC, "int16": itk.SS, "uint16": itk.US, "float32": itk.F}
        file = itk.ImageFileReader[itk.VectorImage[kinds.get(dtype.name, itk.D), 3]].New(FileName=str(path))
        file.Update()
        volumes = np.asarray(itk.array_from_image(file.GetOutput())).astype(dtype, copy=False)  # (Z, Y, X, list)
        return volumes.transpose(2, 1, 0, 3)
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
        if path.suffix.lower() in META and path.suffix not in META:  # which ITK knows by small letters only
            reader = itk.MetaImageIO.New()
        else:
            reader = itk.ImageIOFactory.CreateImageIO(str(path), itk.CommonEnums.IOFileMode_ReadMode)
        if reader is None:
            raise RuntimeError
        reader.SetFileName(str(path))
        reader.ReadImageInformation()
    except RuntimeError:
        raise _unreadable(path) from None
    return reader


def _unreadable(path: Path) -> FileError:
    with path.open("rb") as file:
        start = file.read(7)
    fields = header_fields(path)
    if start.startswith(b"NRRD") and "none" in fields.get("space directions", "") and not lists_volumes(fields):
        problem = (
            f"has an axis without a direction, which its kinds ({fields.get('kinds', 'none given')}) do not explain"
        )
        return FileError(problem, file=path, mend="write list for that axis in the line kinds: of its header")
    if start.startswith(b"NRRD") if is_nrrd(path) else start == b"ObjectT":
        return FileError("has a header that cannot be understood", file=path, mend="copy or convert it again")
    return foreign_format(path)


def voxel_type(path: Path, reader: Any, *, volumes: bool = False) -> np.dtype:
    """Return the stored type of a voxel.

    Args:
        volumes: several numbers a voxel are several volumes.

    Raises:
        FileError: colours or vectors.
    """
    if reader.GetNumberOfComponents() != 1 and not volumes:
        raise FileError(
            f"stores {reader.GetNumberOfComponents()} numbers a voxel (colours or vectors)",
            file=path,
            mend="give a scan with one intensity a voxel",
        )
    kind = TYPES.get(reader.GetComponentTypeAsString(reader.GetComponentType()))
    if kind is None:
        raise FileError("stores voxels of an unknown type", file=path, mend="copy or convert it again")
    return np.dtype(kind)


def _check_compressed(path: Path) -> None:
    """Check the sum of compressed voxels, which ITK's MetaImage reader passes over."""
    fields, start = header_lines(path)
    if not is_compressed(fields):
        return
    voxels = voxel_file(path, fields)
    inflate = zlib.decompressobj(wbits=47)  # zlib or gzip
    try:
        with voxels.open("rb") as file:
            file.seek(start if voxels == path else 0)
            while chunk := file.read(1 << 20):
                inflate.decompress(chunk)
    except zlib.error as error:
        raise FileError(f"is damaged ({error})", file=path, mend="copy the file again") from None
    if not inflate.eof:
        raise FileError("is truncated: its compressed data end early", file=path, mend="copy the file again")
