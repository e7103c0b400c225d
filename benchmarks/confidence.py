"""Whether the confidence of a prediction tells good masks from bad ones, on faults made in phantoms.

    python benchmarks/confidence.py CHECKPOINT COHORT OUT [subjects=sub-C01,sub-E01] [views=1] [mode=tiles]

Each scan is predicted as it is and with faults: noise, blur, thick slices, cut fields of view, other contrasts, an
inverted one, a coil, a void, headers and sides that are wrong. Masks of the scan as it is are then corrupted, and their
probabilities with them, so that shape alone can tell. ``confidence.csv`` has a row a structure; a scan that it holds is
not predicted again. ``confidence.png``: how many of the bad structures (Dice below 0.8) and of the good ones are called
suspect or failed, over the threshold of the score.
"""

from __future__ import annotations

import csv
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from confidence_faults import SCAN_FAULTS, corruptions

if TYPE_CHECKING:
    from ankleseg.cohorts import Case
    from ankleseg.inference import CasePrediction, ConfidenceRule, Model, VolumeInferer
    from ankleseg.inference.confidence import StructureConfidence

BAD = 0.8  # Dice
COLUMNS = (
    "case fault kind structure dice status score expected_dice agreement kept volume_ml cut by_shape reason".split()
)
OTHER = {"left": "right", "right": "left"}


