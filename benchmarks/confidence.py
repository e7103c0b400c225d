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
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from scipy import ndimage

BAD = 0.8  # Dice
COLUMNS = (
    "case fault kind structure dice status score expected_dice agreement kept volume_ml cut by_shape reason".split()
)
Scan = tuple[np.ndarray, np.ndarray, np.ndarray]  # image, masks (K, X, Y, Z), affine


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
    from ankleseg.inference import ConfidenceRule, VolumeInferer, load_model, predict_case
    from ankleseg.measures import overlap
    from ankleseg.volumes import read_volume, write_volume

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
            with tempfile.TemporaryDirectory() as folder:
                path = write_volume(Path(folder) / "scan.nii.gz", image.astype(np.float32), affine)
                altered = replace(case, channels={"image": path}, side=side, foreground=None)
                found = predict_case(altered, [model], inferer, model.postprocessing, confidence=rule)
            dice = [overlap(one, two).dice for one, two in zip(found.masks, true, strict=True)]
            _append(table, _rows(case.name, fault, "scan", dice, found.confidence))
            if fault != "none":
                continue
            agreement = [one.agreement for one in found.confidence.values()]
            for name, corrupt, number in _corruptions(len(masks)):
                wrong = corrupt(found.masks.copy(), affine, np.random.default_rng(number))
                likely = np.where(wrong, np.maximum(found.probabilities, 0.97), 0.0)
                likely[~wrong & ~found.masks] = found.probabilities[~wrong & ~found.masks]
                judged = rule.judge(
                    likely,
                    wrong,
                    wrong,
                    affine,
                    model.labels,
                    agreement=agreement,
                    by_planes=bool(model.planes),
                    ranges=model.shapes,
                )
                dice = [overlap(one, two).dice for one, two in zip(wrong, true, strict=True)]
                _append(table, _rows(case.name, name, "mask", dice, judged))
            print(f"{case.name}: {fault}", flush=True)


def _corruptions(structures: int) -> Iterator[tuple[str, Callable[..., np.ndarray], int]]:
    """Faults of masks by name; those of a single bone once for each, which is their last argument."""
    for name, corrupt in SWAPS.items():
        yield name, corrupt, 0
    for name, corrupt in MASK_FAULTS.items():
        for k in range(structures):
            yield name, partial(corrupt, k), k


def _rows(case: str, fault: str, kind: str, dice: list[float | None], judged: Any) -> list[dict[str, Any]]:
    rows = []
    for (name, one), value in zip(judged.items(), dice, strict=True):
        reasons = [part for part in one.reason.split("; ") if part and "estimated Dice" not in part]
        known: dict[str, Any] = {"case": case, "fault": fault, "kind": kind, "structure": name, "dice": value}
        said = {column: getattr(one, column) for column in COLUMNS if hasattr(one, column)}
        rows.append(known | said | {"by_shape": int(bool(reasons))})
    return rows


def _append(table: Path, rows: list[dict[str, Any]]) -> None:
    with open(table, "a", encoding="utf-8", newline="") as file:
        csv.DictWriter(file, COLUMNS).writerows(rows)


OTHER = {"left": "right", "right": "left"}


def _bright(image: np.ndarray) -> float:
    return float(np.percentile(image, 99))


def noisy(share: float) -> Callable[..., Scan]:
    """Rician noise of a standard deviation that is a share of the bright end."""

    def alter(image, masks, affine, rng):
        noise = rng.normal(0, share * _bright(image), (2, *image.shape))
        return np.hypot(image + noise[0], noise[1]), masks, affine

    return alter


def blurred(mm: float) -> Callable[..., Scan]:
    """A Gaussian blur of a standard deviation in mm."""

    def alter(image, masks, affine, rng):
        return ndimage.gaussian_filter(image, mm / np.linalg.norm(affine[:3, :3], axis=0)), masks, affine

    return alter


