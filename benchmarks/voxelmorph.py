"""Time and memory of VoxelMorph on 160×192×224 voxels, and of moving images beside MONAI's Warp and DVF2DDF.

    python benchmarks/voxelmorph.py [ROUNDS]

One thread, time of the processor, so that other work on the machine matters less; the fastest of the rounds. Plain is
the same network with its maps laid channels first, as PyTorch does by itself. Each runs in a process of its own, whose
largest memory is told.
"""

from __future__ import annotations

import resource
import subprocess
import sys
import time
import warnings
from collections.abc import Callable

import torch
from monai.networks.blocks import DVF2DDF, Warp

from ankleseg.networks import VoxelMorph, for_inference, integrated, resized, voxelmorph, warped

SIZE = (160, 192, 224)
SMALL = (80, 96, 112)


def main(rounds: int = 2) -> None:
    """Print times, memory and ratios."""
    told = {kind: run(kind, rounds) for kind in ("plain", "ready")}
    for kind, (seconds, gigabytes) in told.items():
        print(f"{kind:6} forward {seconds:6.2f} s, {gigabytes:.2f} GiB")
    print(f"ready / plain {told['ready'][0] / told['plain'][0]:.2f}")
    warnings.filterwarnings("ignore", message=".*Warp.*")
    torch.set_num_threads(1)
    velocity, image = resized(torch.randn(1, 3, 5, 6, 7), SMALL), torch.rand(1, 1, *SMALL)
    warp, integrate = Warp(padding_mode="zeros"), DVF2DDF(7)
    pairs = {
        "moved": (lambda: warped(image, velocity), lambda: warp(image, velocity)),
        "integrated": (lambda: integrated(velocity), lambda: integrate(velocity)),
    }
    for name, (ours, theirs) in pairs.items():
        one, other = fastest(ours, rounds), fastest(theirs, rounds)
        print(f"{name:10} ours {one:.3f} s, MONAI {other:.3f} s, ratio {other / one:.2f}")


def run(kind: str, rounds: int) -> tuple[float, float]:
    """Seconds and GiB of a network, in a process of its own."""
    words = [sys.executable, __file__, kind, str(rounds)]
    seconds, gigabytes = subprocess.run(words, capture_output=True, text=True, check=True).stdout.split()
    return float(seconds), float(gigabytes)


def forward(kind: str, rounds: int) -> None:
    """Print seconds and GiB of a forward pass and the integration behind it."""
    torch.set_num_threads(1)
    network = VoxelMorph(integration_steps=7).eval()
    if kind == "plain":
        voxelmorph.channels_last = lambda x: x
    else:
        network = for_inference(network)
    pair = torch.rand(1, 2, *SIZE)
    with torch.inference_mode():
        seconds = fastest(lambda: network.displacement(network(pair), SIZE), rounds)
    print(seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20)


def fastest(call: Callable[[], object], rounds: int) -> float:
    """Seconds of the processor, of the fastest of several calls."""
    times = []
    for _ in range(rounds):
        began = time.process_time()
        call()
        times.append(time.process_time() - began)
    return min(times)


if __name__ == "__main__":
    if sys.argv[1:] and not sys.argv[1].isdecimal():
        forward(sys.argv[1], int(sys.argv[2]))
    else:
        main(*map(int, sys.argv[1:]))
