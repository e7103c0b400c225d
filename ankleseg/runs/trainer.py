"""How a run is trained: its trainer and its length."""

from __future__ import annotations

import logging
import math
import os
import warnings
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from omegaconf import DictConfig
from pytorch_lightning import Trainer
from pytorch_lightning.loggers import TensorBoardLogger
from pytorch_lightning.plugins.environments import LightningEnvironment
from pytorch_lightning.plugins.precision import MixedPrecision
from pytorch_lightning.utilities.exceptions import MisconfigurationException

from ankleseg.cohorts import Split
from ankleseg.config import build
from ankleseg.errors import ConfigError
from ankleseg.runs.beginning import freezing

ONE_TASK = "start one task (srun --ntasks=1), or set trainer.devices and trainer.num_nodes to those of the job"


def epochs_of(config: DictConfig) -> float:
    """Number of epochs of a run, infinite where only the steps are counted.

    Raises:
        ConfigError: neither is.
    """
    epochs = config.trainer.get("max_epochs") or -1
    if epochs < 0 and (config.trainer.get("max_steps") or -1) < 0:
        raise ConfigError(
            "trainer.max_epochs is missing", mend="set it, or trainer.max_steps: the training would not end"
        )
    return epochs if epochs > 0 else math.inf


def trainer_of(config: DictConfig, split: Split) -> Trainer:
    """Build the trainer of a run; without validation subjects the callbacks that watch the metric are left out.

    Raises:
        ConfigError: Lightning refuses its settings, or what a cluster says of them.
    """
    callbacks = [*freezing(config), *build(config.callbacks).values()]
    kept = [c for c in callbacks if split.validation or getattr(c, "monitor", None) != config.monitor]
    logger = TensorBoardLogger(config.run_dir, name="tensorboard", version="")
    tasks = slurm_tasks()
    alone = {"plugins": [LightningEnvironment()]} if tasks == 0 and not config.trainer.get("plugins") else {}
    tasks = max(tasks, 1)
    try:
        trainer = build(config.trainer, callbacks=kept, logger=logger, **alone)
    except (MisconfigurationException, RuntimeError, ValueError) as error:
        mend = "check trainer.accelerator, trainer.devices and trainer.strategy"
        raise ConfigError(
            f"the trainer cannot be built: {str(error).rstrip('.!')}", mend=mend if tasks == 1 else ONE_TASK
        ) from error
    if tasks not in (1, trainer.world_size):
        raise ConfigError(f"srun started {tasks} tasks, each of which would train the whole run", mend=ONE_TASK)
    return trainer


def precision_of(trainer: Trainer) -> AbstractContextManager[Any]:
    """The mixed precision that a trainer trains and validates in, for what follows; nothing where it is not mixed."""
    plugin = trainer.precision_plugin
    return plugin.forward_context() if isinstance(plugin, MixedPrecision) else nullcontext()


def slurm_tasks() -> int:
    """Number of processes that SLURM started as one training: 1 where there is no SLURM.

    0 where a job was given tasks that ``srun`` did not start, as in an interactive shell: this process is then alone,
    whatever the variables of the job say.
    """
    tasks = os.environ.get("SLURM_NTASKS")
    if tasks is None or "TORCHELASTIC_RUN_ID" in os.environ:
        return 1
    is_started = "SLURM_PROCID" in os.environ and os.environ.get("SLURM_STEP_NUM_TASKS", "1") == tasks
    return int(tasks) if is_started else 0


def quiet_libraries() -> None:
    """Silence advice of libraries that does not hold here: loading worker processes steal the cores of a CPU run."""
    warnings.filterwarnings("ignore", message=".*does not have many workers.*")
    warnings.filterwarnings("ignore", message=".*tensorboardX.*")
    warnings.filterwarnings("ignore", message=".*Total length of .* across ranks is zero.*")  # no validation, as asked
    warnings.filterwarnings("ignore", message=".*Checkpoint directory .* exists and is not empty.*")
    warnings.filterwarnings("ignore", message=".*smaller than the logging interval.*")
    warnings.filterwarnings("ignore", message=".*LeafSpec.*is deprecated.*")
    for name in ("pytorch_lightning", "pytorch_lightning.utilities.rank_zero"):
        logging.getLogger(name).setLevel(logging.WARNING)
