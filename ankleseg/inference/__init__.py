"""From patches to whole volumes, on the grid of the input file.

Names are loaded when they are first used, so that ``python -m ankleseg.predict --help`` need not wait for PyTorch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ankleseg.inference.case import predict_case
    from ankleseg.inference.checkpoint import Model, build_network, find_checkpoint, load_model, read_checkpoint, recipe
    from ankleseg.inference.inputs import cases_of
    from ankleseg.inference.postprocessing import Postprocessing, label_map
    from ankleseg.inference.run import predict_cases
    from ankleseg.inference.volume import WholeVolume, probabilities_of, values_of

_HOMES = {
    "case": ("predict_case",),
    "checkpoint": ("Model", "build_network", "find_checkpoint", "load_model", "read_checkpoint", "recipe"),
    "inputs": ("cases_of",),
    "postprocessing": ("Postprocessing", "label_map"),
    "run": ("predict_cases",),
    "volume": ("WholeVolume", "probabilities_of", "values_of"),
}

__all__ = [
    "Model",
    "Postprocessing",
    "WholeVolume",
    "build_network",
    "cases_of",
    "find_checkpoint",
    "label_map",
    "load_model",
    "predict_case",
    "predict_cases",
    "probabilities_of",
    "read_checkpoint",
    "recipe",
    "values_of",
]


def __getattr__(name: str) -> Any:
    for module, names in _HOMES.items():
        if name in names:
            return getattr(importlib.import_module(f"ankleseg.inference.{module}"), name)
    raise AttributeError(f"module 'ankleseg.inference' has no attribute {name!r}")
