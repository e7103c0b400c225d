"""What an evaluation found."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ankleseg.cohorts import Cohort
from ankleseg.evaluate.predictions import Predictions
from ankleseg.evaluate.scores import SCORED, Score
from ankleseg.evaluate.tables import ProtocolScore, rounded, summarise


@dataclass(frozen=True)
class Evaluation:
    """What was found: a score a case and structure of the main predictions, their summary, and the protocols.

    ``not_predicted`` names the cases of the references that nobody asked to predict. Predicted masks on another grid
    were ``resampled``, or not scored.
    """

    out: Path
    references: Cohort
    protocols: Mapping[str, Predictions]
    structures: tuple[str, ...]
    scores: tuple[Score, ...]
    protocol_scores: tuple[ProtocolScore, ...]
    not_predicted: tuple[str, ...]
    date: str
    resampled: bool = False

    @property
    def main(self) -> Predictions:
        """The predictions that the scores are of: the first of the protocols."""
        return next(iter(self.protocols.values()))

    @property
    def rows(self) -> list[dict[str, Any]]:
        """The rows of ``metrics.csv``."""
        return rounded([asdict(row) for row in self.scores])

    @property
    def scored(self) -> int:
        """How many rows compare a prediction with a reference."""
        return sum(row.status == SCORED for row in self.scores)

    def describe(self) -> str:
        """Return the lines to print at the end: the mean Dice by group and structure, and where the report is."""
        lines = []
        for entry in summarise(self.scores):
            mean, others = entry["dice"]["mean"], entry["missed"] + entry["invented"]
            said = "no Dice" if mean is None else f"Dice {mean:.3f} over {entry['dice']['n']}"
            said += f", {others} missed or invented" if others else ""
            said += f", {entry['not_scored']} not scored" if entry["not_scored"] else ""
            lines.append(f"{entry['group']} {entry['structure']}: {said}")
        return "\n".join([*lines, f"report: {self.out / 'report.html'}"])
