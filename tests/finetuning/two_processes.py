"""Two processes that train together; the first writes the network. Run by a test."""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from pytorch_lightning import Trainer
from pytorch_lightning.callbacks import Callback
from small_training import Training, fit, network_of

THAW = [
    {"epoch": 0, "train": ["bottleneck"]},
    {"epoch": 1, "train": ["expansion"], "rate": 3e-3},
    {"epoch": 2, "train": ["bottleneck", "expansion"]},
]


class Write(Callback):
    def on_train_end(self, trainer: Trainer, pl_module: Training) -> None:  # type: ignore[override]
        if trainer.is_global_zero:
            torch.save(pl_module.network.state_dict(), Path(sys.argv[1]) / "network.pt")


if __name__ == "__main__":
    # two batches of two in one step alone, one a process here
    module = Training(network_of("FCN"), "SGD")
    fit(module, THAW, Write(), devices=2, strategy="ddp", batches=4)
