"""From patches to whole volumes, on the grid of the input file.

Names are loaded when they are first used, so that ``python -m ankleseg.predict --help`` need not wait for PyTorch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ankleseg.predict.case import predict_case
    from ankleseg.predict.checkpoint import Model, build_network, find_checkpoint, load_model, read_checkpoint, recipe
    from ankleseg.predict.inputs import cases_of
    from ankleseg.predict.postprocessing import Postprocessing, label_map
    from ankleseg.predict.run import predict_cases
    from ankleseg.predict.volume import WholeVolume, probabilities_of, values_of

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
            return getattr(importlib.import_module(f"ankleseg.predict.{module}"), name)
    raise AttributeError(f"module 'ankleseg.predict' has no attribute {name!r}")
