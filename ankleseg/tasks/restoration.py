"""Restoration: an image becomes another one; patches in training, whole images in validation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, final

import numpy as np
from torch import Tensor, nn

from ankleseg import keys
from ankleseg.measures.image_quality import correlation, psnr
from ankleseg.networks import for_inference
from ankleseg.predict import WholeVolume
from ankleseg.tasks.base import Task

Peak = float | str


@dataclass(frozen=True)
class RestoredCase:
    """A whole validation image (X, Y, Z), what it became, and what it was to become where ``scored``."""

    case: str
    image: np.ndarray
    restored: np.ndarray
    target: np.ndarray
    scored: np.ndarray


@final
class Restoration(Task):
    """Turn an image into another: a frame into the static scan, a noisy scan into one without noise.

    Logs ``train/loss``, and of whole images in the prepared scale ``val/psnr``, ``val/correlation`` and, of the image
    as it comes in, ``val/psnr_input`` and ``val/correlation_input``: means over the images, inside what is scored.

    Args:
        loss: called with output and target (B, 1, *spatial) and correlation (B,); its parameters are trained too.
        validation: how a whole image is predicted.
        peak: of the PSNR: an intensity, ``maximum`` of the target or its ``range``. Published is 3.0, of z-scored
            images.
        others: see `Task`.
    """

    def __init__(self, *, loss: nn.Module, validation: WholeVolume, peak: Peak = 3.0, **others: Any) -> None:
        super().__init__(**others)
        self.loss = loss
        self.validation = validation
        self.peak = peak
        self._scores: list[dict[str, float | None]] = []
        self._inference: nn.Module | None = None

    def training_step(self, batch: Mapping[str, Any], batch_index: int) -> Tensor:
        output = self(batch[keys.IMAGE])
        loss = self.loss(output, batch[keys.TARGET], batch.get(keys.CORRELATION))
        self.log("train/loss", loss, on_step=False, on_epoch=True, batch_size=len(output))
        return loss

    def on_validation_epoch_start(self) -> None:
        self._scores = []
        self._inference = for_inference(self.network)

    def validation_step(self, batch: Mapping[str, Any], batch_index: int) -> dict[str, RestoredCase]:
        image = batch[keys.IMAGE][0].cpu()
        target, label, foreground = (
            batch[key].reshape(image.shape[1:]).cpu().numpy() for key in (keys.TARGET, keys.LABEL, keys.FOREGROUND)
        )
        assert self._inference is not None
        restored = self.validation(self._inference, image, foreground)[0].numpy()
        scored = (label > 0) & foreground
        self._scores.append(
            {
                f"{name}{suffix}": measure
                for suffix, shown in (("", restored), ("_input", image[0].numpy()))
                for name, measure in (
                    ("psnr", psnr(shown, target, peak=self.peak, mask=scored)),
                    ("correlation", correlation(shown, target, mask=scored)),
                )
            }
        )
        return {"case": RestoredCase(batch[keys.CASE][0], image[0].numpy(), restored, target, scored)}

    def on_validation_epoch_end(self) -> None:
        self._inference = None
        for name in self._scores[0] if self._scores else ():
            known = [value for scores in self._scores if (value := scores[name]) is not None]
            self.log(f"val/{name}", float(np.mean(known)) if known else 0.0, prog_bar="input" not in name)