def thick(number: int) -> Callable[..., Scan]:
    """Slices that are as thick as several."""

    def alter(image, masks, affine, rng):
        from ankleseg.volumes import slice_axis

        axis = slice_axis(affine)
        count = image.shape[axis] // number
        taken = np.moveaxis(image, axis, -1)[..., : count * number].reshape(
            *np.delete(image.shape, axis), count, number
        )
        parts = np.moveaxis(masks, axis + 1, -1)[..., : count * number]
        parts = parts.reshape(*parts.shape[:-1], count, number).mean(-1) > 0.5
        place = affine.copy()
        place[:3, 3] += affine[:3, axis] * (number - 1) / 2
        place[:3, axis] *= number
        return np.moveaxis(taken.mean(-1), -1, axis), np.moveaxis(parts, -1, axis + 1), place

    return alter


def cut(axis: str, first: float, last: float) -> Callable[..., Scan]:
    """A field of view that holds only a part along an axis of the patient."""

    def alter(image, masks, affine, rng):
        from ankleseg.volumes import anatomical_axis

        k = anatomical_axis(affine, axis)
        begin, end = (round(part * image.shape[k]) for part in (first, last))
        room = tuple(slice(begin, end) if a == k else slice(None) for a in range(3))
        place = affine.copy()
        place[:3, 3] += affine[:3, k] * begin
        return image[room], masks[(slice(None), *room)], place

    return alter


def gamma(exponent: float) -> Callable[..., Scan]:
    """Another contrast."""

    def alter(image, masks, affine, rng):
        return _bright(image) * (image.clip(0) / _bright(image)) ** exponent, masks, affine

    return alter


def inverted(image, masks, affine, rng) -> Scan:
    """Bright becomes dark inside the foot."""
    foot = ndimage.binary_fill_holes(ndimage.gaussian_filter(image, 2) > 0.1 * _bright(image))
    return np.where(foot, (1.1 * _bright(image) - image).clip(0), image), masks, affine


def coil(image, masks, affine, rng) -> Scan:
    """Intensities that fall to a tenth across the field of view."""
    along = np.linspace(0, 1, image.shape[0])[:, None, None]
    return image * np.exp(-2.3 * along), masks, affine


