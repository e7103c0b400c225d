"""From patches to whole volumes, on the grid of the input file.

Names are loaded when they are first used, so that ``python -m ankleseg.predict --help`` need not wait for PyTorch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ankleseg.inference.bundle.datalist import datalist
    from ankleseg.inference.bundle.export import export_bundle
    from ankleseg.inference.case import predict_case
    from ankleseg.inference.centrelines import given_centreline, read_centreline, write_centreline
    from ankleseg.inference.classical import segment_cases
    from ankleseg.inference.confidence import ConfidenceRule, StructureConfidence
    from ankleseg.inference.inputs import cases_of
    from ankleseg.inference.loading import find_checkpoint, load_model
    from ankleseg.inference.model import Model, build_network, description, model_of, read_checkpoint
    from ankleseg.inference.planes import SeveralPlanesInferer
    from ankleseg.inference.postprocessing import Postprocessing
    from ankleseg.inference.run import finding_centrelines, predict_cases
    from ankleseg.inference.shipped import ShippedModel, default_model, shipped_models
    from ankleseg.inference.volume import VolumeInferer

_HOMES = {
    "bundle.datalist": ("datalist",),
    "bundle.export": ("export_bundle",),
    "case": ("predict_case",),
    "centrelines": ("given_centreline", "read_centreline", "write_centreline"),
    "classical": ("segment_cases",),
    "confidence": ("ConfidenceRule", "StructureConfidence"),
    "inputs": ("cases_of",),
    "loading": ("find_checkpoint", "load_model"),
    "model": ("Model", "build_network", "description", "model_of", "read_checkpoint"),
    "planes": ("SeveralPlanesInferer",),
    "postprocessing": ("Postprocessing",),
    "run": ("finding_centrelines", "predict_cases"),
    "shipped": ("ShippedModel", "default_model", "shipped_models"),
    "volume": ("VolumeInferer",),
}

__all__ = [
    "ConfidenceRule",
    "Model",
    "Postprocessing",
    "SeveralPlanesInferer",
    "ShippedModel",
    "StructureConfidence",
    "VolumeInferer",
    "build_network",
    "cases_of",
    "datalist",
    "default_model",
    "description",
    "export_bundle",
    "find_checkpoint",
    "finding_centrelines",
    "given_centreline",
    "load_model",
    "model_of",
    "predict_case",
    "predict_cases",
    "read_centreline",
    "read_checkpoint",
    "segment_cases",
    "shipped_models",
    "write_centreline",
]


def __getattr__(name: str) -> Any:
    for module, names in _HOMES.items():
        if name in names:
            return getattr(importlib.import_module(f"ankleseg.inference.{module}"), name)
    raise AttributeError(f"module 'ankleseg.inference' has no attribute {name!r}")
