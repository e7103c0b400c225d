"""Segmentation: patches in training, whole volumes in validation."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np
import torch
from torch import Tensor, nn

from ankleseg import keys
from ankleseg.inference import WholeVolume, label_map
from ankleseg.measures import overlap
from ankleseg.networks import for_inference
from ankleseg.tasks.base import Task


@dataclass(frozen=True)
class ValidatedCase:
    """A whole validation volume: its image, label and prediction (X, Y, Z); label k is the k-th structure."""

    case: str
    image: np.ndarray
    label: np.ndarray
    prediction: np.ndarray
    structures: tuple[str, ...]


@final
class Segmentation(Task):
    """Segment one structure by a sigmoid, or several by a softmax.

    Logs ``train/loss``, ``val/dice_<structure>`` and ``val/dice``, the mean over structures of the mean over
    volumes; a structure that is neither in the reference nor predicted does not count, nor does one whose reference
    is not known.

    Args:
        loss: called with logits (B, K, *spatial) and label (B, 1, *spatial), and with known (B, structures) where the
            references of some structures are not to be believed.
        structures: their names, in the order of the labels.
        validation: how a whole validation volume is predicted.
        penalty: regularisation, called with the network and added to the loss.
        others: see `Task`.
    """

    def __init__(
        self,
        *,
        loss: nn.Module,
        structures: Sequence[str],
        validation: WholeVolume,
        penalty: Callable[[nn.Module], Tensor] | None = None,
        **others: Any,
    ) -> None:
        super().__init__(**others)
        self.loss = loss
        self.penalty = penalty
        self.structures = tuple(structures)
        self.validation = validation
        self._validated: list[dict[str, float | None]] = []
        self._inference: nn.Module | None = None

    def training_step(self, batch: Mapping[str, Any], batch_index: int) -> Tensor:
        logits = self(batch[keys.IMAGE])
        known = [batch[keys.KNOWN]] if keys.KNOWN in batch else []
        loss = self.loss(logits, batch[keys.LABEL], *known)
        self.log("train/loss", loss, on_step=False, on_epoch=True, sync_dist=True, batch_size=len(logits))
        if self.penalty is not None:
            penalty = self.penalty(self.network)
            self.log("train/penalty", penalty, on_step=False, on_epoch=True, sync_dist=True, batch_size=len(logits))
            loss = loss + penalty
        return loss

    def on_validation_epoch_start(self) -> None:
        self._validated = []
        self._inference = for_inference(self.network)

    def validation_step(self, batch: Mapping[str, Any], batch_index: int) -> dict[str, ValidatedCase]:
        image, label, foreground = (batch[k][0] for k in (keys.IMAGE, keys.LABEL, keys.FOREGROUND))
        assert self._inference is not None
        probabilities = self.validation(self._inference, image.cpu(), foreground.reshape(image.shape[1:]).cpu().numpy())
        prediction = label_map(probabilities.numpy())
        reference = label.reshape(image.shape[1:]).cpu().numpy()
        known = batch[keys.KNOWN][0].tolist() if keys.KNOWN in batch else [True] * len(self.structures)
        dice = {
            name: overlap(prediction == k, reference == k).dice if known[k - 1] else None
            for k, name in enumerate(self.structures, start=1)
        }
        self._validated.append(dice)
        case = ValidatedCase(batch[keys.CASE][0], image[0].cpu().numpy(), reference, prediction, self.structures)
        return {"case": case}

    def on_validation_epoch_end(self) -> None:
        self._inference = None
        means = []
        for name in self.structures:
            values = [dice[name] for dice in self._validated if dice[name] is not None]
            if values:
                means.append(float(np.mean(values)))  # type: ignore[arg-type]
                self.log(f"val/dice_{name}", means[-1])
        self.log("val/dice", torch.tensor(np.mean(means) if means else 0.0, dtype=torch.float32), prog_bar=True)
