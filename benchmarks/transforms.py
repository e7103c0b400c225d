"""Time of each random transform of ours and of MONAI's counterpart, on plain tensors and one thread.

    python benchmarks/transforms.py [ROUNDS]

Each pair is timed in turn, in one process, without metadata: time of the processor, so that other work on the machine
matters less. The fastest of the rounds is printed in ms a call, for patches of
96×96 and 128×128 with a label where it is moved, and the whole list of the ankle (cut and altered) beside the same list
of MONAI's transforms.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from monai import transforms as monai
from monai.data import set_track_meta

import ankleseg.transforms as ours
from ankleseg.config import build, compose

SIDES = (96, 128)
CALLS = 40
AFFINE = np.array([[0, 0, 3.0, -20], [-0.6, 0, 0, 10], [0, 0.6, 0, 5], [0, 0, 0, 1]])  # posterior, superior, right
BOTH = ["image", "label"]


def main(rounds: int = 8) -> None:
    """Print the table."""
    torch.set_num_threads(1)
    set_track_meta(False)
    print(f"{'':28}" + "".join(f"{f'{side}×{side}: ours, MONAI':>26}" for side in SIDES))
    measured: dict[str, list[tuple[float, float]]] = {}
    for side in SIDES:
        for name, pair in pairs(side).items():
            measured.setdefault(name, []).append(timed(*pair, rounds))
    for name, times in measured.items():
        cells = (f"{one:.3f} ms, {other:.3f} ms" for one, other in times)
        print(f"{name:28}" + "".join(f"{cell:>26}" for cell in cells))


def pairs(side: int) -> dict[str, tuple[Callable[[], Any], Callable[[], Any]]]:
    """Calls of ours and of MONAI's, by name."""
    affine = ours.RandWorldAffined(BOTH, rotate=30, zoom=(0.85, 1.15), shift=5, size=(side, side))
    margin = [(n - side) // 2 for n in affine.reach((side, side), (0.6, 0.6))]
    scan, patch, large = volume(side), sample((side, side)), sample((side + 2 * margin[0], side + 2 * margin[1]))
    turned = {"rotate_range": 0.52, "scale_range": 0.15, "translate_range": 8}
    both = {
        "crop": (
            (ours.RandForegroundCropd(BOTH, (side, side), 0.25), scan),
            (monai_crop(side), scan),
        ),
        "rotation, zoom and shift": (
            (affine, large),
            (monai.RandAffined(BOTH, prob=1, mode=("bilinear", "nearest"), padding_mode="border", **turned), patch),
        ),
        "flip": (
            (ours.RandAnatomicalFlipd(BOTH, prob=1.0), patch),
            (monai.RandFlipd(BOTH, prob=1.0, spatial_axis=0), patch),
        ),
        "blur": (
            (ours.RandWorldBlurd("image", sigma=0.6), patch),
            (monai.RandGaussianSmoothd("image", prob=1, sigma_x=(0.1, 1), sigma_y=(0.1, 1)), patch),
        ),
        "gamma": (
            (ours.RandGammaInRanged("image"), patch),
            (monai.RandAdjustContrastd("image", prob=1, gamma=(0.7, 1.4)), patch),
        ),
        "coil field": (
            (ours.RandCoilFieldd("image"), patch),
            (monai.RandBiasFieldd("image", prob=1, degree=2, coeff_range=(-0.2, 0.2)), patch),
        ),
    }
    calls = {name: (bound(*one), bound(*other)) for name, (one, other) in both.items()}
    listed = [build(node) for node in compose("train", ["augment=ankle"]).augment.transforms]
    listed[0].size = (side, side)
    cut = ours.RandForegroundCropd(BOTH, (side, side), 0.25, margin=margin)
    first = both["crop"][1][0], monai.SqueezeDimd(BOTH, dim=-1), both["rotation, zoom and shift"][1][0]
    altered = (both[name][1][0] for name in ("blur", "gamma", "coil field"))
    theirs = monai.Compose([*first, *altered, *(step for step in listed if type(step).__module__.startswith("monai."))])
    calls["cut and altered, ankle"] = bound(monai.Compose([cut, *listed]), scan), bound(theirs, scan)
    return calls


def monai_crop(side: int) -> Any:
    """A plane around a voxel of the foreground."""
    keys = {"fg_indices_key": "fg", "bg_indices_key": "bg"}
    return monai.RandCropByPosNegLabeld(BOTH, "foreground", (side, side, 1), 1, 0, **keys)


def bound(transform: Callable[[Any], Any], data: dict[str, Any]) -> Callable[[], Any]:
    """A call that leaves its input."""
    return lambda: transform(dict(data))


def volume(side: int) -> dict[str, Any]:
    """A cached scan whose slices are stored one after the other."""
    generator = torch.Generator().manual_seed(0)
    shape = (40, 256, 320)
    image = torch.rand((1, *shape), generator=generator).permute(0, 3, 2, 1)
    inside = torch.zeros((1, *shape), dtype=torch.bool)
    inside[:, 5:-5, 20:-20, 20:-20] = True
    foreground = inside.permute(0, 3, 2, 1)
    given = {"image": image, "label": (image * 4).to(torch.uint8), "foreground": foreground} | beside()
    windows = ours.ForegroundWindowsd(size=(side, side), min_foreground=0.25)(given)
    return windows | {"fg": np.flatnonzero(foreground.numpy()), "bg": np.flatnonzero(~foreground.numpy())}


def sample(shape: tuple[int, int]) -> dict[str, Any]:
    """A patch."""
    image = torch.rand((1, *shape), generator=torch.Generator().manual_seed(0))
    return {"image": image, "label": (image * 4).to(torch.uint8)} | beside()


def beside() -> dict[str, Any]:
    """What travels beside plain tensors."""
    return {"affine": AFFINE, "image_range": torch.tensor([[0.0, 1.0]])}


def timed(one: Callable[[], Any], other: Callable[[], Any], rounds: int) -> tuple[float, float]:
    """Fastest of the rounds of both, ms a call."""
    best = [float("inf")] * 2
    for _ in range(rounds):
        for number, call in enumerate((one, other)):
            call()
            began = time.process_time()
            for _ in range(CALLS):
                call()
            best[number] = min(best[number], (time.process_time() - began) / CALLS)
    return 1e3 * best[0], 1e3 * best[1]


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
