"""Datasets: random patches for training, whole volumes for validation."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import distributed
from torch.utils.data import Dataset, Sampler

from ankleseg import keys
from ankleseg.data.augmentation import Augmentation, AugmentationDraw
from ankleseg.data.sampling import PatchSampler, PatchWindows, Window
from ankleseg.data.schedule import PatchSchedule
from ankleseg.data.source import UNCHANGED, PatchSource
from ankleseg.transforms import PreparedCase


class PatchDataset(Dataset):
    """Random patches of prepared cases, drawn when they are asked for.

    Everything random in a patch follows from the seed, the epoch and the number of the patch: the same patch comes
    from any worker, in any order. The epoch travels in the index (see `EpochSampler`).

    Args:
        cases: each scan is as likely as any other, and each sequence as a scan; then each of its frames.
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
        self._scans = _by_scan(cases)
        self._known = _known(cases)
        self._augmentation = augmentation
        self._length = length
        self._seed = seed

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        """Patch ``index % length`` of epoch ``index // length``: image (C, *patch), label (1, *patch), known (K,)."""
        _, chosen, window, draw = self._drawn(index)
        image, label = self._sources[chosen].cut(window, draw)
        sample = {keys.IMAGE: image, keys.LABEL: label}
        if self._known is not None:
            sample[keys.KNOWN] = _swapped(self._known[chosen], draw.swap)
        return sample

    def _drawn(self, index: int) -> tuple[np.random.Generator, int, Window, AugmentationDraw]:
        """Generator, case, window and changes of a patch."""
        epoch, number = divmod(int(index), self._length)
        rng = np.random.default_rng((self._seed, epoch, number))
        step = self._schedule.step(epoch)
        frames = self._scans[int(rng.integers(len(self._scans)))]
        chosen = frames[int(rng.integers(len(frames)))] if len(frames) > 1 else frames[0]
        window = self._windows[step][chosen].draw(rng)
        return rng, chosen, window, self._augmentation.draw(rng, window.dimensions) if self._augmentation else UNCHANGED


class EpochSampler(Sampler[int]):
    """Indices ``epoch * length + i``; the trainer tells the epoch by `set_epoch`.

    Of several processes each takes every so-manieth index, so that their batches together are those of a single
    process with a batch as large as theirs together.
    """

    def __init__(self, length: int) -> None:
        self._length = length
        self._epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Say which epoch is next."""
        self._epoch = epoch

    def __len__(self) -> int:
        return self._length // _place()[1]

    def __iter__(self) -> Iterator[int]:
        first = self._epoch * self._length
        rank, processes = _place()
        return iter(range(first + rank, first + len(self) * processes, processes))


def _place() -> tuple[int, int]:
    """Number of this process and of all that train together."""
    together = distributed.is_available() and distributed.is_initialized()
    return (distributed.get_rank(), distributed.get_world_size()) if together else (0, 1)


class VolumeDataset(Dataset):
    """Whole prepared cases."""

    def __init__(self, cases: Sequence[PreparedCase]) -> None:
        self._cases = cases

    def __len__(self) -> int:
        return len(self._cases)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Image (C, X, Y, Z), label and foreground (1, X, Y, Z), known (K,) and name of a case."""
        case = self._cases[index]
        known = {} if case.known is None else {keys.KNOWN: torch.tensor(case.known)}
        return known | {
            keys.IMAGE: torch.from_numpy(case.image),
            keys.LABEL: torch.from_numpy(case.label)[None].long(),
            keys.FOREGROUND: torch.from_numpy(case.foreground)[None],
            keys.CASE: case.name,
        }


def _by_scan(cases: Sequence[PreparedCase]) -> list[list[int]]:
    """Numbers of the cases, those of one sequence together."""
    scans: dict[Any, list[int]] = {}
    for number, case in enumerate(cases):
        scans.setdefault(number if case.sequence is None else case.sequence, []).append(number)
    return list(scans.values())


def _known(cases: Sequence[PreparedCase]) -> list[torch.Tensor] | None:
    """Which structures are known in each case, (K,) bool; None where all are in every case."""
    found = next((case.known for case in cases if case.known is not None), None)
    if found is None:
        return None
    return [torch.tensor(case.known or (True,) * len(found)) for case in cases]


def _swapped(known: torch.Tensor, pairs: Sequence[tuple[int, int]]) -> torch.Tensor:
    """Follow structures that change places in a flip; pairs of labels."""
    order = list(range(len(known)))
    for a, b in pairs:
        order[a - 1], order[b - 1] = b - 1, a - 1
    return known[order]


def batch_of_one(samples: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Make a batch of a single volume without copying it."""
    (sample,) = samples
    return {name: value[None] if isinstance(value, torch.Tensor) else [value] for name, value in sample.items()}
