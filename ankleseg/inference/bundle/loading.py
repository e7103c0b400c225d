"""A bundle for prediction."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from ankleseg.errors import CheckpointError
from ankleseg.inference.bundle.files import METADATA, WEIGHTS, description_in, read_config
from ankleseg.inference.bundle.foreign import load_foreign
from ankleseg.inference.model import Model, model_of, read_tensors


def load_bundle(folder: Path, *, device: str | torch.device = "cpu") -> Model:
    """Load a MONAI bundle, of ours or somebody else's; nothing in it is run.

    Raises:
        CheckpointError: it cannot be trusted, read or rebuilt.
    """
    described = description_in(read_config(folder / METADATA))
    if described is None:
        return load_foreign(folder, device=device)
    weights: Any = read_tensors(folder / WEIGHTS)
    if not isinstance(weights, dict):
        raise CheckpointError("is no state dictionary of a network", file=folder / WEIGHTS, mend="export it again")
    return model_of(described, weights, folder, device=device)
