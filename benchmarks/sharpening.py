"""Speed and memory of sharpening a whole volume, against the plain loop over patches.

    python benchmarks/sharpening.py [SIDE] [PATCH] [STEP] [ROUNDS]

A volume of SIDE³ voxels (256) is predicted by the published SegSRGAN generator in patches of PATCH³ (128) every STEP
(64) voxels, averaged uniformly. ``loop`` is what the published code does: its layers as they are written, one patch
after the other, sums divided by how often a voxel was covered. ``tiles`` is `ankleseg.inference.VolumeInferer`. Each
runs in a process of its own, in turn; ratios are of one round. The weights are random: time does not depend on them.
"""

from __future__ import annotations

import itertools
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional

WAYS = ("tiles", "loop")


def main(side: int = 256, patch: int = 128, step: int = 64, rounds: int = 1) -> None:
    """Print seconds, peak memory, ratios, and how the results differ."""
    ratios = []
    with tempfile.TemporaryDirectory() as folder:
        for number in range(1, rounds + 1):
            found = {}
            for way in WAYS:
                command = [sys.executable, __file__, "--way", way, folder, *map(str, (side, patch, step))]
                done = subprocess.run(command, capture_output=True, text=True, check=True)
                found[way] = json.loads(done.stdout.splitlines()[-1])
                print(
                    f"round {number}: {way:5s} " + "  ".join(f"{k} {v:.2f}" for k, v in found[way].items()), flush=True
                )
            ratios.append(found["loop"]["seconds"] / found["tiles"]["seconds"])
            ours, theirs = (np.load(Path(folder) / f"{way}.npy") for way in WAYS)
            differ = float(np.abs(ours - theirs).max() / np.abs(theirs).max())
            print(f"round {number}: {ratios[-1]:.2f} times faster, results differ by {differ:.1e} of the largest value")
    print(f"median {statistics.median(ratios):.2f} times faster")


def run(way: str, folder: Path, side: int, patch: int, step: int) -> dict[str, float]:
    """Predict in one way and keep the result."""
    from ankleseg.networks import SegSRGANGenerator

    torch.manual_seed(0)
    network = SegSRGANGenerator().eval()
    image = torch.rand(1, side, side, side)
    torch.set_grad_enabled(False)
    began = time.perf_counter()
    result = by_tiles(network, image, patch, step) if way == "tiles" else by_loop(network, image, patch, step)
    seconds = time.perf_counter() - began
    np.save(folder / f"{way}.npy", result.numpy())
    return {"seconds": seconds, "peak_gb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6}


def by_tiles(network: torch.nn.Module, image: torch.Tensor, patch: int, step: int) -> torch.Tensor:
    """Predict as ``ankleseg.predict`` does."""
    from ankleseg.inference import VolumeInferer
    from ankleseg.labels import Labels
    from ankleseg.networks import for_inference

    inferer = VolumeInferer((patch,) * 3, 1, 1 - step / patch, "constant")
    labels = Labels(structures=("cortex",), images=("sharp",))
    return inferer(image[None], for_inference(network), activate=labels.activate, announce=print)[0]


def by_loop(network: torch.nn.Module, image: torch.Tensor, patch: int, step: int) -> torch.Tensor:
    """Predict patch by patch with the plain layers."""
    network = with_plain_layers(network)
    total, count = torch.zeros(2, *image.shape[1:]), torch.zeros(image.shape[1:])
    starts = [*range(0, image.shape[1] - patch, step), image.shape[1] - patch]
    for corner in itertools.product(starts, repeat=3):
        room = tuple(slice(c, c + patch) for c in corner)
        raw = network(image[(slice(None), *room)][None])[0]
        total[(slice(None), *room)] += torch.cat([raw[:1], raw[1:].sigmoid()])
        count[room] += 1
    return total / count


def with_plain_layers(network: torch.nn.Module) -> torch.nn.Module:
    """Compute each layer as the publication writes it."""
    from ankleseg.networks.segsrgan_layers import (
        Convolution,
        DoublingConvolution,
        FirstConvolution,
        InstanceNorm,
        LastConvolution,
    )

    def padded(layer: torch.nn.Conv3d, x: torch.Tensor) -> torch.Tensor:
        pad = [layer.kernel_size[0] // 2] * 6
        return functional.conv3d(functional.pad(x, pad, mode="reflect"), layer.weight, stride=layer.stride)

    def doubled(layer: torch.nn.Conv3d, x: torch.Tensor) -> torch.Tensor:
        return padded(layer, functional.interpolate(x, scale_factor=2, mode="nearest"))

    def norm(layer: InstanceNorm, x: torch.Tensor) -> torch.Tensor:
        deviation, mean = torch.std_mean(x, (2, 3, 4), correction=0, keepdim=True)
        return (x - mean) / (deviation + 1e-7) * layer.weight.view(-1, 1, 1, 1) + layer.bias.view(-1, 1, 1, 1)

    plain = dict.fromkeys((Convolution, FirstConvolution, LastConvolution), padded)
    plain |= {InstanceNorm: norm, DoublingConvolution: doubled}
    for module in network.modules():
        if type(module) in plain:
            module.forward = plain[type(module)].__get__(module)
    return network


if __name__ == "__main__":
    if sys.argv[1:2] == ["--way"]:
        print(json.dumps(run(sys.argv[2], Path(sys.argv[3]), *map(int, sys.argv[4:]))))
    else:
        main(*map(int, sys.argv[1:]))
