"""Datasets: random patches for training, whole volumes for validation."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from monai.data import get_track_meta, set_track_meta
from monai.transforms import Compose, Randomizable, Transform
from monai.utils import ensure_tuple_rep
from torch import distributed
from torch.utils.data import Dataset, Sampler

from ankleseg import keys
from ankleseg.data.sampler import PatchSampler
from ankleseg.transforms import ForegroundWindowsd, RandForegroundCropd
from ankleseg.transforms.metadata import without_meta
from ankleseg.volumes.geometry import spacing

Sample = dict[Hashable, Any]

LABELS = (keys.LABEL, keys.MOVING_LABEL)
CUT = (keys.IMAGE, keys.TARGET, keys.MOVING, *LABELS)
BATCHED = (*CUT, keys.DISPLACEMENT, keys.KNOWN, keys.CORRELATION, keys.SLICE_THICKNESS)


class PatchTransforms:
    """Crop and augmentation of patches of one size.

    Transforms that look beyond the patch, to turn it without empty corners or to take slices that reach over its
    border, say by ``reach(size, spacing)`` how much they need; the crop leaves that much around.

    Args:
        sampler: size of the patches and where they may lie.
        augment: random MONAI dictionary transforms, applied to the patch.
        spacings: mm along the axes of the patch, of all volumes that it may be cut from.
        padding: of the crop outside the volume, ``darkest`` or ``edge``.
    """

    def __init__(
        self,
        sampler: PatchSampler,
        augment: Sequence[Transform],
        spacings: Sequence[Sequence[float]],
        padding: str = "darkest",
    ) -> None:
        self.windows = ForegroundWindowsd(
            keys.FOREGROUND, size=sampler.size, min_foreground=sampler.min_foreground, balance=sampler.balance
        )
        needed, transforms = tuple(sampler.size), list(augment)
        for number, transform in reversed(list(enumerate(transforms))):
            reach: Callable | None = getattr(transform, "reach", None)
            if reach is not None:
                sized: Any = copy.deepcopy(transform)
                sized.size = needed
                transforms[number] = sized
                needed = tuple(max(sides) for sides in zip(*(reach(needed, mm) for mm in spacings), strict=True))
        margin = [math.ceil((more - side) / 2) for more, side in zip(needed, sampler.size, strict=True)]
        crop = RandForegroundCropd(
            CUT,
            size=sampler.size,
            min_foreground=sampler.min_foreground,
            balance=sampler.balance,
            margin=margin,
            padding_mode=padding,
            allow_missing_keys=True,
        )
        self.random = Compose([crop, *transforms])


class PatchDataset(Dataset):
    """Random patches of prepared samples, drawn when they are asked for.

    Everything random in a patch follows from the seed, the epoch and the number of the patch, by MONAI's
    ``set_random_state``: the same patch comes from any worker, in any order. The epoch travels in the index (see
    `EpochSampler`).

    Args:
        samples: each scan is as likely as any other, and each sequence as a scan; then each of its frames.
        steps: transforms of the patches, one for all samples or one for each, from their first epoch on; the first from
            epoch 0.
        length: patches in an epoch.
        seed: of all draws.

    Raises:
        CohortError: in a sample no window of some step holds enough foreground.
    """

    def __init__(
        self,
        samples: Sequence[Sample],
        steps: Sequence[tuple[int, PatchTransforms | Sequence[PatchTransforms]]],
        *,
        length: int,
        seed: int = 0,
    ) -> None:
        self._epochs = [epoch for epoch, _ in steps]
        self._transforms = [ensure_tuple_rep(transforms, len(samples)) for _, transforms in steps]
        self._samples = [
            [own.windows(dict(sample)) for own, sample in zip(transforms, samples, strict=True)]
            for transforms in self._transforms
        ]
        self._scans = by_scan(samples)
        self._length = length
        self._seed = seed

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index: int) -> dict[Hashable, torch.Tensor]:
        """Patch ``index % length`` of epoch ``index // length``: image (C, *patch), label (1 or K, *patch), …"""
        epoch, number = divmod(int(index), self._length)
        return batched(self.drawn(epoch, (self._seed, epoch, number)))

    def drawn(self, epoch: int, entropy: Sequence[int]) -> Sample:
        """Draw a patch of an epoch."""
        *words, other = np.random.SeedSequence(tuple(entropy)).generate_state(5).tolist()
        state = np.random.RandomState(words)
        step = max(number for number, first in enumerate(self._epochs) if first <= epoch)
        sample, transforms = self._chosen(step, state)
        for transform in transforms.transforms:  # one stream for all: a generator for each would take longer to seed
            if isinstance(transform, Randomizable):
                transform.set_random_state(state=state)
        with without_tracking(), torch_seed(other):  # what draws from PyTorch, as transforms of torchvision do
            return transforms(sample)

    def _chosen(self, step: int, state: np.random.RandomState) -> tuple[Sample, Compose]:
        """The sample that a patch is cut from, and how."""
        frames = self._scans[state.randint(len(self._scans))]
        chosen = frames[state.randint(len(frames))]
        return dict(self._samples[step][chosen]), self._transforms[step][chosen].random


