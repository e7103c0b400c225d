"""Datasets: random patches for training, whole volumes for validation."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset, Sampler

from ankleseg import keys
from ankleseg.patches.augmentation import Augmentation
from ankleseg.patches.sampling import PatchSampler, PatchWindows
from ankleseg.patches.schedule import PatchSchedule
from ankleseg.patches.source import UNCHANGED, PatchSource
from ankleseg.prepare import PreparedCase


class PatchDataset(Dataset):
    """Random patches of prepared cases, drawn when they are asked for.

    Everything random in a patch follows from the seed, the epoch and the number of the patch: the same patch comes
    from any worker, in any order. The epoch travels in the index (see `EpochSampler`).

    Args:
        cases: each is as likely as any other.
        sampler: size of the patches and where they may lie.
        augmentation: what is changed at random; None leaves patches as they are.
        length: patches in an epoch.
        seed: of all draws.
        schedule: steps of the patch size (see `PatchSchedule`).

    Raises:
        CohortError: in a case no window of some step holds enough foreground.
    """

    def __init__(
        self,
        cases: Sequence[PreparedCase],
        sampler: PatchSampler,
        augmentation: Augmentation | None = None,
        *,
        length: int,
        seed: int = 0,
        schedule: Sequence[Mapping[str, Any]] = (),
    ) -> None:
        self._schedule = PatchSchedule(sampler, schedule)
        self._sources = [PatchSource(case) for case in cases]
        self._windows = [[PatchWindows(case, step) for case in cases] for step in self._schedule.samplers]
        self._augmentation = augmentation
        self._length = length
        self._seed = seed

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        """Patch ``index % length`` of epoch ``index // length``: image (C, *patch), label (1, *patch)."""
        epoch, number = divmod(int(index), self._length)
        rng = np.random.default_rng((self._seed, epoch, number))
        step = self._schedule.step(epoch)
        chosen = int(rng.integers(len(self._sources)))
        window = self._windows[step][chosen].draw(rng)
        draw = self._augmentation.draw(rng, window.dimensions) if self._augmentation else UNCHANGED
        image, label = self._sources[chosen].cut(window, draw)
        return {keys.IMAGE: image, keys.LABEL: label}


class EpochSampler(Sampler[int]):
    """Indices ``epoch * length + i``; the trainer tells the epoch by `set_epoch`."""

    def __init__(self, length: int) -> None:
        self._length = length
        self._epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Say which epoch is next."""
        self._epoch = epoch

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[int]:
        first = self._epoch * self._length
        return iter(range(first, first + self._length))


class VolumeDataset(Dataset):
    """Whole prepared cases."""

    def __init__(self, cases: Sequence[PreparedCase]) -> None:
        self._cases = cases

    def __len__(self) -> int:
        return len(self._cases)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Image (C, X, Y, Z), label and foreground (1, X, Y, Z) and name of a case."""
        case = self._cases[index]
        return {
            keys.IMAGE: torch.from_numpy(case.image),
            keys.LABEL: torch.from_numpy(case.label)[None].long(),
            keys.FOREGROUND: torch.from_numpy(case.foreground)[None],
            keys.CASE: case.name,
        }


def batch_of_one(samples: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Make a batch of a single volume without copying it."""
    (sample,) = samples
    return {name: value[None] if isinstance(value, torch.Tensor) else [value] for name, value in sample.items()}
