"""What the folder of a run says of a network: what it was trained on, and how it did on subjects it never saw."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ankleseg.files import read_json

PARTS = ("train", "validation", "test")
TABLES = {"structure": "metrics.json", "image": "quality.json"}  # of the evaluation that ends a run
MEASURES = {
    "dice": "Dice",
    "hd95_mm": "HD95 (mm)",
    "assd_mm": "ASSD (mm)",
    "psnr_db": "PSNR (dB)",
    "gain_db": "gain (dB)",
    "ssim": "SSIM",
}


@dataclass(frozen=True)
class RunFacts:
    """Of a run, without names of subjects or folders.

    Attributes:
        name: of the experiment; empty where the checkpoint lies in no run.
        cohort: name of the folder or table; ``phantom`` where it was the built-in one.
        subjects: number in each part of the split.
        figures: of the test subjects, for each structure or image the mean and standard deviation of each measure.
    """

    name: str = ""
    cohort: str = ""
    subjects: Mapping[str, int] = field(default_factory=dict)
    figures: Mapping[str, Mapping[str, tuple[float, float | None, int]]] = field(default_factory=dict)

    def describe(self) -> str:
        """One line of what it was trained on."""
        if not self.cohort:
            return "not known: the checkpoint lay in no run folder"
        counts = ", ".join(f"{self.subjects.get(part, 0)} {part}" for part in PARTS)
        return f"{self.cohort}; subjects: {counts}"


def run_facts(checkpoint: Path) -> RunFacts:
    """Read the run that a checkpoint lies in; what is missing or damaged there is left out."""
    run = checkpoint.resolve().parent
    run = run.parent if run.name == "checkpoints" else run
    manifest = read_json(run / "manifest.json")
    split = manifest.get("split")
    split = split if isinstance(split, Mapping) else {}
    cohort = "the built-in phantom" if manifest.get("phantom") else Path(str(manifest.get("cohort", ""))).name
    return RunFacts(
        name=str(manifest.get("name", "")),
        cohort=cohort,
        subjects={part: len(split.get(part) or ()) for part in PARTS} if split else {},
        figures=_figures(run / "test"),
    )


def _figures(folder: Path) -> dict[str, dict[str, tuple[float, float | None, int]]]:
    found: dict[str, dict[str, tuple[float, float | None, int]]] = {}
    for column, file in TABLES.items():
        rows = read_json(folder / file).get("summary")
        for row in rows if isinstance(rows, list) else ():
            described = {
                words: (row[name]["mean"], row[name].get("std"), int(row[name]["n"]))
                for name, words in MEASURES.items()
                if isinstance(row.get(name), Mapping) and row[name].get("mean") is not None
            }
            about = [row.get(column), row.get("kind"), row.get("region"), row.get("group")]
            title = ", ".join(str(part) for part in about if part not in (None, "all"))
            if described and title not in found:
                found[title] = described
    return found
