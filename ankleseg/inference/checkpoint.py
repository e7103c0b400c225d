"""A checkpoint as prediction needs it: network, preparation, structures and window, from tensors and plain types."""

from __future__ import annotations

import pickle
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ankleseg.cohorts.files import is_given
from ankleseg.config import build, resolve_target
from ankleseg.errors import AnklesegError, CheckpointError
from ankleseg.inference.postprocessing import Postprocessing
from ankleseg.networks import for_inference
from ankleseg.transforms import Preparation
from ankleseg.volumes import not_downloaded

RECIPE = "ankleseg"  # key of the recipe in a checkpoint
FORMAT = 1


@dataclass(frozen=True)
class Model:
    """A trained network and all that its use needs; its first outputs are ``images``, the others are of structures.

    ``slice_axis`` is the prepared axis across the slices of the scans it was trained on, ``slice_spacing`` the range of
    their distances in mm where they were made thick.
    """

    network: nn.Module
    preparation: Preparation
    structures: tuple[str, ...]
    window: tuple[int, ...]
    channels: int
    path: Path
    images: tuple[str, ...] = ()
    postprocessing: Postprocessing | None = None
    slice_axis: int = 2
    slice_spacing: tuple[float, float] | None = None


def recipe(
    *,
    network: Mapping[str, Any],
    preparation: Preparation,
    structures: Sequence[str],
    window: Sequence[int],
    images: Sequence[str] = (),
    postprocessing: Mapping[str, Any] | None = None,
    slice_axis: int = 2,
    slice_spacing: Sequence[float] | None = None,
) -> dict[str, Any]:
    """Describe in plain types what `load_model` rebuilds; it travels in the checkpoint.

    Args:
        network: its configuration node.
        preparation: of the scans it was trained on.
        structures: that its outputs are probabilities of.
        window: sides of its training patches.
        images: names of its leading outputs that are intensities, such as ``sharp``.
        postprocessing: node of what is done to its masks, None for nothing.
        slice_axis: the prepared axis across the slices.
        slice_spacing: mm, finest and coarsest of the slices that were made thick.
    """
    return {
        "format": FORMAT,
        "network": dict(network),
        "preparation": preparation.to_node(),
        "structures": list(structures),
        "window": list(window),
        "images": list(images),
        "postprocessing": None if postprocessing is None else dict(postprocessing),
        "slice_axis": slice_axis,
        "slice_spacing": None if slice_spacing is None else list(slice_spacing),
    }


def find_checkpoint(path: str | Path) -> Path:
    """Find the checkpoint that a user means by a file, a run, or a folder of runs (the latest one).

    Raises:
        CheckpointError: there is none.
    """
    path = Path(path)
    if is_given(path):
        return path
    if not path.exists():
        raise CheckpointError("does not exist", file=path, mend="give a checkpoint, a run folder or a folder of runs")
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


def read_checkpoint(path: str | Path) -> dict[str, Any]:
    """Read a checkpoint without running any code in it.

    Raises:
        CheckpointError: it is not a checkpoint, is damaged, or holds more than tensors and plain types.
    """
    path = Path(path)
    if error := not_downloaded(path):
        raise CheckpointError(error.problem, file=path, mend=error.mend)
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
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
    if not isinstance(content, dict) or RECIPE not in content or "state_dict" not in content:
        raise CheckpointError("was not made by ankleseg", file=path, mend="give a checkpoint of ankleseg.train")
    return content


def load_model(path: str | Path, *, device: str | torch.device = "cpu") -> Model:
    """Load a checkpoint for prediction.

    Args:
        path: a checkpoint, a run folder or a folder of runs.
        device: where the network goes.

    Raises:
        CheckpointError: it cannot be trusted, read or rebuilt.
    """
    path = find_checkpoint(path)
    content = read_checkpoint(path)
    described = content[RECIPE]
    if described.get("format") != FORMAT:
        raise CheckpointError(
            f"has format {described.get('format')}, this version reads {FORMAT}",
            file=path,
            mend="use the version of ankleseg that wrote it",
        )
    try:
        network = build_network(described["network"])
        preparation = Preparation.from_node(described["preparation"])
        postprocessing = _postprocessing(described)
    except AnklesegError as error:
        raise CheckpointError(error.problem, file=path, mend=error.mend) from error
    weights = {
        name.removeprefix("network."): value
        for name, value in content["state_dict"].items()
        if name.startswith("network.")
    }
    try:
        network.load_state_dict(weights)
    except RuntimeError as error:
        raise CheckpointError("its weights do not fit its network", file=path, mend="train it again") from error
    return Model(
        network=for_inference(network).to(device),
        preparation=preparation,
        structures=tuple(described["structures"]),
        window=tuple(described["window"]),
        channels=int(described["network"]["in_channels"]),
        path=path,
        images=tuple(described.get("images", ())),
        postprocessing=postprocessing,
        slice_axis=int(described.get("slice_axis", 2)),
        slice_spacing=None if (mm := described.get("slice_spacing")) is None else (float(mm[0]), float(mm[1])),
    )


def _postprocessing(described: Mapping[str, Any]) -> Postprocessing | None:
    """That of the recipe; checkpoints from before it was kept there were made for the default one."""
    if "postprocessing" not in described:
        return Postprocessing()
    found = build(described["postprocessing"])
    if found is not None and not isinstance(found, Postprocessing):
        raise CheckpointError("its postprocessing is none", mend="train it again")
    return found


def build_network(node: Mapping[str, Any]) -> nn.Module:
    """Build a network from its node; only classes of networks are let through.

    Raises:
        ConfigError: a ``_target_`` is refused or its arguments do not fit.
        CheckpointError: it names something that is no network.
    """
    target = resolve_target(str(node.get("_target_")))
    if not (isinstance(target, type) and issubclass(target, nn.Module)):
        raise CheckpointError(f"{node.get('_target_')!r} is no network", mend="name a subclass of torch.nn.Module")
    network = build(node)
    assert isinstance(network, nn.Module)
    return network
