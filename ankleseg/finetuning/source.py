"""Where the weights of a network come from, read without running any code in the file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from ankleseg.errors import CheckpointError
from ankleseg.finetuning.layers import named_as, read_keras, read_onnx
from ankleseg.inference import find_checkpoint
from ankleseg.inference.bundle.files import METADATA, WEIGHTS, description_in, is_bundle, read_config
from ankleseg.inference.bundle.foreign import weights_in
from ankleseg.inference.model import DESCRIPTION, in_this_format, read_tensors

LAYERS = {".h5": read_keras, ".hdf5": read_keras, ".onnx": read_onnx}


@dataclass(frozen=True)
class Source:
    """Weights of a network that was trained before.

    Attributes:
        path: the file or bundle.
        weights: by the names that its network has for them.
        description: what it says of its network (see `ankleseg.inference.description`); None where it says nothing.
        scaling: of the intensities that it was trained on, in words; None where the description says it.
    """

    path: Path
    weights: Mapping[str, Tensor]
    description: Mapping[str, Any] | None = None
    scaling: str | None = None

    @property
    def network(self) -> str | None:
        """The class of its network, where it says so."""
        return None if self.description is None else str(self.description["network"].get("_target_"))


def find_source(checkpoint: str | Path) -> Path:
    """Find what a user names as the source of weights: a file, a bundle, or the best checkpoint of a run.

    Raises:
        CheckpointError: there is none.
    """
    return find_checkpoint(checkpoint)


def file_of(path: Path) -> Path:
    """The file that holds the weights of a source."""
    return path / WEIGHTS if path.is_dir() else path


def describe_source(path: Path) -> Mapping[str, Any] | None:
    """What a source says of its network and of the scans that it learnt from; None where it says nothing.

    Raises:
        CheckpointError: it cannot be trusted or read.
    """
    if path.is_dir() and is_bundle(path):
        return description_in(read_config(path / METADATA))
    content = None if path.suffix.lower() in LAYERS else read_tensors(path)
    if not isinstance(content, Mapping) or DESCRIPTION not in content:
        return None
    return in_this_format(content[DESCRIPTION], path)


def read_source(path: Path, network: nn.Module, layout: Mapping[str, Any]) -> Source:
    """Read weights.

    Args:
        path: a checkpoint, a bundle, the state dictionary of a network as PyTorch saved it, or a Keras or ONNX file.
        network: that gets them; names the layers of Keras and ONNX files.
        layout: of such a file, see ``conf/init/layout``.

    Raises:
        CheckpointError: it cannot be trusted or read.
    """
    if path.is_dir() and is_bundle(path):
        return Source(path, weights_in(path / WEIGHTS), description_in(read_config(path / METADATA)))
    if read_layers := LAYERS.get(path.suffix.lower()):
        layers = read_layers(path, layout)
        return Source(path, named_as(layers, network, float(layout["epsilon"]), path), scaling=layout.get("scaling"))
    content = read_tensors(path)
    if not isinstance(content, Mapping):
        raise CheckpointError("holds no weights", file=path, mend="give a run, a checkpoint or a bundle")
    if DESCRIPTION not in content:
        return Source(path, weights_in(path))
    named = {str(name): value for name, value in content["state_dict"].items() if str(name).startswith("network.")}
    weights = {name.removeprefix("network."): value for name, value in named.items()}
    return Source(path, weights, in_this_format(content[DESCRIPTION], path))
