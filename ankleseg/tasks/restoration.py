"""Restoration: an image becomes another one; patches in training, whole images in validation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, final

import numpy as np
from torch import Tensor, nn

from ankleseg import keys
from ankleseg.inference import WholeVolume
from ankleseg.measures.image_quality import correlation, psnr
from ankleseg.networks import for_inference
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
    as it comes in, ``val/psnr_input`` and ``val/correlation_input``: means over the images of means over the structures
    of the label, each inside itself.

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
        self._scores: list[dict[str, float]] = []
        self._inference: nn.Module | None = None

    def training_step(self, batch: Mapping[str, Any], batch_index: int) -> Tensor:
        output = self(batch[keys.IMAGE])
        loss = self.loss(output, batch[keys.TARGET], batch.get(keys.CORRELATION))
        self.log("train/loss", loss, on_step=False, on_epoch=True, sync_dist=True, batch_size=len(output))
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
        label = np.where(foreground, label, 0)
        self._scores.append(
            _scores(restored, target, label, self.peak, "")
            | _scores(image[0].numpy(), target, label, self.peak, "_input")
        )
        return {"case": RestoredCase(batch[keys.CASE][0], image[0].numpy(), restored, target, label > 0)}

    def on_validation_epoch_end(self) -> None:
        self._inference = None
        for name in ("psnr", "correlation", "psnr_input", "correlation_input"):
            known = [scores[name] for scores in self._scores if name in scores]
            self.log(f"val/{name}", float(np.mean(known)) if known else 0.0, prog_bar="input" not in name)


def _scores(image: np.ndarray, target: np.ndarray, label: np.ndarray, peak: Peak, suffix: str) -> dict[str, float]:
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
