"""Speed of the whole training loop against the pure forward and backward pass on tensors that are already there.

    python benchmarks/training.py [FOLDER]

FOLDER keeps the full-size phantom (two subjects) between calls. The two are measured in turn, in one process; the
ratios of each pair are printed, and their median.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning import Callback, Trainer

from ankleseg.cohorts import load_cohort
from ankleseg.config import build, compose, to_plain
from ankleseg.inference import build_network
from ankleseg.labels import Labels
from ankleseg.phantoms import write_ankle_cohort
from ankleseg.runs import quiet_libraries, with_sizes
from ankleseg.transforms import Preparation

STEPS = 20
ROUNDS = 5


class Clock(Callback):
    """Seconds a step, from the end of the first batch to the end of the last."""

    def on_train_batch_end(self, trainer: Trainer, *_: Any) -> None:
        now = time.perf_counter()
        if trainer.global_step == 1:
            self.began = now
        self.seconds_a_step = (now - self.began) / max(trainer.global_step - 1, 1)


def main() -> None:
    """Print the speed of both, and their ratio."""
    quiet_libraries()
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else tempfile.mkdtemp())
    root = write_ankle_cohort(folder / "full", size="full", subjects=2, seed=0)
    config = compose("train", ["+experiment=ankle_static_unet", f"cohort.root={root}", f"run_dir={folder}"])
    cohort = load_cohort(root, structures=to_plain(config.structures))
    split = build({"_target_": "ankleseg.cohorts.Explicit", "train": list(cohort.subjects)})(cohort)
    labels = Labels(structures=cohort.structures)
    preparation = Preparation(to_plain(config.prepare.transforms))
    data = build(config.patches, cohort=cohort, split=split, preparation=preparation, labels=labels, seed=0)
    data.setup("fit")
    config = with_sizes(config, data.channels, labels)
    batch = next(iter(data.train_dataloader()))
    ratios = []
    for number in range(ROUNDS):
        bare = bare_seconds(config, batch)
        task = build(config.task, network=build_network(to_plain(config.network)), labels=labels, seed=0)
        clock = Clock()
        trainer = Trainer(
            max_steps=STEPS,
            accelerator="cpu",
            logger=False,
            callbacks=[clock],
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            limit_val_batches=0,
        )
        trainer.fit(task, data.train_dataloader())
        ratios.append(bare / clock.seconds_a_step)
        print(
            f"round {number + 1}: forward and backward {1 / bare:.2f} steps/s, "
            f"whole loop {1 / clock.seconds_a_step:.2f} steps/s, ratio {ratios[-1]:.3f}",
            flush=True,
        )
    print(f"median ratio {statistics.median(ratios):.3f} ({min(ratios):.3f} to {max(ratios):.3f})")


def bare_seconds(config: Any, batch: dict[str, Any]) -> float:
    """Seconds of a forward and backward pass on one batch, without an optimiser."""
    network, loss = build_network(to_plain(config.network)), build(config.losses)
    for step in range(STEPS + 1):
        if step == 1:
            began = time.perf_counter()
        network.zero_grad()
        loss(network(batch["image"]), batch["label"]).backward()
    return (time.perf_counter() - began) / STEPS


if __name__ == "__main__":
    torch.manual_seed(0)
    main()
