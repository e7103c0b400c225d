"""What a run starts from, and what of its network is trained when."""

from __future__ import annotations

from omegaconf import DictConfig, OmegaConf, open_dict
from pytorch_lightning.utilities.rank_zero import rank_zero_only
from torch import nn

from ankleseg.config import to_literals, to_plain
from ankleseg.errors import ConfigError
from ankleseg.finetuning import FreezeSchedule, begin, describe_source, find_source
from ankleseg.inference import build_network
from ankleseg.runs.source import check_source_cohort
from ankleseg.transforms import Preparation


def as_source(config: DictConfig) -> DictConfig:
    """The configuration of a run with what it leaves open as the source of its weights has it.

    Where there is no ``network``, no ``prepare`` or no ``patches.sampler.size``, that of ``init.checkpoint`` is taken,
    with the size the planes of its slices; its preparation keeps the spacing that it has.

    Raises:
        ConfigError: there is no source, or it does not say what it was trained with.
        CheckpointError: it cannot be read.
    """
    missing = [key for key in ("network", "prepare") if key not in config]
    sizes = "sampler" in config.patches and config.patches.sampler.get("size", ()) is None
    if config.resume or not (missing or sizes):
        return config
    given = None if OmegaConf.is_missing(config.init, "checkpoint") else config.init.checkpoint
    described = describe_source(find_source(given)) if given else None
    if described is None:
        problem = f"{given} does not say what it was trained with" if given else "init.checkpoint is missing"
        chosen = " ".join(f"{key}=NAME" for key in missing) or "patches.sampler.size"
        raise ConfigError(problem, mend=f"add init.checkpoint=RUN, a checkpoint or a bundle of ours, or {chosen}")
    with open_dict(config):
        if "network" in missing:
            config.network = to_literals(dict(described["network"]))
        if "prepare" in missing:
            config.prepare = {"transforms": to_literals(list(described["preparation"]))}
            config.common_spacing = False
        if sizes:
            config.patches.sampler.size = list(described["window"])
            if config.patches.get("planes", ()) is None:
                config.patches.planes = described.get("planes")
    return config


def begun(config: DictConfig, preparation: Preparation, epochs: float) -> nn.Module:
    """Build the network of a run and begin its weights as ``init`` says; those of a resumed run are in its checkpoint.

    Args:
        config: of the run.
        preparation: of its scans.
        epochs: of the run, to which the freeze schedule is compared.

    Raises:
        ConfigError: a setting is none, or names a part that the network does not have.
        CheckpointError: the weights cannot be read, or do not fit.
    """
    network = build_network(to_plain(config.network))
    for schedule in freezing(config):
        schedule.check(network, epochs)
    init = to_plain(config.get("init"))
    if init is None or config.resume:
        return network
    if OmegaConf.is_missing(config.init, "checkpoint"):
        raise ConfigError("init.checkpoint is missing", mend="add init.checkpoint=RUN, a checkpoint or a bundle")
    check_source_cohort(config)
    if init["checkpoint"]:
        config.init.checkpoint = to_literals(str(find_source(init["checkpoint"])))  # of a folder of runs, which one
    fit = begin(
        network,
        config.init.checkpoint,
        match=init["match"],
        surgery=init["surgery"] or (),
        initialisation=init["initialisation"],
        layout=init["layout"],
        preparation=preparation,
        name=str(config.network._target_),
    )
    if fit is not None:
        rank_zero_only(print)(fit.describe())
    return network


def freezing(config: DictConfig) -> list[FreezeSchedule]:
    """The freeze schedule of a run, none where nothing is frozen.

    Raises:
        ConfigError: it is not understood.
    """
    schedule = to_plain(config.get("freeze"))
    if not schedule:
        return []
    if not isinstance(schedule, list):
        mend = "write [{epoch: 0, train: [expansion]}]"
        raise ConfigError(f"invalid freeze {schedule!r}: expected a list of steps", mend=mend)
    return [FreezeSchedule(schedule, config.norm_statistics)]