def main() -> None:
    """Write the table and the figure, and print what they show."""
    words = [word for word in sys.argv[1:] if "=" not in word]
    options = dict(word.split("=", 1) for word in sys.argv[1:] if "=" in word)
    checkpoint, cohort, out = map(Path, words)
    out.mkdir(parents=True, exist_ok=True)
    table = out / "confidence.csv"
    if not table.exists():
        _append(table, [dict(zip(COLUMNS, COLUMNS, strict=True))])
    predict_all(checkpoint, cohort, table, options)
    with open(table, encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    report(rows)
    draw(rows, out / "confidence.png")


def predict_all(checkpoint: Path, root: Path, table: Path, options: dict[str, str]) -> None:
    """Predict every scan with every fault, and judge it."""
    import torch

    from ankleseg.cohorts import load_cohort, read_reference
    from ankleseg.inference import ConfidenceRule, VolumeInferer, load_model
    from ankleseg.volumes import read_volume

    torch.set_grad_enabled(False)
    model = load_model(checkpoint)
    rule = ConfidenceRule(views=int(options.get("views", 1)))
    inferer = VolumeInferer(model.window, tiling=options.get("mode", "auto"))
    subjects = options["subjects"].split(",") if "subjects" in options else None
    with open(table, encoding="utf-8", newline="") as file:
        done = {(row["case"], row["fault"]) for row in csv.DictReader(file)}
    for case in load_cohort(root).cases:
        if subjects is not None and case.subject not in subjects:
            continue
        volume = read_volume(case.images[0])
        masks = np.stack([read_reference(case, name).data for name in model.labels.structures])
        scan = np.asarray(volume.data, np.float32), masks, volume.affine
        for fault, alter in SCAN_FAULTS.items():
            if (case.name, fault) in done:
                continue
            image, true, affine = alter(*scan, np.random.default_rng(0))
            side = OTHER[case.side] if fault == "wrong side" and case.side else case.side
            found = _predicted(replace(case, side=side, foreground=None), image, affine, model, inferer, rule)
            _append(table, _rows(case.name, fault, "scan", found.masks, true, found.confidence))
            if fault == "none":
                for name, wrong, judged in _corrupted(found, model, rule):
                    _append(table, _rows(case.name, name, "mask", wrong, true, judged))
            print(f"{case.name}: {fault}", flush=True)


def _predicted(case: Case, image: np.ndarray, affine: np.ndarray, model: Model, inferer: VolumeInferer, rule):
    """The prediction of a case that is shown another image."""
    from ankleseg.inference import predict_case
    from ankleseg.volumes import write_volume

    with tempfile.TemporaryDirectory() as folder:
        path = write_volume(Path(folder) / "scan.nii.gz", image.astype(np.float32), affine)
        altered = replace(case, channels={"image": path})
        return predict_case(altered, [model], inferer, model.postprocessing, confidence=rule)


def _corrupted(found: CasePrediction, model: Model, rule: ConfidenceRule) -> Iterator[tuple[str, np.ndarray, Any]]:
    """Masks of a prediction with each fault, whose probabilities are as sure, and what is thought of them."""
    told: dict[str, Any] = {"agreement": [one.agreement for one in found.confidence.values()], "ranges": model.shapes}
    told["by_planes"] = bool(model.planes)
    for name, corrupt, number in corruptions(len(found.masks)):
        wrong = corrupt(found.masks.copy(), found.affine, np.random.default_rng(number))
        likely = np.where(wrong, np.maximum(found.probabilities, 0.97), 0.0)
        likely[~wrong & ~found.masks] = found.probabilities[~wrong & ~found.masks]
        yield name, wrong, rule.judge(likely, wrong, wrong, found.affine, model.labels, **told)


def _rows(
    case: str, fault: str, kind: str, masks: np.ndarray, true: np.ndarray, judged: Mapping[str, StructureConfidence]
) -> list[dict[str, Any]]:
    from ankleseg.measures import overlap

    rows = []
    for (name, one), mask, reference in zip(judged.items(), masks, true, strict=True):
        value = overlap(mask, reference).dice
        reasons = [part for part in one.reason.split("; ") if part and "estimated Dice" not in part]
        known: dict[str, Any] = {"case": case, "fault": fault, "kind": kind, "structure": name, "dice": value}
        said = {column: getattr(one, column) for column in COLUMNS if hasattr(one, column)}
        rows.append(known | said | {"by_shape": int(bool(reasons))})
    return rows


def _append(table: Path, rows: list[dict[str, Any]]) -> None:
    with open(table, "a", encoding="utf-8", newline="") as file:
        csv.DictWriter(file, COLUMNS).writerows(rows)


def called(row: dict[str, str], threshold: float | None = None) -> bool:
    """Whether a structure was suspect or failed, or would be at another threshold of the score."""
    if threshold is None:
        return row["status"] != "ok"
    return row["by_shape"] == "1" or float(row["score"]) < threshold


def report(rows: list[dict[str, str]]) -> None:
    """Print each fault, and how well bad structures are told from good ones."""
    rows = [row for row in rows if row["dice"]]
    print(f"{'fault':32s} structures  mean Dice  bad  of these called  good called")
    for fault in dict.fromkeys(row["fault"] for row in rows):
        here = [row for row in rows if row["fault"] == fault]
        bad = [row for row in here if float(row["dice"]) < BAD]
        good = [row for row in here if float(row["dice"]) >= BAD]
        counts = [sum(called(row) for row in of) for of in (bad, good)]
        mean = np.mean([float(row["dice"]) for row in here])
        print(f"{fault:32s} {len(here):10d} {mean:10.3f} {len(bad):4d} {counts[0]:16d} {counts[1]:12d}")
    for kind in ("scan", "mask"):
        here = [row for row in rows if row["kind"] == kind]
        bad = [row for row in here if float(row["dice"]) < BAD]
        good = [row for row in here if float(row["dice"]) >= BAD]
        caught, false = (sum(called(row) for row in of) for of in (bad, good))
        print(f"{kind}: {caught} of {len(bad)} bad called, {false} of {len(good)} good")
        ok = [float(row["dice"]) for row in here if not called(row)]
        print(f"{kind}: of {len(ok)} called ok the least Dice is {min(ok, default=float('nan')):.3f}")
    scans = [row for row in rows if row["kind"] == "scan"]
    for name in ("score", "expected_dice", "agreement"):
        pairs = np.array([(float(row[name]), float(row["dice"])) for row in scans if row[name]])
        print(f"{name}: {_told(pairs)}")


def _told(pairs: np.ndarray) -> str:
    from scipy.stats import spearmanr

    bad, good = pairs[pairs[:, 1] < BAD, 0], pairs[pairs[:, 1] >= BAD, 0]
    if not len(bad) or not len(good):
        return "nothing to be told"
    area = (good[:, None] > bad).mean() + 0.5 * (good[:, None] == bad).mean()
    error = np.abs(pairs[:, 0] - pairs[:, 1]).mean()
    return f"area under ROC {area:.3f}, rank correlation {spearmanr(*pairs.T)[0]:.2f}, mean error {error:.3f}"


def draw(rows: list[dict[str, str]], path: Path) -> None:
    """Draw what is called over the threshold, and the score over the true Dice."""
    from matplotlib.figure import Figure

    from ankleseg.inference import ConfidenceRule

    rule = ConfidenceRule()
    rows = [row for row in rows if row["dice"]]
    figure = Figure(figsize=(10, 4.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    thresholds = np.linspace(0.3, 1, 141)
    for kind, colour in (("scan", "#0072B2"), ("mask", "#D55E00")):
        here = [row for row in rows if row["kind"] == kind]
        for is_bad, style in ((True, "-"), (False, ":")):
            of = [row for row in here if (float(row["dice"]) < BAD) is is_bad]
            shares = [np.mean([called(row, t) for row in of]) if of else np.nan for t in thresholds]
            words = f"{'bad' if is_bad else 'good'}, {kind} altered ({len(of)})"
            left.plot(thresholds, shares, style, color=colour, label=words)
        true, said = ([float(row[name]) for row in here] for name in ("dice", "score"))
        right.scatter(true, said, s=9, color=colour, alpha=0.6, label=f"{kind} altered")
    for threshold in (rule.suspect, rule.suspect_by_planes):
        left.axvline(threshold, color="0.5", linewidth=0.8)
    left.set(xlabel="threshold of the score", ylabel="share called suspect or failed", ylim=(-0.02, 1.02))
    left.legend(fontsize=8)
    right.plot([0, 1], [0, 1], color="0.7", linewidth=0.8)
    right.axhline(rule.suspect_by_planes, color="0.5", linewidth=0.8)
    right.axvline(BAD, color="0.5", linewidth=0.8)
    right.set(xlabel="Dice", ylabel="score (estimated Dice)", xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
    right.legend(fontsize=8)
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    main()
