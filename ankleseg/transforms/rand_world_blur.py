"""`RandWorldBlurd`: a Gaussian blur in millimetres."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import torch
from jaxtyping import Float
from monai.config import KeysCollection
from monai.transforms import MapTransform, RandomizableTransform
from torch import Tensor

from ankleseg.transforms.in_range import strength_of
from ankleseg.transforms.metadata import affine_of, with_meta_of, without_meta
from ankleseg.volumes.geometry import spacing

LEAST = 0.2  # voxels; a narrower Gaussian leaves the neighbours a millionth
LOG_ZERO = -20.0  # weights below e^-20 count as e^-20: numbers that are almost zero make the processor slow


class RandWorldBlurd(RandomizableTransform, MapTransform):
    """Blur by a Gaussian of random width in millimetres, the same along every axis.

    MONAI's `RandGaussianSmoothd` is wrong for us: its widths are in voxels and drawn for each axis on its own, so that
    one setting blurs scans of other spacings differently; and it is slower, 0.33 ms for 96×96 against 0.17 ms
    (``benchmarks/transforms.py``, one thread).

    Args:
        keys: images (C, *patch); all get the same blur.
        prob: probability that anything is changed.
        sigma: largest standard deviation in mm, drawn evenly from 0.

    Raises:
        ConfigError: the width is negative, or the affine is not known.
    """

    def __init__(
        self, keys: KeysCollection, prob: float = 1.0, sigma: float = 0.4, allow_missing_keys: bool = False
    ) -> None:
        MapTransform.__init__(self, keys, allow_missing_keys)
        RandomizableTransform.__init__(self, prob)
        self.sigma = strength_of("sigma", sigma)
        self._sigma = 0.0

    def randomize(self, data: Any = None) -> None:
        """Draw the width, whether it is then used or not."""
        super().randomize(data)
        self._sigma = self.sigma * float(self.R.random_sample())

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        sample = dict(data)
        self.randomize()
        if not self._do_transform or not self._sigma:
            list(self.key_iterator(sample))  # a missing key is told, drawn or not
            return sample
        for key in self.key_iterator(sample):
            source = sample[key]
            image = without_meta(source)
            mm = spacing(affine_of(source, sample))[: image.ndim - 1].tolist()
            image = image if image.is_floating_point() else image.float()
            sample[key] = with_meta_of(source, _blurred(image, self._sigma, mm))
        return sample


def _blurred(image: Float[Tensor, "c *patch"], sigma: float, mm: list[float]) -> Float[Tensor, "c *patch"]:
    """Blur one axis after the other, by a matrix of weights whose rows add up to one."""
    for axis, side in enumerate(mm, start=1):
        width = sigma / side
        if width >= LEAST:
            place = torch.arange(image.shape[axis], dtype=image.dtype) / width
            weights = (place[:, None] - place[None, :]).square_().mul_(-0.5).clamp_min_(LOG_ZERO).exp_()
            weights /= weights.sum(1, keepdim=True)
            image = (image.movedim(axis, -1) @ weights.T).movedim(-1, axis)
    return image.contiguous()
