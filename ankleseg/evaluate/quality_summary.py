"""What an evaluation of images found, and its summary."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ankleseg.cohorts import Cohort
from ankleseg.evaluate.image_scores import PREDICTION, ImageScore
from ankleseg.evaluate.predictions import Predictions
from ankleseg.evaluate.scores import SCORED, Score
from ankleseg.evaluate.tables import describe_values

MEASURES = ("psnr_db", "gain_db", "ssim", "correlation", "gms", "gmsd")


@dataclass(frozen=True)
class QualityEvaluation:
    """What was found: a row a case, image and region, a row a case and structure, and a picture of every case."""

    out: Path
    predictions: Predictions
    references: Cohort
    images: tuple[ImageScore, ...]
    structures: tuple[Score, ...]
    pictures: Mapping[str, bytes]
    date: str

    @property
    def scored(self) -> int:
        """How many predicted images were compared with a reference."""
        return len({(row.case, row.image) for row in self.images if row.kind == PREDICTION and row.status == SCORED})

    def describe(self) -> str:
        """Return the lines to print at the end: PSNR by image and region, and where the report is."""
        lines = []
        for entry in summarise_images(self.images):
            level, gain = entry["psnr_db"], entry["gain_db"]["mean"]
            if level["mean"] is not None:
                said = f", {gain:+.2f} dB" if gain is not None and entry["kind"] == PREDICTION else ""
                lines.append(
                    f"{entry['image']}, {entry['region']}: PSNR {level['mean']:.2f} dB{said}, "
                    f"SSIM {_shown(entry['ssim']['mean'])} over {level['n']}"
                )
        unscored = {row.case: row.status for row in self.images if row.kind == PREDICTION and row.status != SCORED}
        lines += [f"{case}: {status}" for case, status in unscored.items()]
        return "\n".join([*lines, f"report: {self.out / 'report.html'}"])


def summarise_images(rows: Sequence[ImageScore]) -> list[dict[str, Any]]:
    """Summarise by image and region: ``cases`` scored, and each measure by n, mean, std, median, min and max."""
    summary = []
    scored = [row for row in rows if row.status == SCORED]
    for region in dict.fromkeys(row.region for row in scored):
        for image, kind in dict.fromkeys((row.image, row.kind) for row in scored):
            chosen = [row for row in scored if (row.image, row.kind, row.region) == (image, kind, region)]
            if chosen:
                described = {name: describe_values([getattr(row, name) for row in chosen]) for name in MEASURES}
                summary.append({"image": image, "kind": kind, "region": region, "cases": len(chosen), **described})
    return summary


def _shown(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"
