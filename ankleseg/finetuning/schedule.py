"""The freeze schedule: which parts of a network are trained from which epoch on, and how fast."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.callbacks import EarlyStopping
from pytorch_lightning.loggers import TensorBoardLogger
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim import Optimizer

from ankleseg.errors import ConfigError
from ankleseg.networks.parts import modules_in, parameters_of

KEYS = {"epoch", "train", "rate"}
STATISTICS = ("frozen", "updated")
CHECKED_AFTER = 10  # steps; the first ones may be skipped by mixed precision

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Step:
    """From an epoch on, what is trained.

    Attributes:
        epoch: the first, from 0.
        train: parts of the network (see `modules_in`); the others are frozen.
        rate: the learning rate of all that is trained, as ``optimizer.lr`` gives it: factors of parts and the schedule
            of the rate still apply. None leaves it.
    """

    epoch: int
    train: tuple[str, ...]
    rate: float | None = None

    def __str__(self) -> str:
        rate = "" if self.rate is None else f" at {self.rate:g}"
        return f"{', '.join(self.train)}{rate}"


def steps_of(schedule: Sequence[Mapping[str, Any]]) -> list[Step]:
    """Read a schedule ``[{epoch: 0, train: [bottleneck]}, {epoch: 75, train: [bottleneck, expansion], rate: 1e-5}]``.

    Raises:
        ConfigError: a step is not understood, trains nothing, or the epochs do not rise.
    """
    steps: list[Step] = []
    for node in schedule:
        if not isinstance(node, Mapping) or not {"epoch", "train"} <= set(node) <= KEYS:
            raise ConfigError(
                f"invalid freeze step {node!r}: expected epoch, train and perhaps rate",
                mend="write {epoch: 0, train: [bottleneck], rate: 1e-3}",
            )
        train = [node["train"]] if isinstance(node["train"], str) else list(node["train"])
        rate = None if node.get("rate") is None else float(node["rate"])
        if not train or int(node["epoch"]) < 0 or (rate is not None and rate <= 0):
            raise ConfigError(
                f"invalid freeze step {dict(node)}: expected an epoch from 0, at least one part, and a rate above 0",
                mend="name what is trained; '*' is the whole network",
            )
        if steps and int(node["epoch"]) <= steps[-1].epoch:
            raise ConfigError("invalid freeze: the epochs do not rise", mend="sort its steps by epoch")
        steps.append(Step(int(node["epoch"]), tuple(map(str, train)), rate))
    return steps


class FreezeSchedule(Callback):
    """Train parts of a network from their epoch on, and leave the others as they are.

    All parameters are in the optimiser from the start. Those of a frozen part get no gradient and so neither momentum
    nor weight decay moves them, and what the optimiser remembers of them is forgotten; where the processes of a
    training share gradients, these are computed and dropped, for PyTorch does not let a parameter join later. Before
    the first step of the list all is trained. Early stopping counts from the last step on. A critic, and parameters of
    a loss, are trained always.

    A resumed run goes on as the interrupted one would have. (Lightning's `BaseFinetuning` freezes anew when a run is
    resumed, and fails with several processes: Lightning-AI/pytorch-lightning#21901, #20340.)

    Args:
        schedule: see `steps_of`.
        norm_statistics: of frozen batch norms in training, ``frozen``: they normalise by their running statistics, as
            in prediction; or ``updated``, as if they were trained.

    Raises:
        ConfigError: a setting is none; when training starts: a part is not there; after the first steps: a frozen
            parameter has moved, or nothing of a part that is trained.
    """

    def __init__(self, schedule: Sequence[Mapping[str, Any]], norm_statistics: str = "frozen") -> None:
        if norm_statistics not in STATISTICS:
            raise ConfigError(
                f"invalid norm_statistics {norm_statistics!r}: expected one of {', '.join(STATISTICS)}",
                mend="correct it",
            )
        self.steps = steps_of(schedule)
        self._updates_norms = norm_statistics == "updated"
        self._reached = -1  # number of the last step that was begun
        self._frozen: list[nn.Parameter] = []
        self._resting: list[nn.Module] = []  # norms of frozen parts
        self._before: dict[str, Tensor] | None = None  # weights when the step began, until they are compared
        self._since = 0

    @property
    def marks(self) -> list[tuple[int, str]]:
        """Epochs at which a step began, and what it trains."""
        return [(step.epoch, str(step)) for step in self.steps[: self._reached + 1]]

    def state_dict(self) -> dict[str, Any]:
        return {"reached": self._reached}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._reached = int(state_dict["reached"])

    def check(self, network: nn.Module, epochs: float) -> None:
        """Refuse a part that the network does not have; log a warning of steps that a run does not reach."""
        for step in self.steps:
            modules_in(network, step.train, "freeze.train")
            if step.epoch >= epochs:
                log.warning("freeze: the step at epoch %d is not reached in %g epochs", step.epoch, epochs)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self._reached >= 0:  # of a run that is resumed
            self._freeze(trainer, _network_of(pl_module))
        self._begin(trainer, pl_module)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        begins = self._begin(trainer, pl_module)
        for norm in self._resting:
            norm.eval()
        if begins or self._reached + 1 < len(self.steps):
            for callback in trainer.callbacks:  # type: ignore[attr-defined]
                if isinstance(callback, EarlyStopping):
                    callback.wait_count = 0

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer) -> None:
        for parameter in self._frozen:
            parameter.grad = None

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if self._before is not None and trainer.global_step - self._since >= CHECKED_AFTER:
            self._compare(_network_of(pl_module))

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self._before is not None and trainer.global_step > self._since:
            self._compare(_network_of(pl_module))

    def _begin(self, trainer: Trainer, pl_module: LightningModule) -> bool:
        """Begin the step of this epoch, where it is not the one that was begun last, and tell whether it was not."""
        now = max((n for n, step in enumerate(self.steps) if step.epoch <= trainer.current_epoch), default=-1)
        if now <= self._reached:
            return False
        self._reached, step = now, self.steps[now]
        network = _network_of(pl_module)
        self._freeze(trainer, network)
        forgotten = {id(parameter) for parameter in self._frozen}
        for optimizer in trainer.optimizers:
            for parameter in [p for p in optimizer.state if id(p) in forgotten]:
                del optimizer.state[parameter]
        if step.rate is not None:
            set_rate(trainer, step.rate)
        self._before = {name: value.detach().clone() for name, value in network.named_parameters()}
        self._since = trainer.global_step
        self._tell(trainer, network, step)
        return True

    def _freeze(self, trainer: Trainer, network: nn.Module) -> None:
        step = self.steps[self._reached]
        trained = modules_in(network, step.train, "freeze.train")
        kept = {id(parameter) for parameter in parameters_of(trained)}
        together = trainer.world_size > 1
        self._frozen = [parameter for parameter in network.parameters() if id(parameter) not in kept]
        for parameter in network.parameters():
            parameter.requires_grad_(together or id(parameter) in kept)
        for parameter in self._frozen:
            parameter.grad = None
        norms = [] if self._updates_norms else [m for m in network.modules() if isinstance(m, _BatchNorm)]
        names = {id(module) for module in trained}
        for norm in self._resting:
            norm.train()
        self._resting = [norm for norm in norms if id(norm) not in names]
        for norm in self._resting:
            norm.eval()

    def _tell(self, trainer: Trainer, network: nn.Module, step: Step) -> None:
        values = sum(p.numel() for p in network.parameters()) - sum(p.numel() for p in self._frozen)
        text = f"from epoch {step.epoch}: trains {step}, {values:,} values"
        if trainer.is_global_zero:
            print(text)
        if isinstance(trainer.logger, TensorBoardLogger):
            trainer.logger.experiment.add_text("freeze", text, trainer.global_step)

    def _compare(self, network: nn.Module) -> None:
        """Raise ConfigError where what is frozen has moved, or what is trained has not."""
        assert self._before is not None
        moved = {id(p): name for name, p in network.named_parameters() if not torch.equal(p, self._before[name])}
        self._before = None
        if wrong := [moved[id(parameter)] for parameter in self._frozen if id(parameter) in moved]:
            raise ConfigError(
                f"frozen weights have moved: {wrong[0]}",
                mend="take out what changes weights besides the optimiser, such as a callback that averages them",
            )
        for part in self.steps[self._reached].train:
            if not any(id(p) in moved for p in parameters_of(modules_in(network, [part], "freeze.train"))):
                raise ConfigError(
                    f"nothing of {part!r} has moved in the first steps of its training",
                    mend="check that optimizer.lr and freeze.rate are above 0, and that the loss depends on it",
                )


def set_rate(trainer: Trainer, rate: float) -> None:
    """Set the learning rate of the first optimiser, that of the network.

    Its groups keep their ratios to each other, and the schedule of the rate goes on from there.
    """
    optimizer = trainer.optimizers[0]
    bases = [float(group.get("initial_lr", group["lr"])) for group in optimizer.param_groups]
    for group, base in zip(optimizer.param_groups, bases, strict=True):
        wanted = base / bases[0] * rate
        group["lr"] = group["lr"] / base * wanted
        group["initial_lr"] = wanted
    for config in trainer.lr_scheduler_configs:
        if config.scheduler.optimizer is optimizer and hasattr(config.scheduler, "base_lrs"):
            config.scheduler.base_lrs = [group["initial_lr"] for group in optimizer.param_groups]


def _network_of(module: LightningModule) -> nn.Module:
    return module.get_submodule("network")
