"""The z-score by the constants of a training cohort."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Float
from monai.config import KeysCollection

from ankleseg import keys as names
from ankleseg.errors import ConfigError
from ankleseg.transforms.intensity_scale import Scale, ScaleInMaskd, require_contrast


class NormalizeByCohortd(ScaleInMaskd):
    """Subtract the mean of a training cohort and divide by its standard deviation, in every channel (Gros 2019).

    MONAI's ``NormalizeIntensityd`` takes constants too; it learns none, and cannot be undone. Where none are given,
    training learns them of the images of its cohort, and they travel in the checkpoint.

    Args:
        keys: images (C, X, Y, Z).
        mean, std: of each channel, or one number for all; None: not learnt yet.
        mask_key, allow_missing_keys: see `ScaleInMaskd`; inside the mask they are learnt.

    Raises:
        ConfigError: a standard deviation is not above 0; or, when called, nothing was learnt, or of another number of
            channels.
    """

    def __init__(
        self,
        keys: KeysCollection,
        mean: float | Sequence[float] | None = None,
        std: float | Sequence[float] | None = None,
        mask_key: str = names.FOREGROUND,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, mask_key, allow_missing_keys)
        self.mean = None if mean is None else np.atleast_1d(np.asarray(mean, dtype=float))
        self.std = None if std is None else np.atleast_1d(np.asarray(std, dtype=float))
        if self.std is not None and not (self.std > 0).all():
            raise ConfigError(f"invalid std {std}: expected numbers above 0", mend="correct it, or set it to null")

    @property
    def learnt(self) -> bool:
        """Whether it has its constants."""
        return self.mean is not None and self.std is not None

    def learn(self, images: Iterable[tuple[Float[np.ndarray, "c x y z"], Bool[np.ndarray, "x y z"]]]) -> dict[str, Any]:
        """The arguments that a cohort teaches: mean and standard deviation of all its voxels in their masks.

        Args:
            images: of each case, and the mask.
        """
        sums: list[Any] = [0, 0.0, 0.0]
        for image, mask in images:
            values = np.asarray(image, dtype=np.float64)[:, mask]
            sums = [sums[0] + values.shape[1], sums[1] + values.sum(axis=1), sums[2] + (values**2).sum(axis=1)]
        mean = sums[1] / sums[0]
        std = np.sqrt(np.maximum(sums[2] / sums[0] - mean**2, 0))
        for level, spread in zip(mean.tolist(), std.tolist(), strict=True):
            require_contrast(spread, level)
        return {
            "mean": [round(value, 6) for value in mean.tolist()],
            "std": [round(value, 6) for value in std.tolist()],
        }

    def _scale_of(self, image: Any, channel: int, inside: Bool[np.ndarray, "*spatial"]) -> Scale:
        if self.mean is None or self.std is None:
            raise ConfigError("NormalizeByCohortd has no mean and std", mend="train with it, or give them")
        if len(self.mean) not in (1, len(image)) or len(self.std) not in (1, len(image)):
            raise ConfigError(
                f"NormalizeByCohortd has a mean of {len(self.mean)} channels: expected {len(image)}",
                mend="give one number, or one a channel",
            )
        return Scale(float(self.mean[channel % len(self.mean)]), float(self.std[channel % len(self.std)]))

    def scale(self, values: Float[np.ndarray, " n"]) -> Scale:
        raise NotImplementedError  # it does not depend on the scan
