"""Noise2Noise against training on scans without noise, and against non-local means, on subjects that none of them saw.

    python benchmarks/noise2noise.py FOLDER [OVERRIDE …]

FOLDER keeps the phantom, the two trainings and what came out of them (``noise2noise.json``) between calls; remove a
training's folder to train it again. Overrides are those of ``ankleseg.train +experiment=ankle_noise2noise``, for both
trainings. Scores are of the first run of every test subject, in the foot of the scan without noise, in raw
intensities. The peak of the PSNR is the maximum of that scan.

Non-local means (Buades 2005, scikit-image) gets the better of two and three dimensions and the best of five strengths,
chosen on the validation subject with its scan without noise, which no user has.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ankleseg.cohorts import Case, load_repeats
from ankleseg.config import build, compose
from ankleseg.data import prepared
from ankleseg.inference import Model, VolumeInferer, load_model
from ankleseg.measures.foreground import foreground_mask
from ankleseg.measures.image_quality import psnr, ssim
from ankleseg.train import main as train
from ankleseg.transforms import scales_of
from ankleseg.volumes import read_volume

TARGETS = {"noisy": "Noise2Noise", "clean": "trained on clean scans"}
STRENGTHS = (0.6, 0.8, 1.0, 1.2, 1.5)  # of non-local means, in estimated standard deviations of the noise
DARK = 20  # percent of the foot: where Rician noise is biased most


def main() -> None:
    """Train, score and print the table."""
    folder, overrides = Path(sys.argv[1]), sys.argv[2:]
    asked = ["+experiment=ankle_noise2noise", *overrides]
    config = compose("train", asked)
    root = Path(config.cohort.root or build(config.cohort.phantom, out=str(folder / "cohort")))
    cohort = load_repeats(root)
    split = build(config.cohort.split)(cohort)
    models = {name: trained(folder / target, root, target, asked) for target, name in TARGETS.items()}
    ways: dict[str, Callable[[Case], np.ndarray]] = {"as scanned": lambda case: read_volume(case.images[0]).data}
    ways["non-local means"] = best_means(cohort.select(split.validation).cases[0])
    ways |= {name: lambda case, model=model: restored(case, model) for name, model in models.items()}
    rows = [
        {"way": way, "case": case.name, **scores(case, clean_up)}
        for case in cohort.select(split.test).cases
        for way, clean_up in ways.items()
    ]
    (folder / "noise2noise.json").write_text(json.dumps({"overrides": overrides, "rows": rows}, indent=1))
    print(table(rows, list(ways)))


def trained(run: Path, root: Path, target: str, asked: Sequence[str]) -> Model:
    """Train towards a target, unless the run is there."""
    if not (run / "checkpoints" / "best.ckpt").is_file():
        began = time.perf_counter()
        # Validated against the same kind of target that it is trained on: a user of noisy scans has no other.
        train(compose("train", [*asked, f"cohort.root={root}", f"patches.pairs.target={target}", f"run_dir={run}"]))
        print(f"trained on {target} targets in {time.perf_counter() - began:.0f} s", flush=True)
    return load_model(run)


def restored(case: Case, model: Model) -> np.ndarray:
    """The first run of a case, restored, in raw intensities on its own grid."""
    first = replace(case, channels={"image": case.images[0]})
    sample = prepared(first, model.preparation)
    found = VolumeInferer(model.window)(sample["image"].as_tensor()[None], model.network)[0]
    return model.preparation.restore(scales_of(sample)[0].undone(found), sample["image"])[0].numpy()


def best_means(case: Case) -> Callable[[Case], np.ndarray]:
    """Non-local means as it suits one case best."""
    choices = [(flat, strength) for flat in (True, False) for strength in STRENGTHS]
    found = [scores(case, lambda one, c=choice: non_local_means(one, *c))["psnr"] for choice in choices]
    flat, strength = choices[int(np.argmax(found))]
    print(f"non-local means: {2 if flat else 3}-D, strength {strength} on {case.name}", flush=True)
    return lambda case: non_local_means(case, flat, strength)


def non_local_means(case: Case, flat: bool, strength: float) -> np.ndarray:
    """The first run of a case after non-local means, slice by slice or in three dimensions."""
    from skimage.restoration import denoise_nl_means

    image = read_volume(case.images[0]).data
    sigma = deviation_of_noise(image, foreground_mask(image))
    settings: dict[str, Any] = {"h": strength * sigma, "sigma": sigma, "patch_size": 5, "fast_mode": True}
    if not flat:
        return denoise_nl_means(image, patch_distance=4, **settings)
    slices = [denoise_nl_means(image[:, :, index], patch_distance=7, **settings) for index in range(image.shape[2])]
    return np.stack(slices, axis=-1)


def deviation_of_noise(image: np.ndarray, foot: np.ndarray) -> float:
    """Standard deviation of the noise: median of what second differences leave of the slices (after Immerkær 1996)."""
    from scipy.ndimage import convolve

    mask = np.outer((1, -2, 1), (1, -2, 1))[:, :, None]  # of norm 6
    return float(np.median(np.abs(convolve(image, mask)[foot])) / (0.6745 * 6))


def scores(case: Case, clean_up: Callable[[Case], np.ndarray]) -> dict[str, float]:
    """How near a cleaned-up scan is to the one without noise, in the foot."""
    assert case.clean is not None
    clean = read_volume(case.clean).data
    foot = foreground_mask(clean)
    began = time.perf_counter()
    found = clean_up(case)
    seconds = time.perf_counter() - began
    values = clean[foot]
    error = (found - clean)[foot] / clean.max()
    dark = values < np.percentile(values, DARK)
    return {
        "psnr": psnr(found, clean, peak="maximum", mask=foot) or np.nan,
        "ssim": ssim(found, clean, mask=foot) or np.nan,
        "bias in the dark": 100 * float(error[dark].mean()),
        "bias elsewhere": 100 * float(error[~dark].mean()),
        "seconds": seconds,
    }


def table(rows: Sequence[dict[str, Any]], ways: Sequence[str]) -> str:
    """Mean over the test subjects, and least and greatest PSNR."""
    heads = ("PSNR dB", "min", "max", "SSIM", "bias dark %", "bias rest %", "s a scan")
    lines = [" | ".join((f"{'way':24s}", *(f"{head:>11s}" for head in heads)))]
    for way in ways:
        measures = [key for key in rows[0] if key not in ("way", "case")]
        found = {key: np.array([row[key] for row in rows if row["way"] == way]) for key in measures}
        mean = {key: values.mean() for key, values in found.items()}
        cells = (
            f"{mean['psnr']:.2f}", f"{found['psnr'].min():.2f}", f"{found['psnr'].max():.2f}", f"{mean['ssim']:.4f}",
            f"{mean['bias in the dark']:.2f}", f"{mean['bias elsewhere']:.2f}", f"{mean['seconds']:.1f}",
        )  # fmt: skip
        lines.append(" | ".join((f"{way:24s}", *(f"{cell:>11s}" for cell in cells))))
    return "\n".join(lines)


if __name__ == "__main__":
    main()
