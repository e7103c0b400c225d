"""The text headers of NRRD and MetaImage files, read as strictly as ITK reads them leniently."""

from __future__ import annotations

import os
import re
from pathlib import Path

from ankleseg.errors import FileError
from ankleseg.volumes.formats import require_file
from ankleseg.volumes.memory import SPARE_BYTES, gzip_content, readable_size
from ankleseg.volumes.volume import Remark

HEADER_LINES_BYTES = 1 << 16
# the fields of a header that give its geometry, any of each row, what ITK makes of none, and whether that is suspect
NRRD_PLACE = (
    (("space", "space dimension"), "how it lies", "the axes LPS are assumed", False),
    (("space directions", "spacings"), "how large its voxels are", "1 mm is assumed", True),
    (("space origin",), "where it lies", "its first voxel is put at 0", False),
)
META_PLACE = (
    (("transformmatrix", "orientation", "rotation"), "how it lies", "the axes LPS are assumed", False),
    (("elementspacing", "elementsize"), "how large its voxels are", "1 mm is assumed", True),
    (("offset", "origin", "position"), "where it lies", "its first voxel is put at 0", False),
)
NUMERIC = ("sizes", "dimension", "space directions", "space origin", "spacings", "axis mins", "ndims", "dimsize",
           "transformmatrix", "orientation", "rotation", "offset", "origin", "position", "elementspacing",
           "elementsize")  # fmt: skip
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|nan|none")
MILLIMETRES = {"m": 1e3, "cm": 10.0, "um": 1e-3, "µm": 1e-3, "micron": 1e-3, "microns": 1e-3, "nm": 1e-6}


def is_nrrd(path: Path) -> bool:
    """Tell whether the ending of a path is that of an NRRD file or header."""
    return path.suffix.lower() in (".nrrd", ".nhdr")


def header_fields(path: Path) -> dict[str, str]:
    """Return the text fields of an NRRD or MetaImage header by name, in lower case."""
    return header_lines(path)[0]


def header_lines(path: Path) -> tuple[dict[str, str], int]:
    """The fields of a header, and where it ends."""
    with path.open("rb") as file:
        start = file.read(HEADER_LINES_BYTES)
    fields: dict[str, str] = {}
    position = 0
    for line in start.split(b"\n"):
        position += len(line) + 1
        text = line.decode("utf-8", "replace").strip()
        if text and not is_nrrd(path) and "=" not in text:
            fields[""] = text  # no field: ITK would take it together with the next line
        if ":=" in text:  # a key of NRRD
            name, _, value = text.partition(":=")
        else:
            name, _, value = text.partition("=" if "=" in text.split(":")[0] else ":")
        fields[name.strip().lower()] = value.strip()
        if not text or name.strip().lower() == "elementdatafile":
            break
    return fields, position


def require_numbers(path: Path, fields: dict[str, str]) -> None:
    """Refuse a damaged number, which ITK reads as far as it goes, and a line without a field.

    Raises:
        FileError: naming the field or the line.
    """
    mend = "correct its header, or copy the file again"
    if "" in fields and "ndims" in fields:
        raise FileError(f"invalid header line {fields['']!r}: expected name = value", file=path, mend=mend)
    for name in NUMERIC:
        words = fields.get(name, "").replace("(", " ").replace(")", " ").replace(",", " ").split()
        wrong = next((word for word in words if not NUMBER.fullmatch(word)), None)
        if wrong is not None:
            raise FileError(f"invalid {name}: expected numbers, got {wrong!r}", file=path, mend=mend)


def lists_volumes(fields: dict[str, str]) -> bool:
    """Whether an NRRD has an axis of frames or layers, and not of colours or vectors."""
    return any(kind == "list" for kind in fields.get("kinds", "").lower().split())


def unit_of(path: Path, fields: dict[str, str]) -> tuple[float, tuple[Remark, ...]]:
    """Factor that makes the lengths of a header mm, and what it leaves open."""
    words = fields.get("space units") or fields.get("distanceunits") or "mm"
    unit = words.replace('"', " ").split()[0].lower() if words.replace('"', " ").split() else "mm"
    factor = MILLIMETRES.get(unit, 1.0)
    remarks = []
    if factor != 1:
        remarks.append(Remark(f"gives its geometry in {unit}, which is converted to mm", "nothing need be done"))
    for names, what, assumed, suspect in NRRD_PLACE if is_nrrd(path) else META_PLACE:
        if not any(name in fields for name in names):
            remarks.append(Remark(f"does not say {what}; {assumed}", "check size and place in a viewer", suspect))
    return factor, tuple(remarks)


def voxel_file(path: Path, fields: dict[str, str]) -> Path:
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
    if not os.path.lexists(voxels):
        raise FileError(f"keeps its voxels in {other}, which is missing", file=path, mend="copy it beside")
    return require_file(voxels)


def size_remarks(path: Path, voxels: Path, fields: dict[str, str], declared: int) -> tuple[Remark, ...]:
    """What to say of a file that holds more voxels than it declares, where its compression tells.

    Args:
        path: of the header.
        voxels: the file that holds the voxels, maybe the same.
        fields: of the header.
        declared: bytes of voxels.

    Raises:
        FileError: it holds fewer.
    """
    packed = fields.get("encoding", "raw").lower() in ("gzip", "gz")
    if not packed and (fields.get("encoding", "raw").lower() != "raw" or is_compressed(fields)):
        return ()
    start = header_lines(path)[1] if voxels == path else 0
    held = gzip_content(voxels) if packed else voxels.stat().st_size - start
    if held < declared and not packed:  # a gzip tells the size of its last part only
        raise FileError(
            f"is truncated: it holds {readable_size(max(held, 0))} of {readable_size(declared)} of voxels",
            file=path,
            mend="copy the file again",
        )
    if held - declared <= SPARE_BYTES:
        return ()
    problem = f"holds {readable_size(held - declared)} more than the {readable_size(declared)} its header declares"
    return (Remark(problem, "check its dimensions in a viewer", suspect=True),)


def is_compressed(fields: dict[str, str]) -> bool:
    """Tell whether a MetaImage header says that its voxels are compressed."""
    return fields.get("compresseddata", "false").lower() == "true"
