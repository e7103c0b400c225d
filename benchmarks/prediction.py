"""Speed of whole-volume prediction against MONAI's ``sliding_window_inference`` called plainly.

    python benchmarks/prediction.py [FOLDER] [ROUNDS] [full|demo]

A phantom (full: 576×576×90 voxels, tiles of 128; demo: 192×192×30, tiles of 96) is predicted with the U-Net of 1.18 M
parameters, trained for a short while so that its masks mean something. FOLDER keeps phantom and weights between calls.
Each way runs in a process of its own, in turn; ratios are of one round.
"""

from __future__ import annotations

import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

WAYS = ("tiles", "monai tiles", "slices", "monai slices")


def main() -> None:
    """Print seconds, ratios, peak memory and how the masks differ."""
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else tempfile.mkdtemp())
    rounds = int(sys.argv[2]) if len(sys.argv) > 2 else 1
    size = sys.argv[3] if len(sys.argv) > 3 else "full"
    prepare(folder, size)
    ratios: dict[str, list[float]] = {"tiles": [], "slices": []}
    for number in range(rounds):
        found = {way: measured(way, folder) for way in WAYS}
        for way, row in found.items():
            print(f"round {number + 1}: {way:13s} " + "  ".join(f"{k} {v:.2f}" for k, v in row.items()), flush=True)
        for mode in ratios:
            ratios[mode].append(found[f"monai {mode}"]["seconds"] / found[mode]["seconds"])
            ours, theirs = (np.load(folder / f"{way}.npy") for way in (mode, f"monai {mode}"))
            different = (ours != theirs).mean()
            print(f"round {number + 1}: {mode}: {ratios[mode][-1]:.2f} times faster, {different:.4%} of voxels differ")
    for mode, values in ratios.items():
        print(f"{mode}: median {statistics.median(values):.2f} times faster")


def prepare(folder: Path, size: str) -> None:
    """Write the phantom and train the network, where the folder does not hold them."""
    from ankleseg.config import compose
    from ankleseg.phantoms import write_ankle_cohort
    from ankleseg.train import main as train

    root = write_ankle_cohort(folder / "cohort", size=size, subjects=2, seed=0)
    if not (folder / "run" / "checkpoints" / "last.ckpt").exists():
        overrides = ["+experiment=ankle_static_unet", f"cohort.root={root}", f"run_dir={folder / 'run'}"]
        overrides += ["cohort/split=explicit", "cohort.split.train=[sub-C01]", "optimizer.lr=2e-3", "test=false"]
        overrides += ["trainer.max_epochs=1", "patches.steps_per_epoch=150"]
        train(compose("train", overrides + (["patches.sampler.size=[96,96]"] if size == "demo" else [])))


def measured(way: str, folder: Path) -> dict[str, float]:
    """Run one way in a process of its own."""
    command = [sys.executable, __file__, "--way", way, str(folder)]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    return json.loads(result.stdout.splitlines()[-1])


def run(way: str, folder: Path) -> dict[str, float]:
    """Predict the second subject in one way and keep its mask."""
    import torch

    from ankleseg.cohorts import load_cohort
    from ankleseg.data import prepared
    from ankleseg.inference import VolumeInferer, load_model

    torch.set_grad_enabled(False)
    model = load_model(folder / "run")
    sample = prepared(load_cohort(folder / "cohort").cases[1], model.preparation)
    labels = model.labels
    image = sample["image"].as_tensor()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    began = time.perf_counter()
    if way.startswith("monai"):
        probabilities = by_monai(way, folder, image, model.window, labels)
    else:
        inferer = VolumeInferer(model.window, tiling=way)
        found = inferer(image[None], model.network, foreground=sample["foreground"], activate=labels.activate)
        probabilities = found[0]
    seconds = time.perf_counter() - began
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    np.save(folder / f"{way}.npy", labels.label_map(labels.decode(probabilities.numpy())))
    return {"seconds": seconds, "peak_gb": peak, "peak_before_gb": before}


def by_monai(way, folder, image, window, labels):
    """Predict slice by slice with the network as it was trained and MONAI's function as its documentation calls it."""
    import torch
    from monai.inferers import sliding_window_inference

    from ankleseg.inference import build_network, find_checkpoint, read_checkpoint

    content = read_checkpoint(find_checkpoint(folder / "run"))
    network = build_network(content["ankleseg"]["network"]).eval()
    weights = content["state_dict"].items()
    network.load_state_dict({k.removeprefix("network."): v for k, v in weights if k.startswith("network.")})

    def predictor(x):
        return labels.activate(network(x))

    slices = []
    for k in range(image.shape[-1]):
        one = image[None, ..., k].contiguous()
        if way.endswith("slices"):
            slices.append(predictor(one))
        else:
            slices.append(sliding_window_inference(one, window, 8, predictor, overlap=0.5, mode="gaussian"))
    return torch.cat(slices).movedim(0, -1)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--way"]:
        print(json.dumps(run(sys.argv[2], Path(sys.argv[3]))))
    else:
        main()
