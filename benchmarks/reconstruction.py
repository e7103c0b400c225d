"""Dynamic frames turned into the static scan: what each ingredient brings, on subjects that no network saw.

    python benchmarks/reconstruction.py FOLDER [VARIANT …] [OVERRIDE …]

FOLDER keeps the phantom in motion, its preparation, a run for each variant and what came out of them
(``reconstruction.json``) between calls. Without variants all are trained that are not there; the table shows all that
are. Overrides are those of ``ankleseg.train +experiment=ankle_reconstruction_resnet`` and hold for the
variants trained in this call, as ``cohort.root=FOLDER_OF_PREPARED_SEQUENCES`` does.

Scores are of three frames of each sequence of the test subjects, restored about the bones in the precision of the
training: correlation and PSNR (peak 3, as published) with the registered static scan inside each bone, both prepared
as in training, and as published the mean correlation of 32×32 patches. Here these are all that hold enough of a bone,
also those that correlate too little to be trained on. Texture is told by bands of spatial frequency in the same
patches: the power of the restored frame as a share of that of the target, and how much of it is the target's own
(coherence, 0 to 1). A smooth result has little power in the upper bands; invented texture has power without
coherence.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.ndimage import maximum_filter

from ankleseg import keys
from ankleseg.cohorts import Case, Cohort, Split
from ankleseg.config import build, compose
from ankleseg.data.pairs import spread
from ankleseg.inference import Model, VolumeInferer, load_model
from ankleseg.measures.image_quality import correlation, psnr
from ankleseg.train import main as train
from ankleseg.transforms import Preparation
from ankleseg.volumes.geometry import spacing

VARIANTS = {
    "published": [],
    "learnt": ["losses.weight=learnt"],
    "alike": ["losses.weight=none"],
    "l2": ["losses.distance=l2"],
    "gradients": ["losses.gradient=1"],
    "skip": ["network=unet_skip"],
    "skip-learnt": ["network=unet_skip", "losses.weight=learnt"],
    "skip-gradients": ["network=unet_skip", "losses.gradient=1"],
    "unet": ["network=unet"],
    "fcn": ["network=fcn"],
    "small": ["network=reconstruction_resnet_small"],
}
FRAMES = 3  # of each test sequence
PEAK = 3.0
WINDOW, STEP = 32, 8  # pixels
BANDS = (0.05, 0.15, 0.3, 0.45, 0.6, 0.85)  # cycles per mm; frames of 1.12 mm hold nothing above 0.45
Pair = dict[Any, Any]  # a sample of plain tensors, see `ankleseg.data.prepared_pairs.Pairs`
Restore = Callable[[Pair], np.ndarray]


def main() -> None:
    """Train what is missing, score all that is there and print the tables."""
    folder, words = Path(sys.argv[1]), sys.argv[2:]
    overrides = [word for word in words if word not in VARIANTS]
    asked = ["+experiment=ankle_reconstruction_resnet", *overrides]
    config = compose("train", asked)
    root = config.cohort.root or build(config.cohort.phantom)
    cohort = build(config.cohort.load, root, structures=[])
    split = build(config.cohort.split)(cohort)
    for name in [word for word in words if word in VARIANTS] or VARIANTS:
        trained(folder / name, [*asked, f"cohort.root={root}", *VARIANTS[name]])
    rows: list[dict[str, Any]] = []
    for name in VARIANTS:
        if (folder / name / "checkpoints" / "best.ckpt").is_file():
            rows += scored(load_model(folder / name), name, config, cohort, split, with_input=not rows)
    (folder / "reconstruction.json").write_text(json.dumps({"overrides": overrides, "rows": rows}, indent=1))
    print(tables(rows))


def trained(run: Path, asked: Sequence[str]) -> None:
    """Train a variant, unless its run is there."""
    if (run / "checkpoints" / "best.ckpt").is_file():
        return
    began = time.perf_counter()
    train(compose("train", [*asked, f"run_dir={run}"]))
    print(f"{run.name}: {time.perf_counter() - began:.0f} s", flush=True)


def scored(
    model: Model, name: str, config: Any, cohort: Cohort, split: Split, with_input: bool
) -> list[dict[str, Any]]:
    """Rows of a variant, and of the frames as they are (brought to the prepared grid by a cubic spline)."""
    inferer = VolumeInferer(model.window)
    halved = config.trainer.precision == "bf16-mixed"

    def restore(pair: Pair) -> np.ndarray:
        foreground = pair[keys.FOREGROUND][0].numpy()
        bones = (pair[keys.LABEL][0].numpy() > 0) & foreground
        near = maximum_filter(bones, (2 * WINDOW + 1, 2 * WINDOW + 1, 1)) & foreground
        with torch.autocast("cpu", torch.bfloat16, enabled=halved):
            return inferer(pair[keys.IMAGE][None], model.network, foreground=near, fill=1)[0, 0].numpy()

    ways: dict[str, Restore] = {"frame": lambda pair: pair[keys.IMAGE][0].numpy()} if with_input else {}
    ways[name] = restore
    pairs = build(config.patches.pairs)
    size = sum(parameter.numel() for parameter in model.network.parameters())
    return [
        {"way": way, "case": pair[keys.CASE], "parameters": size * (way == name), **scores(pair, restore(pair), pairs)}
        for pair in test_pairs(pairs, cohort.select(split.test).cases, model.preparation)
        for way, restore in ways.items()
    ]


def test_pairs(pairs: Any, cases: Sequence[Case], preparation: Preparation) -> Iterator[Pair]:
    """Whole frames of the test subjects with their targets."""
    for case in spread(cases, FRAMES):
        yield from pairs.validation(case, preparation)


def scores(pair: Pair, restored: np.ndarray, pairs: Any) -> dict[str, Any]:
    """How near a restored frame is to its target inside the bones, and the texture of both."""
    target = pair[keys.TARGET][0].numpy()
    label = np.where(pair[keys.FOREGROUND][0].numpy(), pair[keys.LABEL][0].numpy(), 0)
    bones = [label == value for value in np.unique(label[label > 0])]
    frequency = [np.fft.fftfreq(WINDOW, mm) for mm in spacing(pair[keys.AFFINE].numpy())[:2]]
    radius = np.hypot(frequency[0][:, None], frequency[1][None, :])
    bands = [(radius >= low) & (radius < high) for low, high in pairwise(BANDS)]
    sums = np.zeros((3, len(bands)), complex)
    patches = []
    for window in windows(label, list(pairs.bones.values())):
        patches.append(correlation(restored[window], target[window]))
        one, other = (np.fft.fft2(tapered(image[window])) for image in (restored, target))
        for number, band in enumerate(bands):
            sums[:, number] += [
                (abs(one[band]) ** 2).sum(), (abs(other[band]) ** 2).sum(), (one[band] * other[band].conj()).sum()
            ]  # fmt: skip
    return {
        "correlation": float(np.mean([correlation(restored, target, mask=bone) for bone in bones])),
        "psnr": float(np.mean([psnr(restored, target, peak=PEAK, mask=bone) for bone in bones])),
        "patches": patches,
        "power": sums[0].real.tolist(),
        "target power": sums[1].real.tolist(),
        "shared": np.stack([sums[2].real, sums[2].imag], -1).tolist(),
    }


def windows(label: np.ndarray, shares: Sequence[float]) -> Iterator[tuple[slice, slice, int]]:
    """Places of the windows that hold enough of a bone."""
    for value, share in enumerate(shares, start=1):
        for x, y, z in np.ndindex(*((n - WINDOW) // STEP + 1 for n in label.shape[:2]), label.shape[2]):
            place = slice(x * STEP, x * STEP + WINDOW), slice(y * STEP, y * STEP + WINDOW), z
            if (label[place] == value).mean() >= share:
                yield place


def tapered(window: np.ndarray) -> np.ndarray:
    """A window without its mean, fading to 0 at its sides, so that they add no frequencies."""
    fade = np.hanning(WINDOW)
    return (window - window.mean()) * fade[:, None] * fade[None, :]


def tables(rows: Sequence[dict[str, Any]]) -> str:
    """Means over the frames, then the texture of all windows together."""
    ways = list(dict.fromkeys(row["way"] for row in rows))
    bands = [f"{low:g}–{high:g}" for low, high in pairwise(BANDS)]
    heads = ("parameters", "correlation", "least", "patches", "PSNR dB")
    lines = [f"{sum(row['way'] == ways[0] for row in rows)} frames, inside the bones"]
    lines.append(" | ".join((f"{'way':16s}", *(f"{head:>11s}" for head in heads))))
    for way in ways:
        mine = [row for row in rows if row["way"] == way]
        found, patches = (np.array([row["correlation"] for row in mine]), np.concatenate([r["patches"] for r in mine]))
        cells = [f"{mine[0]['parameters']:,}", f"{found.mean():.3f}", f"{found.min():.3f}", f"{patches.mean():.3f}"]
        cells.append(f"{np.mean([row['psnr'] for row in mine]):.2f}")
        lines.append(" | ".join((f"{way:16s}", *(f"{cell:>11s}" for cell in cells))))
    for title, number in (("power as a share of the target's, by cycles per mm", 0), ("coherence with the target", 1)):
        lines += ["", title, " | ".join((f"{'way':16s}", *(f"{band:>11s}" for band in bands)))]
        lines += [" | ".join((f"{way:16s}", *(f"{cell:11.3f}" for cell in texture(rows, way)[number]))) for way in ways]
    return "\n".join(lines)


def texture(rows: Sequence[dict[str, Any]], way: str) -> tuple[np.ndarray, np.ndarray]:
    """Power as a share of the target's, and squared coherence with it, by band."""
    mine = [row for row in rows if row["way"] == way]
    power, target, shared = (np.sum([row[key] for row in mine], 0) for key in ("power", "target power", "shared"))
    return power / target, (shared**2).sum(-1) / (power * target)


if __name__ == "__main__":
    main()
