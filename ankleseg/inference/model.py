"""The model file: a network and all that its use needs, from tensors and plain types."""

from __future__ import annotations

import pickle
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ankleseg.config import build, resolve_target
from ankleseg.errors import AnklesegError, CheckpointError
from ankleseg.inference.allowed import require_allowed
from ankleseg.inference.format_1 import in_format_2
from ankleseg.inference.postprocessing import Postprocessing
from ankleseg.labels import Labels
from ankleseg.measures import ShapeRanges
from ankleseg.networks import for_inference
from ankleseg.transforms import Preparation
from ankleseg.volumes import not_downloaded

DESCRIPTION = "ankleseg"  # key of the description in a checkpoint
FORMAT = 2
PUBLIC = ("inference", "networks", "transforms")  # rooms whose classes a description names


@dataclass(frozen=True)
class Blending:
    """How a bundle of somebody else blends the outputs of tiles, before they are activated, in the words of MONAI.

    Attributes:
        overlap: fraction of a side shared by neighbouring tiles.
        mode: ``gaussian`` or ``constant`` weights.
        padding_mode: of tiles that reach beyond the volume.
        background: whether it has an output of its own, which fades as those of structures do towards what the
            preparation cropped away.
    """

    overlap: float
    mode: str
    padding_mode: str
    background: bool = True


@dataclass(frozen=True)
class Model:
    """A trained network and all that its use needs.

    Attributes:
        network: ready for inference.
        node: its configuration.
        preparation: of the scans it was trained on.
        labels: what its outputs are.
        channels: names of the channels that it expects, in its order.
        window: sides of its training patches.
        path: the file.
        postprocessing: what is done to its masks, None for nothing.
        slice_axis: the prepared axis across the slices of the scans it was trained on, None where it is not known.
        planes: of the slices that it learnt, whichever those of a scan are; none: it learnt those of its scans.
        slice_spacing: range of their distances in mm, where they were made thick, or where blocks hold them as scanned.
        blending: of a bundle of somebody else. None: probabilities are blended, as a command asks for it.
        shapes: sizes of the structures in the masks that it was trained on, None where they are not known.
    """

    network: nn.Module
    node: Mapping[str, Any]
    preparation: Preparation
    labels: Labels
    channels: tuple[str, ...]
    window: tuple[int, ...]
    path: Path
    postprocessing: Postprocessing | None = None
    slice_axis: int | None = 2
    slice_spacing: tuple[float, float] | None = None
    planes: tuple[str, ...] = ()
    blending: Blending | None = None
    shapes: ShapeRanges | None = None

    @property
    def registers(self) -> bool:
        """Whether the network gives the flow of a pair of scans (`ankleseg.networks.VoxelMorph`)."""
        return hasattr(self.network, "displacement")


def refuse_registration(model: Model, what: str) -> None:
    """Refuse a network that registers pairs where one is needed that takes a single scan.

    Args:
        model: the network.
        what: it is asked to do.

    Raises:
        CheckpointError: it registers pairs.
    """
    if model.registers:
        raise CheckpointError(
            f"registers pairs of scans and cannot {what}",
            file=model.path,
            mend=f"use python -m ankleseg.register checkpoint={model.path} fixed=SCAN moving=SCAN out=FOLDER",
        )


def description(
    *,
    network: Mapping[str, Any],
    preparation: Preparation,
    labels: Labels,
    channels: Sequence[str],
    window: Sequence[int],
    postprocessing: Mapping[str, Any] | None = None,
    slice_axis: int | None = 2,
    slice_spacing: Sequence[float] | None = None,
    planes: Sequence[str] = (),
) -> dict[str, Any]:
    """Describe in plain types what `load_model` rebuilds; it travels in the checkpoint. Arguments are as in `Model`."""
    return {
        "format": FORMAT,
        "network": with_public_names(dict(network)),
        "preparation": with_public_names(preparation.nodes),
        "labels": labels.to_plain(),
        "channels": list(channels),
        "window": list(window),
        "postprocessing": None if postprocessing is None else with_public_names(dict(postprocessing)),
        "slice_axis": slice_axis,
        "slice_spacing": None if slice_spacing is None else list(slice_spacing),
        **({"planes": list(planes)} if planes else {}),
    }


def with_public_names(node: Any) -> Any:
    """A node whose classes of ankleseg are named as users import them, not by the file that they are written in."""
    if isinstance(node, Mapping):
        named = {key: with_public_names(value) for key, value in node.items()}
        return named | {"_target_": _public_name(str(node["_target_"]))} if "_target_" in node else named
    return [with_public_names(value) for value in node] if isinstance(node, (list, tuple)) else node


def _public_name(target: str) -> str:
    package, _, rest = target.partition(".")
    room, name = rest.split(".")[0], target.rsplit(".", 1)[-1]
    return f"{package}.{room}.{name}" if package == "ankleseg" and room in PUBLIC else target