@contextmanager
def without_tracking() -> Iterator[None]:
    """Let MONAI's transforms leave plain tensors plain: metadata behind a cache would double their time."""
    before = get_track_meta()
    set_track_meta(False)
    try:
        yield
    finally:
        set_track_meta(before)


@contextmanager
def torch_seed(seed: int) -> Iterator[None]:
    """Let PyTorch draw from a seed on the CPU, and go on afterwards as if nothing had been drawn."""
    before = torch.get_rng_state()
    torch.default_generator.manual_seed(seed)
    try:
        yield
    finally:
        torch.set_rng_state(before)


def batched(sample: Sample) -> dict[Hashable, torch.Tensor]:
    """What of a sample goes into a batch, plain: some of MONAI's transforms add metadata even where none is tracked."""
    found: dict[Hashable, torch.Tensor] = {name: without_meta(sample[name]) for name in BATCHED if name in sample}
    return found | {name: found[name].long() for name in LABELS if name in found}


class EpochSampler(Sampler[int]):
    """Indices ``epoch * length + i``; the trainer tells the epoch by `set_epoch`.

    Of several processes each takes every n-th index, so that their batches together are those of a single
    process with a batch as large as theirs together.
    """

    def __init__(self, length: int) -> None:
        self._length = length
        self._epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Say which epoch is next."""
        self._epoch = epoch

    def __len__(self) -> int:
        return self._length // rank_and_processes()[1]

    def __iter__(self) -> Iterator[int]:
        first = self._epoch * self._length
        rank, processes = rank_and_processes()
        return iter(range(first + rank, first + len(self) * processes, processes))


def rank_and_processes() -> tuple[int, int]:
    """Number of this process and of all that train together."""
    together = distributed.is_available() and distributed.is_initialized()
    return (distributed.get_rank(), distributed.get_world_size()) if together else (0, 1)


class VolumeDataset(Dataset):
    """Whole prepared samples: image (C, X, Y, Z), label, foreground (1, X, Y, Z), other tensors, affine, name."""

    def __init__(self, samples: Sequence[Sample]) -> None:
        self._samples = samples

    def __len__(self) -> int:
        return len(self._samples)

    def __getitem__(self, index: int) -> Sample:
        sample = self._samples[index]
        affine = {keys.AFFINE: sample[keys.AFFINE].float()} if keys.AFFINE in sample else {}
        return batched(sample) | affine | {name: sample[name] for name in (keys.FOREGROUND, keys.CASE)}


def by_scan(samples: Sequence[Mapping[Hashable, Any]]) -> list[list[int]]:
    """Numbers of the samples, those of one sequence together."""
    scans: dict[Any, list[int]] = {}
    for number, sample in enumerate(samples):
        scans.setdefault(sample.get(keys.SEQUENCE) or number, []).append(number)
    return list(scans.values())


def spacings_of(samples: Sequence[Mapping[Hashable, Any]], dimensions: int) -> list[tuple[float, ...]]:
    """mm along the first axes of the samples, each that occurs once."""
    sides = [spacing(np.asarray(sample[keys.AFFINE]))[:dimensions] for sample in samples]
    return sorted({tuple(round(float(mm), 6) for mm in side) for side in sides})


def batch_of_one(samples: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Make a batch of a single volume without copying it."""
    (sample,) = samples
    return {name: value[None] if isinstance(value, torch.Tensor) else [value] for name, value in sample.items()}
