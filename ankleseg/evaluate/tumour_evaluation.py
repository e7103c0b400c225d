"""What an evaluation of tumours found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ankleseg.evaluate.evaluation import Evaluation
from ankleseg.evaluate.scores import SCORED
from ankleseg.evaluate.tables import summarise_by
from ankleseg.evaluate.tumour_scores import ALL_LABELS, LesionRow, TumourScore

MEASURES = (
    "dice",
    "iou",
    "hd95_mm",
    "sensitivity",
    "specificity",
    "accuracy",
    "empty_accuracy",
    "lesion_dice",
    "lesion_hd95_mm",
)
COUNTS = ("lesions", "found", "missed", "invented", "left_out")


@dataclass(frozen=True)
class TumourEvaluation:
    """What was found: the plain evaluation of the main predictions, and rows of all predictions."""

    evaluation: Evaluation
    tumour: tuple[TumourScore, ...]
    lesions: tuple[LesionRow, ...]
    dilation: int
    least_mm3: float

    @property
    def out(self) -> Path:
        """Folder of the results."""
        return self.evaluation.out

    @property
    def scored(self) -> int:
        """How many regions of cases were compared with a reference."""
        return sum(row.status == SCORED and row.region != ALL_LABELS for row in self.tumour)

    def describe(self) -> str:
        """Return the lines to print at the end: means by predictions and region, and where the report is."""
        return "\n".join([*map(_line, summarise_tumour(self.tumour)), f"report: {self.out / 'report.html'}"])


def summarise_tumour(rows: Sequence[TumourScore]) -> list[dict[str, Any]]:
    """Describe the measures by predictions and region, and add up the lesions; see `describe_values`."""
    summary = summarise_by(rows, "region", MEASURES)
    for entry in summary:
        scored = entry.pop("rows")
        entry |= {name: sum(getattr(row, name) or 0 for row in scored) for name in COUNTS}
    return summary


def _line(entry: Mapping[str, Any]) -> str:
    said = f"{entry['predictions']} {entry['region']}: "
    if entry["accuracy"]["mean"] is None:
        return said + f"none of {entry['cases']} scored"
    dice, lesions = entry["dice"], entry["lesion_dice"]
    said += "no Dice" if dice["mean"] is None else f"Dice {dice['mean']:.3f} over {dice['n']}"
    if lesions["mean"] is not None:
        said += f", by lesion {lesions['mean']:.3f} ({entry['missed']} missed, {entry['invented']} invented)"
    accuracy, empty = (100 * entry[name]["mean"] for name in ("accuracy", "empty_accuracy"))
    said += f", accuracy {accuracy:.2f} % (of an empty mask {empty:.2f} %)"
    unscored = entry["cases"] - entry["scored"]
    return said + (f", {unscored} not scored" if unscored else "")
