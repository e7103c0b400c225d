"""The network of a run: what it is asked for, how large its ends are, what its checkpoint says of it."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from ankleseg.cohorts import Cohort
from ankleseg.cohorts.prepared import preparation_of
from ankleseg.config import resolve_target, to_plain
from ankleseg.data import as_learnt_before, at_common_spacing, distances_of_slices, learns, learnt_from
from ankleseg.data.base import PatchData
from ankleseg.errors import ConfigError
from ankleseg.finetuning import describe_source, find_source
from ankleseg.inference.tiles import check_window
from ankleseg.labels import Labels
from ankleseg.transforms import Preparation
from ankleseg.transforms.intensity_scale import ScaleInMaskd

log = logging.getLogger(__name__)

RENEWED = 0.9  # of the statistics of batch norms: a run that renews fewer is told


def labels_of(config: DictConfig, cohort: Cohort) -> Labels:
    """What the network of a run is asked for; structures are regions where the cohort says so, or the configuration."""
    return Labels(
        structures=config.structures,
        regions=bool(config.structures) and (cohort.regions if config.regions is None else config.regions),
        images=config.images,
        pairs=to_plain(config.left_right_pairs),
        label_values=to_plain(config.get("label_values")),
    )


def prepared_by(config: DictConfig, training: Cohort, labels: Labels) -> Preparation:
    """How scans are prepared for a run: as configured, at the common spacing of its training subjects if asked for, and
    with what its transforms learn of them, or had learnt where the weights come from.

    Raises:
        ConfigError: a transform is refused, or the window is one that prediction could not use.
    """
    check_window(to_plain(config.window), mend="predict.mode=slices of blocks takes the whole volume in one piece")
    preparation = Preparation(to_plain(config.prepare.transforms))
    if config.common_spacing:
        preparation = at_common_spacing(preparation, training, len(config.window))
    if learns(preparation) and (earlier := _source_of(config)):
        about = describe_source(find_source(earlier)) or {}
        preparation = as_learnt_before(preparation, about.get("preparation", ()))
    mends = {"copy_headers": config.copy_headers, "resample_masks": config.resample_masks}
    return learnt_from(preparation, training.cases, labels, **mends)


def _source_of(config: DictConfig) -> str | None:
    """What the weights of a run come from: the run itself where it is resumed, else what ``init`` names."""
    if config.resume:
        return str(Path(config.run_dir) / "checkpoints" / "last.ckpt")
    missing = "init" not in config or OmegaConf.is_missing(config.init, "checkpoint")
    return None if missing else config.init.checkpoint


def with_sizes(config: DictConfig, channels: Sequence[str], labels: Labels) -> DictConfig:
    """The configuration with the input and output channels of its networks, where these take them."""
    sizes = {
        "network": {"in_channels": len(channels), "out_channels": labels.outputs},
        "discriminator": {"in_channels": labels.values},
    }
    for name, counts in sizes.items():
        for key, count in counts.items():
            if name in config and key in config[name]:
                config[name][key] = count
    return config


def description_of(config: DictConfig, preparation: Preparation, data: PatchData, training: Cohort) -> dict[str, Any]:
    """What a checkpoint says of how its network is to be used (see `ankleseg.inference.description`).

    A network that was trained on a cohort as ``python -m ankleseg.prepare`` wrote it wants scans that are prepared so.

    Args:
        config: of the run.
        preparation: of its scans.
        data: of its training.
        training: the cases that it is trained on.

    Raises:
        ConfigError: such a cohort would be prepared once more, which mirrors the left feet back.
        AnklesegError: what such a cohort says of its preparation is refused.
    """
    from ankleseg.inference import description
    from ankleseg.inference.allowed import require_allowed

    nodes = preparation_of(data.cohort.root)
    if nodes is not None and preparation.nodes:
        raise ConfigError("was prepared already", file=data.cohort.root, mend="add prepare=as_is")
    require_allowed(nodes)
    used = preparation if nodes is None else Preparation(nodes)
    warn_of_scaling(config, used)
    as_scanned = distances_of_slices(preparation, training, len(config.window), data.slice_axis)
    return description(
        network=to_plain(config.network),
        preparation=used,
        labels=data.labels,
        channels=data.channels,
        window=config.window,
        postprocessing=to_plain(config.postprocessing),
        slice_axis=data.slice_axis,
        slice_spacing=data.slice_spacing or as_scanned,
        planes=data.planes,
    )


def warn_of_scaling(config: DictConfig, used: Preparation) -> None:
    """Log a warning where an augmentation is used whose numbers are those of intensities on another scale."""
    meant, drawn = config.augment.get("made_for"), to_plain(config.patches.get("augment"))
    scaling = [type(transform) for transform in used.transforms if isinstance(transform, ScaleInMaskd)]
    if meant is None or not drawn or drawn != to_plain(config.augment.transforms) or not scaling:
        return
    if not issubclass(scaling[-1], resolve_target(meant)):
        log.warning(
            "the augmentation is made for intensities of %s, the preparation scales by %s; choose its numbers anew, as "
            "augment.brightness and augment.noise, and set augment.made_for=null",
            meant.rsplit(".", 1)[-1],
            scaling[-1].__name__,
        )


def warn_of_norms(config: DictConfig, network: nn.Module, epochs: float) -> None:
    """Log a warning where a run is too short for its batch norms: prediction takes statistics that are not its own.

    Args:
        config: of the run.
        network: of it.
        epochs: of it.
    """
    if any(str(node.get("_target_", "")).endswith(".FrozenStatistics") for node in config.callbacks.values()):
        return
    momenta = [module.momentum for module in network.modules() if isinstance(module, _BatchNorm)]
    slowest = min((momentum for momentum in momenta if momentum is not None), default=1.0)
    steps = epochs * config.patches.steps_per_epoch
    renewed = 1 - (1 - slowest) ** steps
    if renewed < RENEWED:
        log.warning(
            "in %d steps the batch norms renew %.0f %% of the statistics that prediction uses; train longer, or add "
            "'+callbacks.norms={_target_: ankleseg.tasks.FrozenStatistics, share: 0.5}'",
            steps,
            100 * renewed,
        )
