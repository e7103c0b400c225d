"""What an evaluation of spinal cords found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ankleseg.evaluate.cord_scores import CordScore, SliceRow
from ankleseg.evaluate.evaluation import Evaluation
from ankleseg.evaluate.scores import SCORED
from ankleseg.evaluate.tables import describe_values, summarise_by

MEASURES = (
    "dice",
    "hd95_mm",
    "volume_error_percent",
    "lower_end_mm",
    "upper_end_mm",
    "centreline_median_mm",
    "centreline_largest_mm",
    "centreline_within_1_5_mm",
    "centreline_within_5_mm",
    "area_error_percent",
    "area_error_size_percent",
    "area_error_p95_percent",
    "area_within_5_percent",
)
ENDS = ("lower_end_mm", "upper_end_mm")


@dataclass(frozen=True)
class CordEvaluation:
    """What was found: the plain evaluation of the main predictions, and rows of all predictions."""

    evaluation: Evaluation
    cord: tuple[CordScore, ...]
    slices: tuple[SliceRow, ...]

    @property
    def out(self) -> Path:
        """Folder of the results."""
        return self.evaluation.out

    @property
    def scored(self) -> int:
        """How many cords were compared with a reference."""
        return sum(row.status == SCORED for row in self.cord)

    def describe(self) -> str:
        """Return the lines to print at the end: means by predictions and structure, and where the report is."""
        return "\n".join([*map(_line, summarise_cord(self.cord)), f"report: {self.out / 'report.html'}"])


def summarise_cord(rows: Sequence[CordScore]) -> list[dict[str, Any]]:
    """Describe the measures by predictions and structure, see `describe_values`; ``end_mm`` is the size of the errors
    of both ends."""
    summary = summarise_by(rows, "structure", MEASURES)
    for entry in summary:
        scored = entry.pop("rows")
        ends = [getattr(row, name) for row in scored for name in ENDS]
        entry["end_mm"] = describe_values([None if value is None else abs(value) for value in ends])
        entry |= {name: sum(row.finding == name for row in scored) for name in ("missed", "invented")}
    return summary


def _line(entry: Mapping[str, Any]) -> str:
    said = f"{entry['predictions']} {entry['structure']}: "
    if not entry["scored"]:
        return said + f"none of {entry['cases']} scored"
    dice = entry["dice"]
    said += "no Dice" if dice["mean"] is None else f"Dice {dice['mean']:.3f} over {dice['n']}"
    if (middle := entry["centreline_median_mm"]["median"]) is not None:
        said += f", centreline {middle:.2f} mm (median)"
    if (area := entry["area_error_size_percent"]["mean"]) is not None:
        said += f", area in a slice wrong by {area:.1f} %"
    others, unscored = entry["missed"] + entry["invented"], entry["cases"] - entry["scored"]
    said += f", {others} missed or invented" if others else ""
    return said + (f", {unscored} not scored" if unscored else "")
