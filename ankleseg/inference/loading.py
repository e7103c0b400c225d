"""From what a user names as a trained network to a model."""

from __future__ import annotations

from pathlib import Path

import torch

from ankleseg.cohorts.files import is_given
from ankleseg.errors import CheckpointError
from ankleseg.inference.bundle.files import is_bundle
from ankleseg.inference.bundle.loading import load_bundle
from ankleseg.inference.model import Model, model_of, network_in


def load_model(path: str | Path, *, device: str | torch.device = "cpu") -> Model:
    """Load a checkpoint or a MONAI bundle for prediction.

    Args:
        path: a checkpoint, a run folder, a folder of runs or a bundle.
        device: where the network goes.

    Raises:
        CheckpointError: it cannot be trusted, read or rebuilt.
    """
    path = find_checkpoint(path)
    if path.is_dir():
        return load_bundle(path, device=device)
    described, weights = network_in(path)
    return model_of(described, weights, path, device=device)


def find_checkpoint(path: str | Path) -> Path:
    """Find the checkpoint that a user means by a file, a run, or a folder of runs (the latest one); a MONAI bundle is
    its folder.

    Raises:
        CheckpointError: there is none.
    """
    path = Path(path)
    if is_given(path):
        return path
    if not path.exists():
        raise CheckpointError("does not exist", file=path, mend="give a checkpoint, a run folder or a folder of runs")
    if is_bundle(path):
        return path
    for pattern in ("checkpoints/best.ckpt", "checkpoints/last.ckpt", "best.ckpt", "last.ckpt"):
        if is_given(path / pattern):
            return path / pattern
    found = [folder / name for name in ("last.ckpt", "best.ckpt") for folder in path.glob("*/checkpoints")]
    found = [file for file in found if is_given(file)]
    if found:
        latest = max(found, key=lambda file: (file.lstat().st_mtime, file)).parent
        best = latest / "best.ckpt"
        return best if is_given(best) else latest / "last.ckpt"
    raise CheckpointError("holds no checkpoint", file=path, mend="give the folder of a finished run")