def read_checkpoint(path: str | Path) -> dict[str, Any]:
    """Read a checkpoint without running any code in it.

    Raises:
        CheckpointError: it is not a checkpoint, is damaged, or holds more than tensors and plain types.
    """
    content = read_tensors(path)
    if not isinstance(content, dict) or DESCRIPTION not in content or "state_dict" not in content:
        raise CheckpointError("was not made by ankleseg", file=path, mend="give a checkpoint of ankleseg.train")
    return content


def read_tensors(path: str | Path) -> Any:
    """Read what PyTorch saved without running any code in it.

    Raises:
        CheckpointError: it is damaged, or holds more than tensors and plain types.
    """
    path = Path(path)
    if error := not_downloaded(path):
        raise CheckpointError(error.problem, file=path, mend=error.mend)
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if not zipfile.is_zipfile(path):
            raise CheckpointError("is not a checkpoint, or is damaged", file=path, mend="train it again") from error
        raise CheckpointError(
            "holds more than tensors and plain types and was not opened",
            file=path,
            mend="do not trust it; train again or ask for a checkpoint made by ankleseg",
        ) from error
    except (OSError, RuntimeError, EOFError, ValueError, KeyError) as error:
        raise CheckpointError("is not a checkpoint, or is damaged", file=path, mend="train it again") from error


def network_in(path: str | Path) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    """Read what a checkpoint says of its network, in the words of this version, and the weights of that.

    Raises:
        CheckpointError: see `read_checkpoint`.
    """
    content = read_checkpoint(path)
    weights = {
        name.removeprefix("network."): value
        for name, value in content["state_dict"].items()
        if name.startswith("network.")
    }
    return in_this_format(content[DESCRIPTION], Path(path)), weights


def in_this_format(described: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """A description of an earlier version in the words of this one.

    Raises:
        CheckpointError: it is of a version that is not known.
    """
    if described.get("format") == 1:
        described = in_format_2(described)
    if described.get("format") != FORMAT:
        raise CheckpointError(
            f"has format {described.get('format')}, this version reads 1 and {FORMAT}",
            file=path,
            mend="use the version of ankleseg that wrote it",
        )
    return dict(described)


def model_of(
    described: Mapping[str, Any], weights: Mapping[str, torch.Tensor], path: Path, *, device: str | torch.device = "cpu"
) -> Model:
    """Rebuild a model.

    Args:
        described: see `description`; that of an earlier version too.
        weights: of the network.
        path: the file, for messages.
        device: where the network goes.

    Raises:
        CheckpointError: it cannot be trusted or rebuilt.
    """
    described = in_this_format(described, path)
    try:
        require_allowed([described[name] for name in ("network", "preparation", "postprocessing")])
        network = build_network(described["network"])
        preparation = Preparation(described["preparation"])
        labels = Labels(**described["labels"])
        postprocessing = build(described["postprocessing"])
    except AnklesegError as error:
        raise CheckpointError(error.problem, file=path, mend=error.mend) from error
    if postprocessing is not None and not isinstance(postprocessing, Postprocessing):
        raise CheckpointError("its postprocessing is none", file=path, mend="train it again")
    try:
        shapes = None if described.get("shapes") is None else ShapeRanges(**described["shapes"])
    except (TypeError, ValueError, AttributeError) as error:
        raise CheckpointError("its shapes cannot be understood", file=path, mend="train it again") from error
    try:
        network.load_state_dict(weights)
    except RuntimeError as error:
        raise CheckpointError("its weights do not fit its network", file=path, mend="train it again") from error
    mm = described["slice_spacing"]
    return Model(
        network=for_inference(network).to(device),
        node=described["network"],
        preparation=preparation,
        labels=labels,
        channels=tuple(described["channels"]),
        window=tuple(described["window"]),
        path=path,
        postprocessing=postprocessing,
        slice_axis=None if described["slice_axis"] is None else int(described["slice_axis"]),
        slice_spacing=None if mm is None else (float(mm[0]), float(mm[1])),
        planes=tuple(described.get("planes", ())),
        shapes=shapes,
    )


def build_network(node: Mapping[str, Any]) -> nn.Module:
    """Build a network from its node; only classes of networks are let through.

    Raises:
        ConfigError: a ``_target_`` is refused or its arguments do not fit.
        CheckpointError: it names something that is no network.
    """
    require_network(node)
    network = build(node)
    assert isinstance(network, nn.Module)
    return network


def require_network(node: Mapping[str, Any]) -> None:
    """Refuse a node of anything else than a network.

    Raises:
        ConfigError: its ``_target_`` is refused.
        CheckpointError: it names something that is no network.
    """
    target = resolve_target(str(node.get("_target_")))
    if not (isinstance(target, type) and issubclass(target, nn.Module)):
        raise CheckpointError(f"{node.get('_target_')!r} is no network", mend="name a subclass of torch.nn.Module")
