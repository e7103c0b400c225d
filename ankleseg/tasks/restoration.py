"""Restoration: an image becomes another one; patches in training, whole images in validation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, final

import numpy as np
from jaxtyping import Float
from torch import Tensor, nn

from ankleseg import keys
from ankleseg.measures.image_quality import correlation, psnr
from ankleseg.tasks.base import Sample, Scores, Task, ValidatedCase

Peak = float | str


@final
class Restoration(Task):
    """Turn an image into another: a frame into the static scan, a noisy scan into one without noise.

    Logs ``train/loss``, and of whole images in the prepared scale ``val/psnr``, ``val/correlation`` and, of the image
    as it comes in, ``val/psnr_input`` and ``val/correlation_input``: means over the images of means over the structures
    of the label, each inside itself (MONAI's `PSNRMetric` knows no mask).

    Args:
        loss: called with output and target (B, 1, *spatial) and correlation (B,); its parameters are trained too.
        peak: of the PSNR: an intensity, ``maximum`` of the target or its ``range``. Published is 3.0, of z-scored
            images.
        others: see `Task`.
    """

    headlines = ("psnr", "correlation", "psnr_input", "correlation_input")
    in_progress_bar = ("psnr", "correlation")

    def __init__(self, *, loss: nn.Module, peak: Peak = 3.0, **others: Any) -> None:
        super().__init__(**others)
        self.loss = loss
        self.peak = peak

    def training_step(self, batch: Mapping[str, Any], batch_index: int) -> Tensor:
        output = self(batch[keys.IMAGE])
        loss = self.loss(output, batch[keys.TARGET], batch.get(keys.CORRELATION))
        self.log("train/loss", loss, on_step=False, on_epoch=True, sync_dist=True, batch_size=len(output))
        return loss

    def scored(
        self, values: Float[np.ndarray, "values x y z"], sample: Sample, case: str
    ) -> tuple[Scores, ValidatedCase]:
        image, target, label, foreground = (
            sample[key].reshape(values.shape[1:]) if key != keys.IMAGE else sample[key][0]
            for key in (keys.IMAGE, keys.TARGET, keys.LABEL, keys.FOREGROUND)
        )
        label = np.where(foreground, label, 0)
        scores = _scores(values[0], target, label, self.peak, "") | _scores(image, target, label, self.peak, "_input")
        return scores, ValidatedCase(case, image, values[0], target, label > 0)


def _scores(image: np.ndarray, target: np.ndarray, label: np.ndarray, peak: Peak, suffix: str) -> Scores:
    """Mean over what the labels hold of PSNR and correlation, where they are defined."""
    found: dict[str, list[float]] = {"psnr": [], "correlation": []}
    for value in np.unique(label[label > 0]):
        inside = label == value
        for name, score in (
            ("psnr", psnr(image, target, peak=peak, mask=inside)),
            ("correlation", correlation(image, target, mask=inside)),
        ):
            found[name] += [] if score is None else [score]
    return {f"{name}{suffix}": float(np.mean(scores)) for name, scores in found.items() if scores}
