"""Group summaries, the table of protocols, and the files they go to."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from ankleseg.evaluate.scores import SCORED, Score
from ankleseg.files import replace_file

MEASURES = (
    "dice",
    "iou",
    "precision",
    "recall",
    "hd95_mm",
    "assd_mm",
    "volume_ml",
    "reference_ml",
    "volume_error_ml",
    "volume_error_percent",
)
DESCRIBED = ("mean", "std", "median", "min", "max")
PROTOCOL_COLUMNS = (
    "protocol",
    "mode",
    "unit",
    "group",
    "structure",
    "n",
    *(f"dice_{name}" for name in DESCRIBED),
    "missed",
    "invented",
    "not_applicable",
    "not_scored",
)
ALL = "all"
NO_GROUP = "no group"


@dataclass(frozen=True)
class ProtocolScore:
    """What one protocol says of a structure of a case: Dice and finding of the volume, or of every patch."""

    protocol: str
    mode: str
    case: str
    structure: str
    group: str | None
    status: str
    message: str = ""
    dice: tuple[float | None, ...] = ()
    findings: tuple[str, ...] = ()


def summarise(scores: Sequence[Score]) -> list[dict[str, Any]]:
    """Summarise the scores by group and structure.

    Every entry counts its ``cases``: ``scored``, of which ``missed``, ``invented`` and ``both_empty``, and
    ``not_scored``; and describes every measure by ``n``, ``mean``, ``std`` (of the sample), ``median``, ``min`` and
    ``max``. Both empty is not applicable and in no mean; a miss is in every mean, with Dice 0.
    """
    summary = []
    for group, structure, rows in _by_group_and_structure(scores):
        findings = [row.finding for row in rows]
        summary.append(
            {
                "group": group,
                "structure": structure,
                "cases": len(rows),
                "scored": sum(row.status == SCORED for row in rows),
                "missed": findings.count("missed"),
                "invented": findings.count("invented"),
                "both_empty": findings.count("both empty"),
                "not_scored": sum(row.status != SCORED for row in rows),
                **{name: describe_values([getattr(r, name) for r in rows if r.status == SCORED]) for name in MEASURES},
            }
        )
    return summary


def compare_protocols(scores: Sequence[ProtocolScore]) -> list[dict[str, Any]]:
    """Describe the Dice of every protocol by group and structure.

    Tiles and slices give one Dice a volume, patches one a patch; ``n`` counts those in the mean, ``not_applicable``
    those where prediction and reference are both empty, ``not_scored`` the cases that could not be compared.
    """
    table = []
    for protocol in dict.fromkeys(score.protocol for score in scores):
        of_protocol = [score for score in scores if score.protocol == protocol]
        for group, structure, rows in _by_group_and_structure(of_protocol):
            findings = [finding for row in rows for finding in row.findings]
            described = describe_values([dice for row in rows for dice in row.dice])
            cells = (
                protocol,
                rows[0].mode,
                "patch" if rows[0].mode == "patches" else "volume",
                group,
                structure,
                described["n"],
                *(described[name] for name in DESCRIBED),
                *(findings.count(name) for name in ("missed", "invented", "both empty")),
                sum(row.status != SCORED for row in rows),
            )
            table.append(dict(zip(PROTOCOL_COLUMNS, cells, strict=True)))
    return table


def summarise_by(rows: Sequence[Any], kind: str, measures: Sequence[str]) -> list[dict[str, Any]]:
    """Describe measures by predictions and kind, see `describe_values`.

    Args:
        rows: with ``predictions``, ``status``, the kind and the measures as attributes.
        kind: what a row is of, such as ``structure``.
        measures: names of attributes; only rows that were scored count.

    Returns:
        Entries with ``predictions``, the kind, numbers of ``cases`` and of those ``scored``, the measures, and the
        scored ``rows``.
    """
    summary = []
    for key in dict.fromkeys((row.predictions, getattr(row, kind)) for row in rows):
        here = [row for row in rows if (row.predictions, getattr(row, kind)) == key]
        scored = [row for row in here if row.status == SCORED]
        entry: dict[str, Any] = {"predictions": key[0], kind: key[1], "cases": len(here), "scored": len(scored)}
        entry |= {name: describe_values([getattr(row, name) for row in scored]) for name in measures}
        summary.append(entry | {"rows": scored})
    return summary


def write_csv(path: Path, rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> None:
    """Write rows as CSV: numbers to six decimals, an empty field for what is not known or not applicable."""
    with replace_file(path) as part, open(part, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(rounded(rows))


def write_json(path: Path, content: Any) -> None:
    """Write JSON: numbers to six decimals, null for what is not known or not applicable."""
    with replace_file(path) as part:
        part.write_text(json.dumps(rounded(content), indent=1, allow_nan=False) + "\n", encoding="utf-8")


def rounded(content: Any) -> Any:
    """Return nested content with every float rounded to six decimals, so that all files tell the same number."""
    if isinstance(content, float):
        return round(content, 6)
    if isinstance(content, Mapping):
        return {name: rounded(value) for name, value in content.items()}
    if isinstance(content, (list, tuple)):
        return [rounded(value) for value in content]
    return content


def score_columns() -> list[str]:
    """Columns of ``metrics.csv``."""
    return [field.name for field in fields(Score)]


def _by_group_and_structure(rows: Sequence[Any]) -> list[tuple[str, str, list[Any]]]:
    """Rows by group and structure, then of all groups together when there is more than one."""
    present = {row.group for row in rows}
    groups: list[tuple[str, list[Any]]] = []
    if present != {None}:
        for group in sorted(present, key=lambda name: (name is None, name or "")):
            groups.append((group or NO_GROUP, [row for row in rows if row.group == group]))
    if len(groups) != 1:
        groups.append((ALL, list(rows)))
    structures = list(dict.fromkeys(row.structure for row in rows))
    parts = [
        (group, structure, [row for row in of_group if row.structure == structure])
        for group, of_group in groups
        for structure in structures
    ]
    return [part for part in parts if part[2]]


def describe_values(values: Sequence[float | None]) -> dict[str, float | int | None]:
    """Describe the values that are known by ``n``, ``mean``, ``std`` (of the sample), ``median``, ``min``, ``max``."""
    known = np.array([value for value in values if value is not None], dtype=float)
    if not len(known):
        return {"n": 0, **dict.fromkeys(DESCRIBED)}
    return {
        "n": len(known),
        "mean": float(known.mean()),
        "std": float(known.std(ddof=1)) if len(known) > 1 else None,
        "median": float(np.median(known)),
        "min": float(known.min()),
        "max": float(known.max()),
    }
