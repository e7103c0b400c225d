"""A segmentation bundle of somebody else, as far as its configuration names nothing but allowed classes."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from ankleseg import keys
from ankleseg.errors import AnklesegError, CheckpointError
from ankleseg.inference.allowed import require_allowed
from ankleseg.inference.bundle.files import METADATA, WEIGHTS, find_config, read_config
from ankleseg.inference.bundle.parsing import BundleConfig, Expression, class_name
from ankleseg.inference.model import Blending, Model, description, model_of, read_tensors, require_network
from ankleseg.inference.tiles import SHORTEST
from ankleseg.labels import Labels
from ankleseg.transforms import Preparation

READING = {"LoadImaged", "EnsureChannelFirstd", "EnsureTyped", "ToTensord", "AddChanneld", "AsChannelFirstd"}
WAY_BACK = {"Activationsd", "AsDiscreted", "Invertd", "SaveImaged", "EnsureTyped", "ToTensord", "CopyItemsd"}
WEIGHTS_UNDER = ("model", "network", "net", "state_dict", "model_state_dict")
BACKGROUND = {"background", "everything else", "bg"}

log = logging.getLogger(__name__)


def load_foreign(folder: Path, *, device: str | torch.device = "cpu") -> Model:
    """Load a MONAI segmentation bundle: its ``network_def``, ``preprocessing``, ``inferer`` and weights.

    Its transforms work as MONAI has them, but for those that read files, which ours replaces. Tiles are blended as its
    inferer says, outputs before they are activated.

    Raises:
        CheckpointError: it is none, names a class that is not allowed, or cannot be used without running its code.
    """
    path = find_config(folder)
    about = read_config(folder / METADATA)
    config = BundleConfig(read_config(path), path)
    network, nodes = config.plain(config.get("network_def"), "network_def"), _preparation(config)
    if not isinstance(network, Mapping):
        raise CheckpointError("network_def is no node", file=path, mend=AGAIN)
    window, blending = _inferer(config)
    exclusive, names = _outputs(config, about, folder)
    given = network.get("out_channels")
    if isinstance(given, int) and given != len(names):
        raise CheckpointError(
            f"its network has {given} outputs, its metadata describes {len(names)}", file=folder / METADATA, mend=AGAIN
        )
    weights = weights_in(folder / WEIGHTS)
    structures = _distinct(names[1:] if exclusive else names)
    try:
        require_allowed([network, nodes])
        require_network(network)
        if exclusive and len(names) == 2:
            network = {"_target_": "ankleseg.networks.OneOfTwo", "network": network}
            weights = {f"network.{name}": value for name, value in weights.items()}
        described = description(
            network=network,
            preparation=Preparation(nodes),
            labels=Labels(structures=tuple(structures), regions=not exclusive and len(structures) > 1),
            channels=_channels(about),
            window=window,
            slice_axis=None,
        )
    except AnklesegError as error:
        raise CheckpointError(error.problem, file=path, mend=error.mend) from error
    return replace(
        model_of(described, weights, folder, device=device), blending=replace(blending, background=exclusive)
    )


AGAIN = "get the bundle again"


def _preparation(config: BundleConfig) -> list[dict[str, Any]]:
    """The nodes of the transforms that are no reading, for the image alone."""
    found = config.get("preprocessing")
    if class_name(found) == "Compose":
        found = found.get("transforms")
    if not isinstance(found, list):
        raise CheckpointError(
            "preprocessing is no list of transforms", file=config.path, mend="give it as a Compose of transforms"
        )
    nodes = []
    for number, node in enumerate(found):
        name = f"preprocessing#transforms#{number}"
        if not isinstance(node, Mapping):
            config.plain(node, name)
        if node.get("_disabled_") is True or class_name(node) in READING:
            continue
        plain = config.plain(node, name)
        names = _as_list(plain.get("keys"))
        if names and keys.IMAGE not in names:
            continue  # of the label of an evaluation
        nodes.append(plain | ({"allow_missing_keys": True} if len(names) > 1 else {}))
    return nodes


def _inferer(config: BundleConfig) -> tuple[list[int], Blending]:
    node = config.plain(config.get("inferer"), "inferer")
    if class_name(node) != "SlidingWindowInferer":
        raise CheckpointError(
            f"its inferer is {class_name(node) or 'none'}: expected SlidingWindowInferer",
            file=config.path,
            mend="choose a SlidingWindowInferer with the sides of the training patches",
        )
    sides = _as_list(node.get("roi_size"))
    if len(sides) not in (2, 3) or not all(isinstance(side, int) and side >= SHORTEST for side in sides):
        raise CheckpointError(
            f"inferer#roi_size is {node.get('roi_size')}: expected two or three sides, of at least {SHORTEST} voxels",
            file=config.path,
            mend="write the sides of the training patches",
        )
    overlap = node.get("overlap", 0.25)
    if not isinstance(overlap, int | float) or not 0 <= overlap < 1:
        raise CheckpointError(f"inferer#overlap is {overlap}: expected a fraction", file=config.path, mend="correct it")
    mode, padding = str(node.get("mode", "constant")), str(node.get("padding_mode", "constant"))
    return sides, Blending(overlap=float(overlap), mode=mode.lower(), padding_mode=padding)


def _outputs(config: BundleConfig, about: Mapping[str, Any], folder: Path) -> tuple[bool, list[str]]:
    """Whether the outputs exclude each other, and the name of each."""
    output = _tensor(about, "outputs", "pred")
    names = _numbered(output.get("channel_def"))
    if len(names) < 1:
        raise CheckpointError(
            "its metadata does not name the outputs (network_data_format, outputs, pred, channel_def)",
            file=folder / METADATA,
            mend="name background and structures there",
        )
    exclusive = _exclusive(config, str(output.get("format", "")))
    if exclusive is None:
        raise CheckpointError(
            "neither its postprocessing nor its metadata says whether structures exclude each other",
            file=config.path,
            mend="add Activationsd with softmax or sigmoid to postprocessing",
        )
    if exclusive and len(names) == 1:
        raise CheckpointError(
            "has a single output and a softmax over it", file=folder / METADATA, mend="name every output there"
        )
    if exclusive and names[0].lower() not in BACKGROUND:
        log.warning("%s: output 0, %s, is taken as the background", folder, names[0])
    return exclusive, names


def _exclusive(config: BundleConfig, written: str) -> bool | None:
    steps: Any = config.get("postprocessing") if "postprocessing" in config else None
    if isinstance(steps, Mapping):
        steps = steps.get("transforms")
    steps = [step for step in steps if isinstance(step, Mapping)] if isinstance(steps, list) else []
    steps = [step for step in steps if step.get("_disabled_") is not True]
    others = [class_name(step) for step in steps if class_name(step) not in WAY_BACK]
    if others:
        log.warning("%s: of its postprocessing %s is left out; see postprocessing.*", config.path, ", ".join(others))

    def says(name: str, word: str) -> bool:
        return any(class_name(step) == name and _first(step.get(word)) is True for step in steps)

    if says("AsDiscreted", "argmax") or says("Activationsd", "softmax"):
        return True
    if says("Activationsd", "sigmoid"):
        return False
    return {"labels": True, "classes": False}.get(written)


def _channels(about: Mapping[str, Any]) -> list[str]:
    image = _tensor(about, "inputs", keys.IMAGE)
    names = _distinct(_numbered(image.get("channel_def")))
    number = image.get("num_channels", len(names) or 1)
    number = number if isinstance(number, int) else len(names) or 1
    if number == 1:
        return [keys.IMAGE]
    return names if len(names) == number else [str(1 + channel) for channel in range(number)]


def _tensor(about: Mapping[str, Any], side: str, name: str) -> Mapping[str, Any]:
    """The description of an input or output: of this name, or the only one."""
    formats = about.get("network_data_format")
    tensors = formats.get(side) if isinstance(formats, Mapping) else None
    if not isinstance(tensors, Mapping) or not tensors:
        return {}
    found = tensors.get(name, next(iter(tensors.values())))
    return found if isinstance(found, Mapping) else {}


def weights_in(path: Path) -> dict[str, torch.Tensor]:
    """The state dictionary of a network in a file of PyTorch, by the names that it has there.

    Raises:
        CheckpointError: there is none, or it holds more than tensors and plain types.
    """
    if not path.is_file():
        raise CheckpointError("does not exist", file=path, mend="download the weights of the bundle")
    content = read_tensors(path)
    for name in WEIGHTS_UNDER:
        if isinstance(content, Mapping) and isinstance(content.get(name), Mapping):
            content = content[name]
            break
    if not isinstance(content, Mapping) or not all(isinstance(value, torch.Tensor) for value in content.values()):
        raise CheckpointError("is no state dictionary of a network", file=path, mend=AGAIN)
    return {str(name).removeprefix("module."): value for name, value in content.items()}


def _numbered(names: Any) -> list[str]:
    """Names by the number of their channel."""
    if not isinstance(names, Mapping):
        return []
    try:
        return [str(names[key]) for key in sorted(names, key=int)]
    except (TypeError, ValueError):
        return []


def _distinct(names: Sequence[str]) -> list[str]:
    """Names that may be part of the name of a file, none twice."""
    found: list[str] = []
    for number, name in enumerate(names, start=1):
        word = re.sub(r"[^\w.+-]+", "_", name).strip("_.") or f"output_{number}"
        found.append(word if word not in found else f"{word}_{number}")
    return found


def _as_list(value: Any) -> list[Any]:
    return [] if value is None else list(value) if isinstance(value, list | tuple) else [value]


def _first(value: Any) -> Any:
    values = _as_list(value)
    return values[0] if values and not isinstance(values[0], Expression) else None
