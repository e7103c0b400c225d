"""Slicer's ``.seg.nrrd``: structures by the names of their segments, which may overlap in layers."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from ankleseg.errors import FileError
from ankleseg.volumes.formats import require_file
from ankleseg.volumes.text_headers import header_fields

ENDING = ".seg.nrrd"
FIELD = re.compile(r"segment(\d+)_(name|id|layer|labelvalue)")


@dataclass(frozen=True)
class Segment:
    """A structure of a segmentation: its name, and the value it has in one of the layers."""

    name: str
    layer: int
    value: int


def is_segmentation_name(path: Path) -> bool:
    """Tell whether the ending of a path is that of a segmentation of Slicer."""
    return path.name.lower().endswith(ENDING)


def read_segments(path: Path) -> tuple[Segment, ...]:
    """Read the segments that a ``.seg.nrrd`` names.

    Raises:
        FileError: missing or never downloaded, it names none, or a layer or value is no whole number.
    """
    found: dict[int, dict[str, str]] = {}
    for field, value in header_fields(require_file(path)).items():
        if match := FIELD.fullmatch(field):
            found.setdefault(int(match[1]), {})[match[2]] = value
    try:
        segments = tuple(_segment(about) for _, about in sorted(found.items()))
    except ValueError as error:
        raise FileError(f"describes a segment wrongly ({error})", file=path, mend="save it again in Slicer") from None
    if not segments:
        raise FileError("names no segments", file=path, mend="rename it to .nrrd if it is a plain label map")
    return segments


def _segment(about: dict[str, str]) -> Segment:
    name = about.get("name") or about.get("id", "")
    return Segment(name, int(about.get("layer", 0)), int(about.get("labelvalue", 1)))


def segment_of(path: Path, wanted: str | int | None) -> Segment:
    """Return the segment of a name or of a label value; the only one whatever its name.

    Raises:
        FileError: no such segment, or several; their names are listed.
    """
    segments = read_segments(path)
    if isinstance(wanted, str):
        fitting = [s for s in segments if s.name.casefold() == wanted.strip().casefold()]
    else:
        fitting = [s for s in segments if wanted is None or s.value == wanted]
    if not fitting and len(segments) == 1 and isinstance(wanted, str):
        fitting = list(segments)
    if len(fitting) == 1:
        return fitting[0]
    asked = "" if wanted is None else f" called {wanted}" if isinstance(wanted, str) else f" of the value {wanted}"
    listed = ", ".join(f"{segment.name} (value {segment.value})" for segment in segments)
    raise FileError(
        f"has {len(fitting)} segments{asked}, 1 is needed: it holds {listed}",
        file=path,
        mend="name the segment after the structure, e.g. in a table in the column mask_<segment>",
    )
