"""What ITK reads for us: the grid of an image file in RAS+ mm, its voxels, and NRRD and MetaImage files."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ankleseg.errors import FileError
from ankleseg.volumes.formats import foreign_format
from ankleseg.volumes.geometry import Affine, affine_problem
from ankleseg.volumes.memory import GZIP_LARGEST_RATIO, readable_size
from ankleseg.volumes.volume import SCANNER, Header, Remark

RAS_FROM_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
TYPES = {
    "unsigned_char": "u1", "char": "i1", "unsigned_short": "u2", "short": "i2", "unsigned_int": "u4", "int": "i4",
    "unsigned_long": "u8", "long": "i8", "unsigned_long_long": "u8", "long_long": "i8", "float": "f4", "double": "f8",
}  # fmt: skip
HEADER_LINES_BYTES = 1 << 16
MILLIMETRES = {"m": 1e3, "cm": 10.0, "um": 1e-3, "µm": 1e-3, "micron": 1e-3, "microns": 1e-3, "nm": 1e-6}


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
    voxels = _voxel_file(path, fields)
    reader = image_reader(path)
    dimensions = reader.GetNumberOfDimensions()
    shape = tuple(int(reader.GetDimensions(axis)) for axis in range(dimensions))
    if dimensions < 3:
        raise FileError(f"has {dimensions} dimensions, 3 are needed", file=path, mend="give the whole scan")
    if reader.GetNumberOfComponents() > 1 and _lists_volumes(fields):
        shape = (*shape, int(reader.GetNumberOfComponents()))
    shape = (*shape[:3], *(length for length in shape[3:] if length > 1))
    declared = int(reader.GetImageSizeInBytes())
    held = voxels.stat().st_size
    if declared > held * GZIP_LARGEST_RATIO:
        raise FileError(
            f"declares {readable_size(declared)} of voxels, and a file of {readable_size(held)} cannot hold them",
            file=path,
            mend="copy the file again",
        )
    factor, remarks = _unit(path, fields)
    size = [reader.GetSpacing(axis) * factor for axis in range(3)]
    if not (np.isfinite(size).all() and min(size) > 0):
        raise FileError(
            f"declares voxels of {' × '.join(f'{s:g}' for s in size)} mm", file=path, mend="correct its header"
        )
    axes = [reader.GetDirection(axis)[:3] for axis in range(3)]
    affine = ras_affine(axes, size, [reader.GetOrigin(axis) * factor for axis in range(3)])
    problem = affine_problem(affine)
    if problem:
        raise FileError(problem, file=path, mend="correct its header")
    dtype = voxel_type(path, reader, volumes=_lists_volumes(fields))
    kind = "nrrd" if _is_nrrd(path) else "mha"
    return Header(path, shape, affine, dtype, SCANNER, SCANNER, kind, remarks=remarks)


def read_itk_voxels(path: Path) -> np.ndarray:
    """Read the voxels of any image file ITK knows, as (X, Y, Z, …).

    Raises:
        FileError: truncated or damaged.
    """
    import itk

    if path.suffix.lower() in (".mha", ".mhd"):
        _check_compressed(path)
    try:
        reader = image_reader(path)
        if reader.GetNumberOfComponents() == 1:
            return np.asarray(itk.array_from_image(itk.imread(str(path)))).T
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
    if start.startswith(b"NRRD") and "none" in fields.get("space directions", "") and not _lists_volumes(fields):
        problem = (
            f"has an axis without a direction, which its kinds ({fields.get('kinds', 'none given')}) do not explain"
        )
        return FileError(problem, file=path, mend="write list for that axis in the line kinds: of its header")
    if start.startswith(b"NRRD") if _is_nrrd(path) else start == b"ObjectT":
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
    return np.dtype(TYPES[reader.GetComponentTypeAsString(reader.GetComponentType())])


def _is_nrrd(path: Path) -> bool:
    return path.suffix.lower() in (".nrrd", ".nhdr")


def header_fields(path: Path) -> dict[str, str]:
    """Return the text fields of an NRRD or MetaImage header by name, in lower case."""
    return _header_lines(path)[0]


def _header_lines(path: Path) -> tuple[dict[str, str], int]:
    """The fields of a header, and where it ends."""
    with path.open("rb") as file:
        start = file.read(HEADER_LINES_BYTES)
    fields: dict[str, str] = {}
    position = 0
    for line in start.split(b"\n"):
        position += len(line) + 1
        text = line.decode("utf-8", "replace").strip()
        if ":=" in text:  # a key of NRRD
            name, _, value = text.partition(":=")
        else:
            name, _, value = text.partition("=" if "=" in text.split(":")[0] else ":")
        fields[name.strip().lower()] = value.strip()
        if not text or name.strip().lower() == "elementdatafile":
            break
    return fields, position


def _lists_volumes(fields: dict[str, str]) -> bool:
    """Whether an NRRD has an axis of frames or layers, and not of colours or vectors."""
    return any(kind == "list" for kind in fields.get("kinds", "").lower().split())


def _unit(path: Path, fields: dict[str, str]) -> tuple[float, tuple[Remark, ...]]:
    """Factor that makes the lengths of a header mm, and what it leaves open."""
    words = fields.get("space units") or fields.get("distanceunits") or "mm"
    unit = words.replace('"', " ").split()[0].lower() if words.replace('"', " ").split() else "mm"
    factor = MILLIMETRES.get(unit, 1.0)
    remarks = []
    if factor != 1:
        remarks.append(Remark(f"gives its geometry in {unit}, which is converted to mm", "nothing need be done"))
    place = ("space", "space dimension") if _is_nrrd(path) else ("transformmatrix", "orientation", "rotation")
    if not any(name in fields for name in place):
        remarks.append(Remark("does not say how it lies; the axes LPS are assumed", "check left and right in a viewer"))
    return factor, tuple(remarks)


def _voxel_file(path: Path, fields: dict[str, str]) -> Path:
    """The file that holds the voxels: the same, or one beside it. Another folder could be any of the machine.

    Raises:
        FileError: it is elsewhere, missing, or the voxels are spread over several files.
    """
    other = fields.get("data file") or fields.get("datafile") or fields.get("elementdatafile", "LOCAL")
    if other.upper() == "LOCAL":
        return path
    if other.upper().startswith("LIST") or "%" in other:
        raise FileError("spreads its voxels over several files", file=path, mend="convert it to one .nii.gz file")
    voxels = path.parent / other
    if other.startswith(".") or set(other) & set("/\\:"):
        raise FileError(
            f"keeps its voxels in another folder ({other})", file=path, mend="convert it to one .nii.gz file"
        )
    if not voxels.is_file():
        raise FileError(f"keeps its voxels in {other}, which is missing", file=path, mend="copy it beside")
    return voxels


def _check_compressed(path: Path) -> None:
    """Check the sum of compressed voxels, which ITK's MetaImage reader passes over."""
    fields, start = _header_lines(path)
    if fields.get("compresseddata", "false").lower() != "true":
        return
    voxels = _voxel_file(path, fields)
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
