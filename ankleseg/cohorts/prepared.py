"""What ``python -m ankleseg.prepare`` wrote, as a cohort to train on as it is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ankleseg.cohorts.case import Case, Cohort, Reference
from ankleseg.cohorts.files import read_json
from ankleseg.cohorts.names import parse_side
from ankleseg.errors import CohortError

MANIFEST = "manifest.json"


def is_prepared(root: Path) -> bool:
    """Tell whether a folder was written by ``python -m ankleseg.prepare``."""
    file = root / MANIFEST
    if not file.is_file():
        return False
    content = read_json(file)
    return isinstance(content, dict) and {"preparation", "cases"} <= content.keys()


def load_prepared(root: Path) -> Cohort:
    """List the cases of a prepared cohort: their images are scaled and turned, and their foreground is known.

    Raises:
        CohortError: the manifest cannot be read, or was written by another version.
    """
    content = read_json(root / MANIFEST)
    try:
        structures = {str(name): int(value) for name, value in content["structures"].items()}
        cases = tuple(_case(root, name, entry, structures) for name, entry in content["cases"].items())
        nested = bool(content["regions"])
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise CohortError(
            f"is not understood ({error!r})", file=root / MANIFEST, mend="run python -m ankleseg.prepare again"
        ) from error
    return Cohort(root, cases, tuple(structures), nested=nested)


def preparation_of(root: str | Path) -> list[dict[str, Any]] | None:
    """How a prepared cohort was prepared, as configuration nodes; None of any other one."""
    folder = Path(root)
    return read_json(folder / MANIFEST)["preparation"] if is_prepared(folder) else None


def _case(root: Path, name: str, entry: dict[str, Any], structures: dict[str, int]) -> Case:
    if "masks" in entry:
        references = {structure: Reference(root / file) for structure, file in entry["masks"].items()}
    else:
        references = {structure: Reference(root / entry["labels"], value) for structure, value in structures.items()}
    frame = entry.get("frame")
    return Case(
        name=name,
        subject=str(entry["subject"]),
        channels={channel: root / file for channel, file in entry["images"].items()},
        references=references,
        group=entry["group"],
        side=parse_side(entry["side"], root / MANIFEST, name),
        frame=None if frame is None else int(frame),
        sequence=None if frame is None else Path(entry["inputs"][0]),
        unknown=tuple(entry["unknown"]),
        foreground=root / entry["foreground"],
    )
