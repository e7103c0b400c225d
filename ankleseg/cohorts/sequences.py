"""Dynamic sequences of a case: 4-D files named ``*_dynamic``, and the sidecar that says what their header cannot."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ankleseg.cohorts.entities import parse_name, same_value
from ankleseg.cohorts.files import images_in, is_given, read_json, stem, visible
from ankleseg.errors import FileError
from ankleseg.volumes import selection_suffix, without_selection

SUFFIX = "dynamic"


@dataclass(frozen=True)
class SequenceHeader:
    """What the sidecar of a sequence says, None where it says nothing.

    Attributes:
        thickness_mm: of a slice (``SliceThickness``).
        spacing_mm: from the centre of a slice to that of the next (``SpacingBetweenSlices``); the rest is gap.
        seconds: from one frame to the next (``RepetitionTime``).
    """

    thickness_mm: float | None = None
    spacing_mm: float | None = None
    seconds: float | None = None


KEYS = {"thickness_mm": "SliceThickness", "spacing_mm": "SpacingBetweenSlices", "seconds": "RepetitionTime"}


def sequences_in(folder: Path) -> dict[str, Path]:
    """Find the sequences of a folder by the suffix ``_dynamic``: name without it, and file, sorted by name."""
    files = [file for file in images_in(folder) if stem(file).endswith(f"_{SUFFIX}")]
    return {stem(file).removesuffix(f"_{SUFFIX}"): file for file in files}


def sidecar_of(sequence: Path) -> Path:
    """Return where the sidecar of a sequence is: beside it, of the same name, ending in .json."""
    file = without_selection(sequence)
    return file.with_name(f"{stem(file)}{selection_suffix(sequence)}.json")


def sidecars_of(sequence: Path) -> list[Path]:
    """Return the sidecars that hold for a sequence, the most general first (the inheritance principle of BIDS).

    One lies beside it; others lie in the folders above, up to that of the dataset, and name some of its entities.
    """
    subject = next((folder for folder in sequence.parents if folder.name.lower().startswith("sub-")), None)
    root = sequence.parent if subject is None else subject.parent
    folders = [*sequence.parents][: [*sequence.parents].index(root) + 1]
    found: list[Path] = []
    for folder in reversed(folders):
        files = visible(folder.glob(f"*{SUFFIX}.json")) if folder.is_dir() else []
        holding = [file for file in files if file != sidecar_of(sequence) and _holds_for(file, sequence)]
        found += sorted(holding, key=lambda file: len(parse_name(file).entities))
    return [*found, *([sidecar_of(sequence)] if is_given(sidecar_of(sequence)) else [])]


def _holds_for(sidecar: Path, sequence: Path) -> bool:
    general, own = parse_name(sidecar), parse_name(sequence)
    return general.suffix == own.suffix and all(
        same_value(value, own.entities.get(key)) for key, value in general.entities.items()
    )


def read_sidecar(sequence: Path) -> SequenceHeader:
    """Read what the sidecars of a sequence say, the closest first for each key; everything is None without one.

    Args:
        sequence: the 4-D file.

    Raises:
        FileError: a sidecar is no JSON object, or gives something else than a positive number.
    """
    told: dict[str, tuple[Path, Any]] = {}
    for file in sidecars_of(sequence):
        content = read_json(file, FileError, "correct the file, or remove it")
        if not isinstance(content, dict):
            raise FileError("is not a JSON object", file=file, mend="correct the file, or remove it")
        told.update({key: (file, content[key]) for key in KEYS.values() if key in content})
    values: dict[str, float | None] = {}
    for field, key in KEYS.items():
        source, value = told.get(key, (None, None))
        known = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value) and value > 0
        if value is not None and not known:
            raise FileError(f"gives {key} as {value!r}", file=source, mend="write a positive number, or leave it out")
        values[field] = None if value is None else float(value)
    return SequenceHeader(**values)
