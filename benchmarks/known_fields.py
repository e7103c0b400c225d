"""Registration of scans with copies of themselves that known smooth fields have moved: the error in mm, and folding.

    python benchmarks/known_fields.py SCAN… [--checkpoint RUN] [--fields 3] [--largest 8] [--voxels 2 1.5]

The moving scan is a copy moved by a velocity field (``RandSmoothFieldd``) whose largest displacement is drawn from half
of LARGEST up to it, and altered as in training: gamma, coil, noise. Ways are ``descent`` from zero at each size of the
working grid, and with a checkpoint its network alone and refined. Errors are distances between where the found field
and the true one lead, over the foreground.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

SEED = 7


def main() -> None:
    """Register every scan with its copies in every way, and print a line each and the means."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scans", type=Path, nargs="+")
    parser.add_argument("--checkpoint", type=Path)
    parser.add_argument("--fields", type=int, default=3)
    parser.add_argument("--largest", type=float, default=8.0)
    parser.add_argument("--voxels", type=float, nargs="+", default=[2.0])
    arguments = parser.parse_args()
    from ankleseg.volumes import read_volume

    rows: dict[str, list[dict[str, float]]] = {}
    for path in arguments.scans:
        scan = read_volume(path)
        for number in range(arguments.fields):
            copy, truth = moved_copy(scan, arguments.largest, SEED + number)
            for way, settings, predict in ways(arguments):
                row = score(scan, copy, truth, settings, predict)
                rows.setdefault(way, []).append(row)
                print(f"{path.name} field {number + 1} {way:22s} {words(row)}", flush=True)
    for way, found in rows.items():
        print(f"mean {way:22s} {words({name: float(np.mean([row[name] for row in found])) for name in found[0]})}")


def moved_copy(scan, largest: float, seed: int):
    """A copy that a known field has moved, its intensities altered, and the field (X, Y, Z, 3), RAS+ mm."""
    import torch
    from monai.data import MetaTensor
    from monai.transforms import Compose, RandGaussianNoised

    from ankleseg.deformable import as_scan
    from ankleseg.transforms import RandCoilFieldd, RandGammaInRanged, RandSmoothFieldd
    from ankleseg.volumes import Volume

    steps = Compose(
        [
            RandSmoothFieldd("image", largest=(largest / 2, largest)),
            RandGammaInRanged("image", gamma=(0.8, 1.25)),
            RandCoilFieldd("image", coefficient=0.1),
            RandGaussianNoised("image", prob=1.0, std=0.02),
        ]
    ).set_random_state(seed)
    image = torch.from_numpy(as_scan(scan).data)[None]
    sample = steps({"image": MetaTensor(image, affine=torch.from_numpy(np.asarray(scan.affine, float)))})
    voxels = np.moveaxis(np.asarray(sample["displacement"]), 0, -1)
    moved = np.asarray(sample["image"][0])
    return Volume(moved, scan.affine), (voxels @ np.asarray(scan.affine)[:3, :3].T).astype(np.float32)


def ways(arguments: argparse.Namespace):
    """Each way's name, its settings, and what a network predicts to begin with."""
    from dataclasses import replace

    from ankleseg.deformable import Settings, predictor
    from ankleseg.inference import load_model

    yield "nothing", Settings(method="affine", alignment="none"), None
    for size in arguments.voxels:
        yield f"descent {size:g} mm", Settings(alignment="none", voxel_mm=size), None
    if arguments.checkpoint:
        model = load_model(arguments.checkpoint)
        predict = predictor(model.network, model.preparation)
        for size in arguments.voxels:
            refined = Settings(method="voxelmorph", alignment="none", voxel_mm=size)
            none = replace(refined, descent=replace(refined.descent, iterations=(0, 0, 0)))
            yield f"network alone {size:g} mm", none, predict
            yield f"network, refined {size:g} mm", refined, predict


def score(scan, copy, truth: np.ndarray, settings, predict) -> dict[str, float]:
    """Errors in mm over the foreground, share of folded voxels in per cent, seconds."""
    from ankleseg.deformable import as_scan, register
    from ankleseg.measures.deformation import target_errors

    found = register(scan, copy, settings, predict=predict)
    field = found.mapping.on_grid(scan.data.shape, scan.affine)
    inside = as_scan(scan).foreground()
    errors = target_errors(np.moveaxis(field, -1, 0), np.moveaxis(truth, -1, 0), (1, 1, 1), inside)
    return {
        "mean mm": float(errors.mean()),
        "95 % mm": float(np.percentile(errors, 95)),
        "folded %": 100 * found.folded,
        "seconds": found.seconds,
    }


def words(row: dict[str, float]) -> str:
    """A row as text."""
    return "  ".join(f"{name} {value:.3f}" for name, value in row.items())


if __name__ == "__main__":
    main()
