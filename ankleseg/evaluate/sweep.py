"""What the runs of a sweep came to, side by side."""

from __future__ import annotations

import csv
import json
import re
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ankleseg.errors import AnklesegError
from ankleseg.evaluate.tables import write_csv
from ankleseg.files import replace_file

REPEATS = ("seed", "cohort.split.fold")  # settings that repeat a training instead of changing it
WIDTH = 60  # of a line of a label in the figure, in characters
RESULTS = ("validation", "test", "tested", "source_before", "source_after", "minutes")


@dataclass(frozen=True)
class SweptRun:
    """A run of a sweep.

    Attributes:
        name: its folder, below that of the sweep or of several.
        settings: that it was given and not all runs of the sweep were, by key.
        validation: the metric that chose its checkpoint; None without validation.
        test: Dice of each case and structure of its test.
        source: mean Dice of the cohort that its weights are from, before and after; None where it was not measured.
        minutes: it took.
    """

    name: str
    settings: Mapping[str, str]
    validation: float | None
    test: tuple[float, ...]
    source: tuple[float, float] | None
    minutes: float | None

    @property
    def row(self) -> dict[str, Any]:
        """Its row of ``sweep.csv``."""
        before, after = self.source or ("", "")
        test = float(np.mean(self.test)) if self.test else ""
        cells = (self.validation, test, len(self.test), before, after, self.minutes)
        return {"run": self.name, **self.settings, **dict(zip(RESULTS, cells, strict=True))}

    @property
    def label(self) -> str:
        """The folder of its sweep among several, and its settings but for those that repeat a training."""
        told = [f"{key.rsplit('.', 1)[-1]}={value}" for key, value in self.settings.items() if key not in REPEATS]
        return "\n".join([*self.name.split("/")[:-1], *told]) or "all runs"


@dataclass(frozen=True)
class Sweep:
    """The runs of a sweep, the settings in which they differ, and where the table and the figure of them are."""

    out: Path
    runs: tuple[SweptRun, ...]
    keys: tuple[str, ...]

    def describe(self) -> str:
        """Return the lines to print: for each setting the means over the runs, and the least and largest test Dice."""
        lines = []
        for label in dict.fromkeys(run.label for run in self.runs):
            runs = [run for run in self.runs if run.label == label]
            said = [label.replace("\n", ", ") + f": {len(runs)} run{'s' * (len(runs) > 1)}"]
            if validation := [run.validation for run in runs if run.validation is not None]:
                said.append(f"validation {np.mean(validation):.3f}")
            if test := [np.mean(run.test) for run in runs if run.test]:
                cases = sum(len(run.test) for run in runs)
                said.append(f"test Dice {np.mean(test):.3f} ({min(test):.3f} to {max(test):.3f}) over {cases}")
            if source := [run.source for run in runs if run.source]:
                before, after = np.mean(source, axis=0)
                said.append(f"source cohort {before:.3f} before, {after:.3f} after")
            lines.append(", ".join(said))
        return "\n".join([*lines, f"table: {self.out / 'sweep.csv'}"])


def evaluate_sweep(folder: str | Path, out: str | Path) -> Sweep:
    """Gather the runs below a folder: ``sweep.csv`` has a row for each, ``sweep.png`` shows their Dice by setting.

    Told are the settings in which the runs of one folder differ.

    Args:
        folder: of ``python -m ankleseg.train -m``, or one of several such.
        out: folder that receives table and figure.

    Raises:
        AnklesegError: there is no run.
    """
    from ankleseg.report import distribution

    folder, out = Path(folder), Path(out)
    found = (path.parent for path in folder.rglob("manifest.json") if (path.parent / "config.yaml").is_file())
    runs = sorted(found, key=_by_number)
    if not runs:
        raise AnklesegError("holds no run", file=folder, mend="give the folder of a sweep of ankleseg.train")
    given = {run: _given(run) for run in runs}
    differ = {
        place: _differing([given[run] for run in runs if run.parent == place]) for place in {r.parent for r in runs}
    }
    swept = tuple(
        _read(run, run.relative_to(folder), {key: given[run].get(key, "") for key in differ[run.parent]})
        for run in runs
    )
    keys = tuple(dict.fromkeys(key for run in swept for key in run.settings))
    out.mkdir(parents=True, exist_ok=True)
    write_csv(out / "sweep.csv", [run.row for run in swept], ["run", *keys, *RESULTS])
    points = [(_wrapped(run.label), name, value) for run in swept for name, value in _points(run)]
    if points:
        labels, groups, values = zip(*points, strict=True)
        with replace_file(out / "sweep.png") as part:
            part.write_bytes(distribution(labels, groups, values, label="Dice", rows=True))
    return Sweep(out, swept, keys)


def _by_number(run: Path) -> list[tuple[int, str]]:
    """Sorts runs as they were started, 2 before 10."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in run.parts]


def _differing(given: Sequence[Mapping[str, str]]) -> list[str]:
    """The keys of settings that not all of some runs have alike."""
    keys = dict.fromkeys(key for one in given for key in one)
    return [key for key in keys if len({one.get(key, "") for one in given}) > 1]


def _given(run: Path) -> dict[str, str]:
    """The settings that a run was given on the command line."""
    overrides = json.loads((run / "manifest.json").read_text(encoding="utf-8")).get("overrides", [])
    pairs = (text.lstrip("+").partition("=") for text in overrides)
    return {key: value for key, _, value in pairs}


def _read(run: Path, name: Path, settings: Mapping[str, str]) -> SweptRun:
    manifest = json.loads((run / "manifest.json").read_text(encoding="utf-8"))
    validation = next(iter(manifest["results"].values()), None)
    source = [row for row in _rows(run / "metrics/forgetting.csv") if row["case"] == "mean"]
    return SweptRun(
        name=name.as_posix(),
        settings=settings,
        validation=validation,
        test=tuple(float(row["dice"]) for row in _rows(run / "test/metrics.csv") if row.get("dice")),
        source=(float(source[0]["before"]), float(source[0]["after"])) if source else None,
        minutes=round(manifest["wall_seconds"] / 60, 1) if manifest["results"] else None,
    )


def _points(run: SweptRun) -> list[tuple[str, float]]:
    """What the figure shows of a run: each case of its test, else its validation; and the cohort of its source."""
    shown = [("test", value) for value in run.test]
    if not shown and run.validation is not None:
        shown = [("validation", run.validation)]
    return shown + ([("source cohort, mean", run.source[1])] if run.source else [])


def _wrapped(label: str) -> str:
    """A label in as few lines as leave room for the scores beside it."""
    told = re.sub(r", *", ", ", label.replace("\n", "; "))
    return "\n".join(textwrap.wrap(told, WIDTH, break_on_hyphens=False))


def _rows(path: Path) -> list[dict[str, str]]:
    if not path.is_file():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))
