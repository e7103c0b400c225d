"""From what a user names as a trained network to a model."""

from __future__ import annotations

import zipfile
from pathlib import Path

import torch

from ankleseg.cohorts.files import is_given
from ankleseg.errors import CheckpointError
from ankleseg.inference.bundle.files import is_bundle
from ankleseg.inference.bundle.loading import load_bundle
from ankleseg.inference.model import Model, model_of, network_in
from ankleseg.inference.shipped import shipped_folder


def load_model(path: str | Path, *, device: str | torch.device = "cpu") -> Model:
    """Load a checkpoint or a MONAI bundle for prediction.

    Args:
        path: a checkpoint, a run folder, a folder of runs, a bundle, or the name of a network that comes with the
            package (`shipped_models`).
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
    its folder, and so is a network that comes with the package, by its name.

    Where something of that name is in the working directory, it is meant if it is a checkpoint, a run or a bundle.

    Raises:
        CheckpointError: there is none.
    """
    shipped = shipped_folder(path)
    if shipped is None:
        return _found_at(Path(path))
    try:
        found = _found_at(Path(path))
    except CheckpointError:
        return shipped
    return shipped if found == Path(path) and found.is_file() and not zipfile.is_zipfile(found) else found


def _found_at(path: Path) -> Path:
    """The checkpoint or bundle that a path means."""
    if is_given(path):
        return path
    if not path.exists():
        mend = "give a checkpoint, a run folder or a folder of runs"
        if len(path.parts) == 1:
            mend += ", or a name that python -m ankleseg.predict models=true lists"
        raise CheckpointError("does not exist", file=path, mend=mend)
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
