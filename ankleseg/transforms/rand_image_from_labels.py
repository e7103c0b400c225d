"""`RandImageFromLabelsd`: images of random contrast, made of label maps."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform, RandomizableTransform
from monai.utils import ensure_tuple_rep
from torch import Tensor

from ankleseg import keys as names
from ankleseg.errors import ConfigError
from ankleseg.transforms.in_range import strength_of
from ankleseg.transforms.metadata import with_meta_of, without_meta

NEARLY = 0.08  # of the brightest: by which labels that look alike differ, at most


class RandImageFromLabelsd(RandomizableTransform, MapTransform):
    """Put an image of random contrast in the place of a scan: each label its own brightness, and noise (Hoffmann 2022).

    MONAI has none. A network that was trained on such images, each of a pair with a contrast of its own, registers
    scans of any contrast without having seen one. Blur, the field of the coil and gamma follow by `RandWorldBlurd`,
    `RandCoilFieldd` and `RandGammaInRanged`.

    Args:
        keys: images (C, *spatial) whose place is taken; each channel of each gets brightnesses of its own.
        prob: probability that an image is made.
        label_key: the label map (1, *spatial) or masks of regions (K, *spatial) that an image is made of, one or one a
            key; None: ``label``, and ``moving_label`` for ``moving``. Voxels of the background, 0, are bright or dark
            like any others.
        noise: largest standard deviation of Gaussian noise; a brightness is drawn from 0 to 1.
        black: probability that the background, 0, is black, as air is in a scan without much noise.
        alike: groups of labels that look alike in most scans, such as fat and marrow; one label map alone.
        likeness: probability that the labels of a group get one brightness, drawn for each group; they differ by up to
            0.08 then.

    Raises:
        ConfigError: the noise is negative, a probability is none, or the sample has no such label.
    """

    def __init__(
        self,
        keys: KeysCollection,
        prob: float = 1.0,
        label_key: str | Sequence[str] | None = None,
        noise: float = 0.1,
        black: float = 0.0,
        alike: Sequence[Sequence[int]] = (),
        likeness: float = 0.5,
        allow_missing_keys: bool = False,
    ) -> None:
        MapTransform.__init__(self, keys, allow_missing_keys)
        RandomizableTransform.__init__(self, prob)
        own = [names.MOVING_LABEL if key == names.MOVING else names.LABEL for key in self.keys]
        self.label_key = tuple(own) if label_key is None else ensure_tuple_rep(label_key, len(self.keys))
        self.noise = strength_of("noise", noise)
        for name, value in (("black", black), ("likeness", likeness)):
            if not 0 <= value <= 1:
                raise ConfigError(f"invalid {name} {value:g}: expected a probability", mend="choose 0 to 1")
        self.black, self.likeness = float(black), float(likeness)
        self.alike = [[int(label) for label in group] for group in alike]

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        sample = dict(data)
        self.randomize(None)
        for key, label_key in self.key_iterator(sample, self.label_key):
            if not self._do_transform:
                continue
            if label_key not in sample:
                raise ConfigError(
                    f"missing key {label_key!r}: expected the labels that {key} is made of",
                    mend="name structures, or another label_key",
                )
            source = sample[key]
            codes, parts = _parts(without_meta(sample[label_key]))
            channels = [self._image(codes, parts) for _ in range(len(source))]
            sample[key] = with_meta_of(source, torch.stack(channels))
            sample[f"{key}_range"] = torch.tensor([[0.0, 1.0]]).repeat(len(source), 1)
        return sample

    def _image(self, codes: Tensor, parts: Tensor) -> Tensor:
        brightness = self.R.random_sample(len(codes)).astype(np.float32)
        place = {int(code): number for number, code in enumerate(codes.tolist())}
        for group in self.alike:
            level, same, *apart = self.R.random_sample(2 + len(group))
            for label, by in zip(group, apart, strict=True):
                if same < self.likeness and label in place:
                    brightness[place[label]] = np.clip(level + NEARLY * (2 * by - 1), 0, 1)
        if self.black and self.R.random_sample() < self.black and 0 in place:
            brightness[place[0]] = 0.0
        deviation = self.noise * self.R.random_sample()
        grain = self.R.standard_normal(tuple(parts.shape)).astype(np.float32)
        return torch.from_numpy(brightness)[parts] + torch.from_numpy(deviation * grain).float()


def _parts(label: Tensor) -> tuple[Tensor, Tensor]:
    """What is told apart, labels or combinations of regions, and the number of each voxel among them, (*spatial)."""
    powers = 2 ** torch.arange(len(label)).reshape(-1, *[1] * (label.ndim - 1))
    codes = label[0].long() if len(label) == 1 else (label.long() * powers).sum(0)
    unique, parts = torch.unique(codes, return_inverse=True)
    return unique, parts
