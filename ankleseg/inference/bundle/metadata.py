"""``configs/metadata.json``: what goes into a network and what comes out, by MONAI's bundle specification."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from ankleseg import __version__
from ankleseg.inference.bundle.files import MODEL, OURS
from ankleseg.labels import Labels
from ankleseg.networks import required_divisor

SCHEMA = "https://github.com/Project-MONAI/MONAI-extra-test-data/releases/download/0.8.1/meta_schema_20240725.json"
VERSION = "0.1.0"
USE = "research only: not a medical device, not to be used for diagnosis or treatment"
UNKNOWN = "not stated"
DOI = "https://doi.org/10.48550/arXiv.2211.02701"  # MONAI


def metadata(
    described: Mapping[str, Any], network: nn.Module, labels: Labels, *, name: str, source: str, authors: str | None
) -> dict[str, Any]:
    """The content of ``metadata.json``, in plain types.

    Args:
        described: see `ankleseg.inference.description`; it is kept under ``ankleseg``.
        network: that it describes.
        labels: that it describes.
        name: of the bundle.
        source: what it was trained on.
        authors: of the weights.
    """
    asked = ", ".join([*labels.images, *labels.structures])
    task = f"segmentation of {asked}" if not labels.images else f"super-resolution or restoration: {asked}"
    return {
        "schema": SCHEMA,
        "version": VERSION,
        "changelog": {VERSION: "exported from a checkpoint of ankleseg"},
        "monai_version": importlib.metadata.version("monai"),
        "pytorch_version": importlib.metadata.version("torch").partition("+")[0],
        "numpy_version": importlib.metadata.version("numpy"),
        "required_packages_version": {
            "ankleseg": __version__,
            "nibabel": importlib.metadata.version("nibabel"),
            "pytorch-ignite": _version("pytorch-ignite", "0.4.11"),
            "fire": _version("fire", "0.7.0"),
        },
        "name": name,
        "task": task,
        "description": f"{_class_of(described)} for {task} in MRI, exported by ankleseg {__version__}",
        "authors": authors or UNKNOWN,
        "copyright": f"the authors: {authors}" if authors else UNKNOWN,
        "data_source": source,
        "data_type": "nibabel",
        "intended_use": USE,
        "references": [f"MONAI: {DOI}"],
        "network_data_format": {
            "inputs": {"image": _tensor(described, network, "magnitude", described["channels"])},
            "outputs": {"pred": _tensor(described, network, _format(labels), output_channels(labels))},
        },
        OURS: {
            "version": __version__,
            "parameters": sum(weights.numel() for weights in network.parameters()),
            MODEL: dict(described),
        },
    }


def _tensor(described: Mapping[str, Any], network: nn.Module, kind: str, channels: Sequence[str]) -> dict[str, Any]:
    return {
        "type": "image",
        "modality": "MR",
        "spatial_shape": _shape(network, described["window"]),
        "dtype": "float32",
        "is_patch_data": True,
        "format": kind,
        "num_channels": len(channels),
        "value_range": [],
        "channel_def": _numbered(channels),
    }


def output_channels(labels: Labels) -> list[str]:
    """What each output channel of a network is: images, and structures after a background where they are exclusive."""
    background = ["background"] if labels.outputs > labels.values else []
    return [*labels.images, *background, *labels.structures]


def _format(labels: Labels) -> str:
    if not len(labels):
        return "magnitude"
    return "classes" if labels.regions or len(labels) == 1 else "labels"


def _shape(network: nn.Module, window: Sequence[int]) -> list[str]:
    """Multiples of what the network divides by, a letter for each axis."""
    return [f"{required_divisor(network)}*{letter}" for letter in "nmp"[: len(window)]]


def _numbered(names: Sequence[str]) -> dict[str, str]:
    return {str(number): str(name) for number, name in enumerate(names)}


def _class_of(described: Mapping[str, Any]) -> str:
    return str(described["network"]["_target_"]).rsplit(".", 1)[-1]


def _version(package: str, otherwise: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return otherwise
