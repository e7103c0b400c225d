"""The small abstract task: an injected network, optimiser and schedule; what a checkpoint must hold."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from pytorch_lightning import LightningModule
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from ankleseg.errors import ConfigError
from ankleseg.inference.checkpoint import RECIPE

MakeOptimizer = Callable[[Iterable[nn.Parameter]], Optimizer]
MakeScheduler = Callable[..., LRScheduler]


class Task(LightningModule, ABC):
    """What all tasks share.

    Args:
        network: gives logits.
        optimizer: called with the parameters.
        scheduler: called with the optimiser and ``total_steps``; stepped after every batch. None: constant rate.
        rates: factors on the learning rate of parts of the network, by name; the other parts have 1.
        recipe: plain types that travel in the checkpoint, see `ankleseg.inference.recipe`.
        seed: of what is drawn inside the network (dropout).
    """

    def __init__(
        self,
        *,
        network: nn.Module,
        optimizer: MakeOptimizer,
        scheduler: MakeScheduler | None = None,
        rates: Mapping[str, float] | None = None,
        recipe: Mapping[str, Any] | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.network = network
        self._make_optimizer = optimizer
        self._make_scheduler = scheduler
        self._rates = dict(rates or {})
        self._recipe = dict(recipe or {})
        self._seed = seed

    def forward(self, image: Tensor) -> Tensor:
        return self.network(image)

    @abstractmethod
    def training_step(self, batch: Mapping[str, Any], batch_index: int) -> Tensor | None: ...

    def check_patches(self, sizes: Sequence[tuple[int, Sequence[int]]], epochs: float = math.inf) -> None:
        """Refuse patches that a network will not take, before anything is prepared.

        Args:
            sizes: sides of the patches, each with the first epoch that has them.
            epochs: of the training.

        Raises:
            ConfigError: a side is no multiple of the network's divisor, or too short.
        """
        for _, size in sizes:
            check_size(size, self.network, "the network")

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        # Seeded anew in each step, so that a resumed run draws the dropout masks of an uninterrupted one: what else
        # draws from the global generator, such as the start of a data loader, differs between the two.
        torch.manual_seed(self._seed * 1_000_003 + self.global_step)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint[RECIPE] = self._recipe

    def configure_optimizers(self) -> Any:
        optimizer = self._optimizer(p for p in self.parameters() if p.requires_grad)
        if self._make_scheduler is None:
            return optimizer
        scheduler = self._make_scheduler(optimizer, total_steps=int(self.trainer.estimated_stepping_batches))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def _optimizer(self, parameters: Iterable[nn.Parameter]) -> Optimizer:
        """An optimiser in which the parts of the network named in ``rates`` have a rate of their own.

        Raises ConfigError where the network has no such part.
        """
        if not self._rates:
            return self._make_optimizer(parameters)
        slow = sorted(self._rates, key=len, reverse=True)  # what lies deeper has its own rate
        others = {id(parameter): parameter for parameter in parameters}
        groups: list[dict[str, Any]] = []
        for name in slow:
            try:
                part = self.network.get_submodule(name)
            except AttributeError:
                known = ", ".join(child for child, _ in self.network.named_children())
                raise ConfigError(
                    f"task.rates: the network has no part {name!r}", mend=f"its parts are {known}"
                ) from None
            groups.append({"params": [others.pop(id(p)) for p in part.parameters() if id(p) in others]})
        make: Callable[..., Optimizer] = self._make_optimizer
        optimizer = make([{"params": list(others.values())}, *groups])
        for group, name in zip(optimizer.param_groups[1:], slow, strict=True):
            group["lr"] *= self._rates[name]
        return optimizer


def check_size(size: Sequence[int], network: nn.Module, name: str) -> None:
    """Refuse patches whose sides a network will not take, as far as it says; raises ConfigError that names it."""
    divisor, shortest = (int(getattr(network, key, 1)) for key in ("divisor", "shortest"))
    if any(side % divisor for side in size) or min(size) < shortest:
        least = f" of at least {shortest}" if shortest > divisor else ""
        raise ConfigError(
            f"patches of {' × '.join(map(str, size))} voxels do not suit {name}",
            mend=f"choose multiples of {divisor}{least} as sides in patches.sampler.size and patches.schedule",
        )
