"""The small abstract task: an injected network, optimiser and schedule; what a checkpoint must hold."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from pytorch_lightning import LightningModule
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from ankleseg.predict.checkpoint import RECIPE

MakeOptimizer = Callable[[Iterable[nn.Parameter]], Optimizer]
MakeScheduler = Callable[..., LRScheduler]


class Task(LightningModule, ABC):
    """What all tasks share.

    Args:
        network: gives logits.
        optimizer: called with the parameters.
        scheduler: called with the optimiser and ``total_steps``; stepped after every batch. None: constant rate.
        recipe: plain types that travel in the checkpoint, see `ankleseg.predict.recipe`.
        seed: of what is drawn inside the network (dropout).
    """

    def __init__(
        self,
        *,
        network: nn.Module,
        optimizer: MakeOptimizer,
        scheduler: MakeScheduler | None = None,
        recipe: Mapping[str, Any] | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.network = network
        self._make_optimizer = optimizer
        self._make_scheduler = scheduler
        self._recipe = dict(recipe or {})
        self._seed = seed

    def forward(self, image: Tensor) -> Tensor:
        return self.network(image)

    @abstractmethod
    def training_step(self, batch: Mapping[str, Any], batch_index: int) -> Tensor | None: ...

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        # Seeded anew in each step, so that a resumed run draws the dropout masks of an uninterrupted one: what else
        # draws from the global generator, such as the start of a data loader, differs between the two.
        torch.manual_seed(self._seed * 1_000_003 + self.global_step)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint[RECIPE] = self._recipe

    def configure_optimizers(self) -> Any:
        optimizer = self._make_optimizer(p for p in self.parameters() if p.requires_grad)
        if self._make_scheduler is None:
            return optimizer
        scheduler = self._make_scheduler(optimizer, total_steps=int(self.trainer.estimated_stepping_batches))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}
