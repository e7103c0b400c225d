"""Rows of volumes, and the tables of their spread over subjects and over acquisitions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from ankleseg.cohorts import Cohort
from ankleseg.evaluate.predictions import Predictions
from ankleseg.measures.volumetry import Variation, variation_of_acquisitions, variation_within_subjects

QUANTITIES = ("volume_ml", "ratio")
MEDIAN_SUBJECT = "median subject"
VARIATION_COLUMNS = ("over", "of", "structure", "quantity", *(field.name for field in fields(Variation)))


@dataclass(frozen=True)
class VolumeRow:
    """A row of ``volumetry.csv``, its columns in order; None where something is not known.

    ``status``: ``ok``, or why there is no volume (``failed``, ``no prediction``, ``unreadable``).
    ``intracranial_from``: ``predicted`` or ``reference``, whose intracranial volume the ratio is to.
    """

    acquisition: str
    case: str
    subject: str
    structure: str
    status: str
    volume_ml: float | None = None
    intracranial_ml: float | None = None
    intracranial_from: str = ""
    ratio: float | None = None
    reference_ml: float | None = None
    volume_error_percent: float | None = None
    group: str | None = None
    message: str = ""


@dataclass(frozen=True, eq=False)
class VolumeTable:
    """One quantity of one structure: (subjects, acquisitions), NaN where it was not measured."""

    structure: str
    quantity: str
    subjects: tuple[str, ...]
    acquisitions: tuple[str, ...]
    values: np.ndarray

    @property
    def incomplete(self) -> tuple[str, ...]:
        """Subjects that some acquisition did not measure."""
        lacks = np.isnan(self.values).any(axis=1)
        return tuple(name for name, lacking in zip(self.subjects, lacks, strict=True) if lacking)


def volume_tables(rows: Sequence[VolumeRow]) -> list[VolumeTable]:
    """Arrange volumes and ratios by subject and acquisition; a quantity that no row has is left out.

    Acquisitions are matched by subject where every subject has one case in each of them, else by case.
    """
    key = "subject" if _one_case_each(rows) else "case"
    acquisitions = tuple(dict.fromkeys(row.acquisition for row in rows))
    tables = []
    for structure in dict.fromkeys(row.structure for row in rows):
        chosen = [row for row in rows if row.structure == structure]
        subjects = tuple(dict.fromkeys(getattr(row, key) for row in chosen))
        for quantity in QUANTITIES:
            values = np.full((len(subjects), len(acquisitions)), np.nan)
            for row in chosen:
                value = getattr(row, quantity)
                if value is not None:
                    values[subjects.index(getattr(row, key)), acquisitions.index(row.acquisition)] = value
            if not np.isnan(values).all():
                tables.append(VolumeTable(structure, quantity, subjects, acquisitions, values))
    return tables


def variation_rows(rows: Sequence[VolumeRow]) -> list[dict[str, Any]]:
    """Describe the spread of every structure: over the subjects of each acquisition, then within each subject."""
    result = []
    for table in volume_tables(rows):
        about = {"structure": table.structure, "quantity": table.quantity}
        spread = variation_of_acquisitions(table.values)
        for name, found in zip(table.acquisitions, spread, strict=True):
            result.append({"over": "subjects", "of": name, **about, **asdict(found)})
        if len(table.acquisitions) < 2:
            continue
        within = [asdict(found) for found in variation_within_subjects(table.values)]
        for name, described in zip(table.subjects, within, strict=True):
            result.append({"over": "acquisitions", "of": name, **about, **described})
        result.append({"over": "acquisitions", "of": MEDIAN_SUBJECT, **about, **_median_of(within)})
    return result


def _median_of(within: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The median of each number over the subjects with a spread; ``n`` counts these."""
    spread = [described for described in within if described["std"] is not None]
    result: dict[str, Any] = {"n": len(spread)}
    for name in (field.name for field in fields(Variation) if field.name != "n"):
        known = [described[name] for described in spread if described[name] is not None]
        result[name] = float(np.median(known)) if known else None
    return result


def _one_case_each(rows: Sequence[VolumeRow]) -> bool:
    cases: dict[tuple[str, str], set[str]] = {}
    for row in rows:
        cases.setdefault((row.acquisition, row.subject), set()).add(row.case)
    return all(len(found) == 1 for found in cases.values())


@dataclass(frozen=True)
class Volumetry:
    """What was measured: a row an acquisition, case and structure, and the spread of volumes and ratios."""

    out: Path
    acquisitions: Mapping[str, Predictions]
    references: Cohort | None
    structures: tuple[str, ...]
    intracranial: str
    volumes: tuple[VolumeRow, ...]
    date: str

    @property
    def measured(self) -> int:
        """How many rows have a volume."""
        return sum(row.volume_ml is not None for row in self.volumes)

    @property
    def variation(self) -> list[dict[str, Any]]:
        """The rows of ``variation.csv``."""
        return variation_rows(self.volumes)

    def describe(self) -> str:
        """Return the lines to print at the end: the spread over the subjects, and where the report is."""
        said: dict[tuple[str, str], list[str]] = {}
        for row in self.variation:
            if row["over"] == "subjects":
                spread = "–" if row["std_by_mean"] is None else f"{row['std_by_mean']:.4f}"
                key = row["structure"], "volume" if row["quantity"] == "volume_ml" else "ratio"
                said.setdefault(key, []).append(f"{row['of']} {spread} (n {row['n']})")
        lines = [
            f"{structure} {quantity}, std/mean: {', '.join(shown)}" for (structure, quantity), shown in said.items()
        ]
        return "\n".join([*lines, f"report: {self.out / 'report.html'}"])
