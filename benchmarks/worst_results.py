"""A contact sheet of the worst results of evaluations, the slice with the most wrong voxels of each.

    python benchmarks/worst_results.py OUT.jpg PREDICTIONS REFERENCES EVALUATION [PREDICTIONS REFERENCES EVALUATION …]

REFERENCES is the table of the scans, EVALUATION what ``ankleseg.evaluate`` wrote. White is the reference.
"""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

ROWS, COLUMNS = 4, 5
COLOURS = ("tab:blue", "tab:orange", "tab:green", "tab:red", "tab:purple")


def main() -> None:
    """Draw the worst twenty structures, worst first."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    if len(sys.argv) < 5 or len(sys.argv) % 3 != 2:
        raise SystemExit(__doc__)
    folders = [tuple(map(Path, sys.argv[n : n + 3])) for n in range(2, len(sys.argv), 3)]
    scored = [(float(row["dice"]), row, folder) for folder in folders for row in _rows(folder[2]) if row["dice"]]
    scored.sort(key=lambda item: item[0])
    figure, axes = plt.subplots(ROWS, COLUMNS, figsize=(2.2 * COLUMNS, 2.3 * ROWS))
    for axis, (dice, row, (predictions, references, _)) in zip(axes.flat, scored, strict=False):
        image, true, found = _slice(predictions, references, row["case"], row["structure"])
        axis.imshow(image.T, cmap="gray", origin="lower", vmax=np.percentile(image, 99.5))
        for number, name in enumerate(found):
            for mask, colour in ((true[name], "white"), (found[name], COLOURS[number % len(COLOURS)])):
                if mask.any():
                    axis.contour(mask.T, [0.5], colors=colour, linewidths=0.8)
        axis.set_title(f"{row['case']}\n{row['structure']} {dice:.3f}", fontsize=7)
        axis.axis("off")
    figure.subplots_adjust(0, 0, 1, 0.95, 0.02, 0.2)
    figure.savefig(sys.argv[1], dpi=80, pil_kwargs={"quality": 80})


def _rows(evaluation: Path) -> list[dict[str, str]]:
    with (evaluation / "metrics.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def _slice(predictions: Path, references: Path, case: str, structure: str):
    """Image, true and predicted masks by structure, in the slice in which one of them is most wrong."""
    from ankleseg.cohorts import load_cohort
    from ankleseg.volumes import read_mask, read_volume, slice_axis

    (found,) = (c for c in load_cohort(references).cases if c.name == case)
    row = next(r for r in json.loads((predictions / "predictions.json").read_text())["cases"] if r["case"] == case)
    image = read_volume(found.images[0])
    true = {name: read_mask(known.path, value=known.value).data for name, known in found.references.items()}
    given = {name: read_mask(predictions / file).data for name, file in row["masks"].items()}
    axis = slice_axis(image.affine)
    others = tuple(other for other in range(3) if other != axis)
    worst = int((true[structure] != given[structure]).sum(others).argmax())
    cut = lambda array: np.asarray(array).take(worst, axis)  # noqa: E731
    return cut(image.data), {n: cut(m) for n, m in true.items()}, {n: cut(given[n]) for n in true}


if __name__ == "__main__":
    main()
