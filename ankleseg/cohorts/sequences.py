"""Dynamic sequences of a case: 4-D files named ``*_dynamic``, and the sidecar that says what their header cannot."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path

from ankleseg.errors import FileError
from ankleseg.volumes import selection_suffix, without_selection

IMAGE_ENDINGS = (".nii.gz", ".nii", ".nrrd", ".mha")
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


def stem(file: Path) -> str:
    """Return the name of an image without its ending."""
    return next((file.name.removesuffix(ending) for ending in IMAGE_ENDINGS if file.name.endswith(ending)), file.stem)


def sequences_in(folder: Path) -> dict[str, Path]:
    """Find the sequences of a folder by the suffix ``_dynamic``: name without it, and file, sorted by name."""
    files = sorted(file for file in folder.glob(f"*_{SUFFIX}.*") if file.name.endswith(IMAGE_ENDINGS))
    return {stem(file).removesuffix(f"_{SUFFIX}"): file for file in files if stem(file).endswith(f"_{SUFFIX}")}


def sidecar_of(sequence: Path) -> Path:
    """Return where the sidecar of a sequence is: beside it, of the same name, ending in .json."""
    file = without_selection(sequence)
    return file.with_name(f"{stem(file)}{selection_suffix(sequence)}.json")


def read_sidecar(sequence: Path) -> SequenceHeader:
    """Read what the sidecar of a sequence says; everything is None without one.

    Args:
        sequence: the 4-D file.

    Raises:
        FileError: the sidecar is no JSON object, or gives something else than a positive number.
    """
    file = sidecar_of(sequence)
    if not file.is_file():
        return SequenceHeader()
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise FileError(f"cannot be read as JSON ({error})", file=file, mend="correct the file, or remove it") from None
    if not isinstance(content, dict):
        raise FileError("is no JSON object", file=file, mend="correct the file, or remove it")
    values = {}
    for field, key in KEYS.items():
        value = content.get(key)
        known = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value) and value > 0
        if value is not None and not known:
            raise FileError(f"gives {key} as {value!r}", file=file, mend="write a positive number, or leave it out")
        values[field] = None if value is None else float(value)
    return SequenceHeader(**values)
