"""Segmentation: patches in training, whole volumes in validation."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, final

import numpy as np
from jaxtyping import Float
from torch import Tensor, nn

from ankleseg import keys
from ankleseg.losses import L2SP, deep_supervision
from ankleseg.networks.blocks import channels_last
from ankleseg.networks.parts import modules_in, parameters_of
from ankleseg.tasks.base import Sample, Scores, Task, ValidatedCase


@final
class Segmentation(Task):
    """Segment structures that exclude each other, or regions that may lie inside each other.

    Logs ``train/loss``, ``val/dice_<structure>`` and ``val/dice``, the mean over structures of the mean over
    volumes; a structure that is neither in the reference nor predicted does not count, nor does one whose reference
    is not known.

    Args:
        loss: called with logits (B, K, *spatial) and label, (B, 1, *spatial) or of regions (B, K, *spatial), and with
            known (B, structures) where the references of some structures are not to be believed. Of a network with
            deep supervision, which in training gives a list of logits, it is that of each, see
            `ankleseg.losses.deep_supervision`.
        penalty: regularisation, called with the network and added to the loss.
        others: see `Task`.
    """

    headlines = ("dice",)
    in_progress_bar = ("dice",)

    def __init__(self, *, loss: nn.Module, penalty: Callable[[nn.Module], Tensor] | None = None, **others: Any) -> None:
        super().__init__(**others)
        self.loss = loss
        self.penalty = penalty
        if isinstance(penalty, L2SP):
            anew = modules_in(self.network, penalty.anew, "task.penalty.anew")
            penalty.start_from(self.network, parameters_of(anew))

    def training_step(self, batch: Mapping[str, Any], batch_index: int) -> Tensor:
        image, label = batch[keys.IMAGE], batch[keys.LABEL]
        # MONAI's networks do not lay volumes so themselves: its BasicUNet takes 0.77 of the time
        outputs = self(channels_last(image) if image.ndim == 5 else image)
        known = [batch[keys.KNOWN]] if keys.KNOWN in batch else []
        if isinstance(outputs, Tensor):
            loss = self.loss(outputs, label, *known)
        else:
            loss = deep_supervision(self.loss, outputs, label, *known)
        self.log("train/loss", loss, on_step=False, on_epoch=True, sync_dist=True, batch_size=len(label))
        if self.penalty is not None:
            penalty = self.penalty(self.network)
            self.log("train/penalty", penalty, on_step=False, on_epoch=True, sync_dist=True, batch_size=len(label))
            loss = loss + penalty
        return loss

    def scored(
        self, values: Float[np.ndarray, "values x y z"], sample: Sample, case: str
    ) -> tuple[Scores, ValidatedCase]:
        predicted, reference = self.masks_of(values, sample)
        shown = self.shown(case, sample[keys.IMAGE][0], predicted, reference)
        return self.dice_of(predicted, reference, sample), shown