def ghosted(image, masks, affine, rng) -> Scan:
    """A shifted copy on top, as of motion."""
    return image + 0.6 * np.roll(image, image.shape[1] // 6, axis=1), masks, affine


def void(image, masks, affine, rng) -> Scan:
    """No signal within 15 mm of the middle of the second structure, as around metal."""
    middle = np.argwhere(masks[1]).mean(0)
    steps = (np.stack(np.indices(image.shape), -1) - middle) * np.linalg.norm(affine[:3, :3], axis=0)
    return np.where((steps**2).sum(-1) < 15**2, 0, image), masks, affine


def turned(image, masks, affine, rng) -> Scan:
    """A header that says that the patient lies the other way: two axes are exchanged."""
    place = affine.copy()
    place[[1, 2]] = place[[2, 1]]
    return image, masks, place


def mirrored(image, masks, affine, rng) -> Scan:
    """A header in which left is right."""
    return image, masks, np.diag([-1.0, 1, 1, 1]) @ affine


def unaltered(image, masks, affine, rng) -> Scan:
    """The scan as it is."""
    return image, masks, affine


SCAN_FAULTS: dict[str, Callable[..., Scan]] = {
    "none": unaltered,
    "noise 10 %": noisy(0.1),
    "noise 25 %": noisy(0.25),
    "noise 50 %": noisy(0.5),
    "blur 2 mm": blurred(2.0),
    "slices twice as thick": thick(2),
    "slices four times as thick": thick(4),
    "lower part": cut("IS", 0.0, 0.5),
    "front part": cut("PA", 0.5, 1.0),
    "gamma 0.4": gamma(0.4),
    "gamma 2.5": gamma(2.5),
    "inverted": inverted,
    "coil": coil,
    "ghost": ghosted,
    "void": void,
    "turned header": turned,
    "mirrored header": mirrored,
    "wrong side": unaltered,
}


def lost_piece(k, masks, affine, rng):
    """A third of one bone, cut off by a plane, is background."""
    points = np.argwhere(masks[k])
    if not len(points):
        return masks
    reach = (points - points.mean(0)) @ rng.normal(size=3)
    masks[k][tuple(points[reach > np.quantile(reach, 0.67)].T)] = False
    return masks


def swapped(first: int, second: int) -> Callable[..., np.ndarray]:
    """Two bones have each other's name."""

    def corrupt(masks, affine, rng):
        masks[[first, second]] = masks[[second, first]]
        return masks

    return corrupt


def dilated(k, masks, affine, rng):
    """One bone reaches 4 mm too far in each direction, but not into the others."""
    outside = ndimage.distance_transform_edt(~masks[k], sampling=np.linalg.norm(affine[:3, :3], axis=0))
    others = np.delete(masks, k, axis=0).any(0)
    masks[k] = (outside <= 4) & ~others
    return masks


def leaking(k, masks, affine, rng):
    """A ball of 20 mm, centred on the surface of one bone, belongs to it."""
    surface = np.argwhere(masks[k] & ~ndimage.binary_erosion(masks[k]))
    if not len(surface):
        return masks
    middle = surface[rng.integers(len(surface))]
    steps = (np.stack(np.indices(masks[k].shape), -1) - middle) * np.linalg.norm(affine[:3, :3], axis=0)
    masks[k] |= ((steps**2).sum(-1) < 20**2) & ~np.delete(masks, k, axis=0).any(0)
    return masks


def missing(k, masks, affine, rng):
    """One bone was not found."""
    masks[k] = False
    return masks


def joined(k, masks, affine, rng):
    """A third of one bone belongs to another."""
    before = masks[k].copy()
    lost_piece(k, masks, affine, rng)
    masks[(k + 1) % len(masks)] |= before & ~masks[k]
    return masks


SWAPS = {
    "calcaneus and talus swapped": swapped(0, 1),
    "talus and tibia swapped": swapped(1, 2),
    "calcaneus and tibia swapped": swapped(0, 2),
}
MASK_FAULTS: dict[str, Callable[..., np.ndarray]] = {
    "a third lost": lost_piece,
    "dilated 4 mm": dilated,
    "leaking": leaking,
    "missing": missing,
    "a third of another": joined,
}


def called(row: dict[str, str], threshold: float) -> bool:
    """Whether a structure is suspect or failed at a threshold of the score."""
    return row["by_shape"] == "1" or float(row["score"]) < threshold


def report(rows: list[dict[str, str]]) -> None:
    """Print each fault, and how well bad structures are told from good ones."""
    from ankleseg.inference import ConfidenceRule

    rule = ConfidenceRule()
    rows = [row for row in rows if row["dice"]]
    print(f"{'fault':32s} structures  mean Dice  bad  of these called  good called")
    for fault in dict.fromkeys(row["fault"] for row in rows):
        here = [row for row in rows if row["fault"] == fault]
        bad = [row for row in here if float(row["dice"]) < BAD]
        good = [row for row in here if float(row["dice"]) >= BAD]
        counts = [sum(called(row, rule.suspect) for row in of) for of in (bad, good)]
        mean = np.mean([float(row["dice"]) for row in here])
        print(f"{fault:32s} {len(here):10d} {mean:10.3f} {len(bad):4d} {counts[0]:16d} {counts[1]:12d}")
    for kind in ("scan", "mask"):
        here = [row for row in rows if row["kind"] == kind]
        bad = [row for row in here if float(row["dice"]) < BAD]
        good = [row for row in here if float(row["dice"]) >= BAD]
        caught, false = (sum(called(row, rule.suspect) for row in of) for of in (bad, good))
        print(f"{kind}: {caught} of {len(bad)} bad called, {false} of {len(good)} good")
        ok = [float(row["dice"]) for row in here if not called(row, rule.suspect)]
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
    left.axvline(rule.suspect, color="0.5", linewidth=0.8)
    left.set(xlabel="threshold of the score", ylabel="share called suspect or failed", ylim=(-0.02, 1.02))
    left.legend(fontsize=8)
    right.plot([0, 1], [0, 1], color="0.7", linewidth=0.8)
    right.axhline(rule.suspect, color="0.5", linewidth=0.8)
    right.axvline(BAD, color="0.5", linewidth=0.8)
    right.set(xlabel="Dice", ylabel="score (estimated Dice)", xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
    right.legend(fontsize=8)
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    main()
