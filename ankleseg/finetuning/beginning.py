"""What training starts from: weights of another training, with parts of the network begun anew."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from monai.transforms import NormalizeIntensityd, ScaleIntensityd, ScaleIntensityRanged, ScaleIntensityRangePercentilesd
from torch import nn

from ankleseg.config import resolve_target
from ankleseg.finetuning.matching import Fit, copy_into, fit_of, require_fit
from ankleseg.finetuning.source import Source, find_source, read_source
from ankleseg.finetuning.surgery import begin_anew
from ankleseg.inference.model import with_public_names
from ankleseg.networks.parts import modules_in
from ankleseg.transforms import Preparation
from ankleseg.transforms.intensity_scale import ScaleInMaskd

SCALING = (ScaleInMaskd, NormalizeIntensityd, ScaleIntensityd, ScaleIntensityRanged, ScaleIntensityRangePercentilesd)

log = logging.getLogger(__name__)


def begin(
    network: nn.Module,
    checkpoint: str | Path | None = None,
    *,
    match: str = "strict",
    surgery: Sequence[str] = (),
    initialisation: str = "glorot",
    layout: Mapping[str, Any] | None = None,
    preparation: Preparation | None = None,
    name: str = "",
) -> Fit | None:
    """Begin the weights of a network, in place.

    Args:
        network: as it was built.
        checkpoint: a run, a checkpoint, a bundle, the state dictionary of a network (.pt), or a Keras (.h5) or ONNX
            file; None for none.
        match: ``strict``, ``shape`` or ``channels``, see `fit_of`.
        surgery: parts of the network that get nothing from it (see `modules_in`).
        initialisation: of these, see `begin_anew`.
        layout: of Keras and ONNX files.
        preparation: of the scans to train on; a warning is logged where those of the source were scaled otherwise.
        name: of the class of the network, for messages.

    Returns:
        What was copied; None without a checkpoint.

    Raises:
        ConfigError: a setting is none, or a part is not there.
        CheckpointError: the source cannot be read, or does not fit.
    """
    anew = modules_in(network, surgery, "init.surgery")
    fit = None
    if checkpoint:
        source = read_source(find_source(checkpoint), network, layout or {})
        fit = fit_of(network, source.weights, match, anew)
        networks = f" (a {_class(source.network)} to a {_class(name)})" if source.network not in (None, name) else ""
        require_fit(fit, match, source.path, networks)
        copy_into(network, fit.values)
        if preparation is not None:
            warn_of_other_scaling(source, preparation)
    begin_anew(anew, initialisation)
    return fit


def warn_of_other_scaling(source: Source, preparation: Preparation) -> None:
    """Log a warning where the weights were trained on intensities of another scale than those of a preparation."""
    used = scaling_in(preparation.nodes)
    before = None if source.description is None else scaling_in(source.description["preparation"])
    if before == used or (before is None and source.scaling is None):
        return
    log.warning(
        "%s: was trained on intensities scaled otherwise (%s) than those of this run (%s); choose the same "
        "preparation, or its first layers begin with intensities that they never saw",
        source.path,
        source.scaling if before is None else _told(before),
        _told(used),
    )


def scaling_in(nodes: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The nodes of a preparation that scale intensities."""
    found = []
    for node in nodes:
        target = resolve_target(str(node["_target_"]))
        if isinstance(target, type) and issubclass(target, SCALING):
            found.append(with_public_names(dict(node)))
    return found


def _told(nodes: Sequence[Mapping[str, Any]]) -> str:
    def one(node: Mapping[str, Any]) -> str:
        settings = [f"{key}={value}" for key, value in node.items() if key not in ("_target_", "keys")]
        return " ".join([_class(str(node["_target_"])), *settings])

    return ", then ".join(map(one, nodes)) or "not at all"


def _class(name: str | None) -> str:
    return str(name).rpartition(".")[2]
