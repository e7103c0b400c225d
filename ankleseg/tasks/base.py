"""The small abstract task: an injected network, optimiser and schedule; the validation loop; what a checkpoint has."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from pytorch_lightning import LightningModule
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from ankleseg import keys
from ankleseg.errors import ConfigError
from ankleseg.inference import VolumeInferer
from ankleseg.inference.model import DESCRIPTION
from ankleseg.labels import Labels
from ankleseg.measures import overlap
from ankleseg.networks import for_inference
from ankleseg.networks.parts import modules_in, parameters_of, rates_by_level

MakeOptimizer = Callable[[Iterable[nn.Parameter]], Optimizer]
MakeScheduler = Callable[..., LRScheduler]
Scores = dict[str, float | None]
Sample = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class ValidatedCase:
    """A whole validation volume to be looked at: its image, prediction and reference (X, Y, Z).

    With ``structures`` the latter two are label maps, k the k-th structure, without they are images. The slice with
    most of ``inside`` is the one to show.
    """

    case: str
    image: np.ndarray
    prediction: np.ndarray
    reference: np.ndarray
    inside: np.ndarray
    structures: tuple[str, ...] = ()


class Task(LightningModule, ABC):
    """What all tasks share.

    In validation a whole volume is predicted, and a subclass scores it in `scored`. A score is logged as
    ``val/<name>``, the mean over the volumes to which it applies; one that applies to none is not logged, except the
    ``headlines``, which are 0 then. With scores ``dice_<structure>`` there is a ``val/dice``, the mean over structures.

    Args:
        network: gives images and logits.
        labels: what its outputs are.
        validation: how a whole volume is predicted; None where a subclass does it in `predicted`.
        optimizer: called with the parameters.
        scheduler: called with the optimiser and ``total_steps``; stepped after every batch. None: constant rate.
        rates: factors on the learning rate of parts of the network, by part (such as ``contraction``), path of a module
            or pattern; the other parts have 1. A number is a factor from each level to the one before it, see
            `rates_by_level`.
        description: plain types that travel in the checkpoint, see `ankleseg.inference.description`.
        seed: of what is drawn inside the network (dropout).
    """

    headlines: tuple[str, ...] = ()
    in_progress_bar: tuple[str, ...] = ()

    def __init__(
        self,
        *,
        network: nn.Module,
        labels: Labels,
        validation: VolumeInferer | None = None,
        optimizer: MakeOptimizer,
        scheduler: MakeScheduler | None = None,
        rates: Mapping[str, float] | float | None = None,
        description: Mapping[str, Any] | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.network = network
        self.labels = labels
        self.validation = validation
        self._make_optimizer = optimizer
        self._make_scheduler = scheduler
        self._rates = rates_by_level(network, rates) if isinstance(rates, int | float) else dict(rates or {})
        self._description = dict(description or {})
        self._seed = seed
        self._scores: list[Scores] = []
        self._inference: nn.Module | None = None

    def forward(self, image: Tensor) -> Tensor:
        return self.network(image)

    @abstractmethod
    def training_step(self, batch: Mapping[str, Any], batch_index: int) -> Tensor | None: ...

    @abstractmethod
    def scored(
        self, values: Float[np.ndarray, "values x y z"], sample: Sample, case: str
    ) -> tuple[Scores, ValidatedCase]:
        """Score a validation volume.

        Args:
            values: images, then the probability of each structure.
            sample: what the batch holds of it, (C, X, Y, Z) arrays by their key.
            case: its name.

        Returns:
            Scores by name, None where one does not apply; and what is to be looked at.
        """

    def check_patches(self, sizes: Sequence[tuple[int, Sequence[int]]], epochs: float = math.inf) -> None:
        """Refuse patches that a network will not take, before anything is prepared.

        Args:
            sizes: sides of the patches, each with the first epoch that has them.
            epochs: of the training.

        Raises:
            ConfigError: a side is no multiple of the network's divisor, or too short.
        """
        for _, size in sizes:
            check_divisible(size, self.network, "the network")

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        # Seeded anew in each step, so that a resumed run draws the dropout masks of an uninterrupted one: what else
        # draws from the global generator, such as the start of a data loader, differs between the two.
        torch.manual_seed(self._seed * 1_000_003 + self.global_step)

    def on_validation_epoch_start(self) -> None:
        self._scores = []
        self._inference = for_inference(self.network)

    def validation_step(self, batch: Mapping[str, Any], batch_index: int) -> dict[str, ValidatedCase]:
        sample = {key: value[0].cpu().numpy() for key, value in batch.items() if isinstance(value, Tensor)}
        scores, shown = self.scored(self.predicted(batch, sample), sample, batch[keys.CASE][0])
        self._scores.append(scores)
        return {"case": shown}

    def predicted(self, batch: Mapping[str, Any], sample: Sample) -> Float[np.ndarray, "values x y z"]:
        """Predict a validation volume: images, then the probability of each structure.

        Args:
            batch: of this one volume.
            sample: what it holds, as arrays.
        """
        conditional = getattr(self.network, "conditional", False)
        assert self._inference is not None and self.validation is not None
        values = self.validation(
            batch[keys.IMAGE][:1].cpu(),
            self._inference,
            foreground=sample[keys.FOREGROUND],
            activate=self.labels.activate,
            fill=len(self.labels.images),
            slice_thickness=float(sample[keys.SLICE_THICKNESS]) if conditional else None,
        )
        return values[0].numpy()

    def on_validation_epoch_end(self) -> None:
        self._inference = None
        known: dict[str, list[float]] = {}
        for name, score in (item for scores in self._scores for item in scores.items()):
            known.setdefault(name, []).extend([] if score is None else [score])
        means = dict.fromkeys(self.headlines, 0.0)
        means |= {name: float(np.mean(values)) for name, values in known.items() if values}
        if dice := [value for name, value in means.items() if name.startswith("dice_")]:
            means["dice"] = float(np.mean(dice))
        for name, value in means.items():
            self.log(f"val/{name}", value, prog_bar=name in self.in_progress_bar)

    def masks_of(
        self, values: Float[np.ndarray, "values x y z"], sample: Sample
    ) -> tuple[Bool[np.ndarray, "structures x y z"], Bool[np.ndarray, "structures x y z"]]:
        """Mask of each structure as predicted, and as in the label."""
        return self.labels.decode(values[len(self.labels.images) :]), self.labels.masks(sample[keys.LABEL])

    def shown(self, case: str, image: np.ndarray, predicted: np.ndarray, reference: np.ndarray) -> ValidatedCase:
        """An image and masks to be looked at."""
        drawn = self.labels.label_map
        return ValidatedCase(
            case, image, drawn(predicted), drawn(reference), np.any(reference, axis=0), self.labels.structures
        )

    def dice_of(
        self,
        predicted: Bool[np.ndarray, "structures x y z"],
        reference: Bool[np.ndarray, "structures x y z"],
        sample: Sample,
    ) -> Scores:
        """Dice of each structure, None where both masks are empty or the reference is not known.

        By `ankleseg.measures`: MONAI's `DiceMetric` leaves out a structure that is invented, or counts one that is
        absent from both as right.
        """
        known = sample.get(keys.KNOWN, np.ones(len(self.labels), dtype=bool))
        return {
            f"dice_{name}": overlap(predicted[k], reference[k]).dice if known[k] else None
            for k, name in enumerate(self.labels.structures)
        }

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        shapes = getattr(self.trainer.datamodule, "shapes", None)  # type: ignore[attr-defined]
        checkpoint[DESCRIPTION] = self._description | ({} if shapes is None else {"shapes": shapes.to_plain()})

    def configure_optimizers(self) -> Any:
        optimizer = self._optimizer(p for p in self.parameters() if p.requires_grad)
        if self._make_scheduler is None:
            return optimizer
        scheduler = self._make_scheduler(optimizer, total_steps=int(self.trainer.estimated_stepping_batches))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def _optimizer(self, parameters: Iterable[nn.Parameter]) -> Optimizer:
        """An optimiser in which the parts of the network named in ``rates`` have a rate of their own.

        Raises ConfigError where the network has no such part, see `modules_in`.
        """
        if not self._rates:
            return self._make_optimizer(parameters)
        held = {name: parameters_of(modules_in(self.network, [name], "task.rates")) for name in self._rates}
        slow = sorted(held, key=lambda name: (len(held[name]), -len(name)))  # what lies deeper has its own rate
        others = {id(parameter): parameter for parameter in parameters}
        groups: list[dict[str, Any]] = [
            {"params": [others.pop(id(p)) for p in held[name] if id(p) in others]} for name in slow
        ]
        make: Callable[..., Optimizer] = self._make_optimizer
        optimizer = make([{"params": list(others.values())}, *groups])
        for group, name in zip(optimizer.param_groups[1:], slow, strict=True):
            group["lr"] *= self._rates[name]
        return optimizer


def check_divisible(size: Sequence[int], network: nn.Module, name: str) -> None:
    """Refuse patches whose sides a network will not take, as far as it says; raises ConfigError that names it."""
    divisor, shortest = (int(getattr(network, key, 1)) for key in ("divisor", "shortest"))
    if any(side % divisor for side in size) or min(size) < shortest:
        least = f" of at least {shortest}" if shortest > divisor else ""
        raise ConfigError(
            f"patches of {' × '.join(map(str, size))} voxels do not suit {name}",
            mend=f"choose multiples of {divisor}{least} as sides in patches.sampler.size and patches.schedule",
        )
