"""Time and memory of a tumour's prediction, from files to masks on their grid, beside MONAI's plain sliding window.

    python benchmarks/tumour_prediction.py RUN CASE [SIDE [ROUNDS]]

RUN is a run of ``+experiment=tumour_unet``, CASE the folder of one case, SIDE that of the tiles (128). Both ways read
and prepare it, and bring the answer back, alike; MONAI's has the network as it was trained, and
``sliding_window_inference`` over the prepared box with half a tile of overlap, blending probabilities too. Each runs in
a process of its own; ratios are of one round.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from typing import Any

import numpy as np

WAYS = ("ours", "monai")


def main() -> None:
    """Print seconds, peak memory, the ratio of processor time, and how the masks differ."""
    run, case, side = sys.argv[1], sys.argv[2], sys.argv[3] if len(sys.argv) > 3 else "128"
    rounds = int(sys.argv[4]) if len(sys.argv) > 4 else 1
    with tempfile.TemporaryDirectory() as folder:
        for number in range(rounds):
            found = {way: measured(way, run, case, side, folder) for way in WAYS}
            for way, row in found.items():
                print(f"round {number + 1}: {way:6s} " + "  ".join(f"{k} {v:.2f}" for k, v in row.items()), flush=True)
            ratio = found["monai"]["processor_seconds"] / found["ours"]["processor_seconds"]
            ours, theirs = (np.load(f"{folder}/{way}.npy") for way in WAYS)
            other = (ours != theirs).mean()
            print(f"round {number + 1}: {ratio:.2f} times the processor time by MONAI, {other:.4%} of voxels differ")


def measured(way: str, run: str, case: str, side: str, folder: str) -> dict[str, float]:
    """Run one way in a process of its own."""
    command = [sys.executable, __file__, "--way", way, run, case, side, folder]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    return json.loads(result.stdout.splitlines()[-1])


def predict(way: str, run: str, case: str, side: str, folder: str) -> dict[str, float]:
    """Predict the case in one way and keep its label map."""
    from ankleseg.inference import VolumeInferer, cases_of, load_model, predict_case

    model = load_model(run)
    (scan,) = cases_of(case, channels=model.channels)
    window = (int(side),) * 3
    inferer: Any = VolumeInferer(window)
    if way == "monai":
        model, inferer = replace(model, network=as_trained(run)), Plain(window)
    began, worked = time.perf_counter(), time.process_time()
    found = predict_case(scan, [model], inferer)
    seconds, worked = time.perf_counter() - began, time.process_time() - worked
    np.save(f"{folder}/{way}.npy", model.labels.label_map(found.masks))
    return {
        "seconds": seconds,
        "processor_seconds": worked,
        "peak_gb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6,
    }


def as_trained(run: str) -> Any:
    """The network of a run without what makes it faster."""
    from ankleseg.inference import build_network, find_checkpoint
    from ankleseg.inference.model import network_in

    described, weights = network_in(find_checkpoint(run))
    network = build_network(described["network"]).eval()
    network.load_state_dict(weights)
    return network


class Plain:
    """MONAI's function, as its documentation calls it, in the place of an inferer."""

    tiling = "tiles"

    def __init__(self, window: tuple[int, ...]) -> None:
        self.window = window

    def __call__(self, inputs: Any, network: Any, *, activate: Any, **others: Any) -> Any:
        import torch
        from monai.inferers import sliding_window_inference

        with torch.inference_mode():
            return sliding_window_inference(
                inputs, self.window, 1, lambda tiles: activate(network(tiles)), overlap=0.5, mode="gaussian"
            )


if __name__ == "__main__":
    if sys.argv[1:2] == ["--way"]:
        print(json.dumps(predict(*sys.argv[2:])))
    else:
        main()
