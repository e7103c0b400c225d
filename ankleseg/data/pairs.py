"""Patches of pairs: an image and what it is to become, with the correlation of the two."""

from __future__ import annotations

import logging
from collections.abc import Hashable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import monai.data
import numpy as np
import torch
from monai.transforms import Compose, Transform
from torch.utils.data import Dataset
from tqdm import tqdm

from ankleseg import keys
from ankleseg.cohorts import Case, Cohort, Split
from ankleseg.data.base import PatchData
from ankleseg.data.dataset import PatchDataset, PatchTransforms, Sample, VolumeDataset, batched, spacings_of
from ankleseg.data.prepared_pairs import MIN_FOREGROUND, Pairs, PairsOfCase
from ankleseg.data.reading import item_of
from ankleseg.data.sampler import PatchSampler
from ankleseg.data.volumes import FolderCache
from ankleseg.errors import CohortError, own_errors
from ankleseg.labels import Labels
from ankleseg.transforms import IntensityRanged, Preparation, refuse_left_right
from ankleseg.volumes.memory import readable_size

log = logging.getLogger(__name__)

MOST_DRAWS = 1000  # before the search for a patch of enough correlation is given up
TRIED = 200  # draws by which the share of such patches is told


class PairDataset(Dataset):
    """Random patches of pairs, drawn when they are asked for.

    As in `PatchDataset`, everything random follows from the seed, the epoch and the number of the patch. A patch whose
    image and target correlate too little is drawn again, pair and all, until one correlates enough, as if such patches
    were not there.

    Args:
        pairs: see `ankleseg.data.prepared_pairs.Pairs`; each scan or sequence is as likely as any other; then each of
            its pairs.
        sampler: size of the patches and where they may lie.
        augment: random MONAI dictionary transforms. What is to move both lists the keys ``image`` and ``target``;
            intensities change in the image only, so that the target stays what the network is to reach.
        length: patches in an epoch.
        seed: of all draws.
        min_correlation: least correlation (Pearson) of a patch; None takes them all. Published is 0.6.

    Raises:
        CohortError: no pair has a window with enough foreground.
    """

    def __init__(
        self,
        pairs: Sequence[Sample],
        sampler: PatchSampler,
        augment: Sequence[Transform] = (),
        *,
        length: int,
        seed: int = 0,
        min_correlation: float | None = None,
    ) -> None:
        mm = spacings_of(pairs, len(sampler.size))
        leasts = {pair.get(MIN_FOREGROUND, sampler.min_foreground) for pair in pairs}
        crops = {least: PatchTransforms(replace(sampler, min_foreground=least), augment, mm) for least in leasts}
        own = [crops[pair.get(MIN_FOREGROUND, sampler.min_foreground)] for pair in pairs]
        usable = [(pair, crop) for pair, crop in zip(pairs, own, strict=True) if _has_windows(pair, crop)]
        if not usable:
            raise CohortError(
                "no pair has a patch with enough foreground", mend="choose smaller patches, or ask for less foreground"
            )
        log.info("%d of %d pairs have patches with enough foreground", len(usable), len(pairs))
        kept, crop_of = zip(*usable, strict=True)
        self._patches = PatchDataset(kept, [(0, crop_of)], length=length, seed=seed)
        self._length = length
        self._seed = seed
        self._least = min_correlation

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index: int) -> dict[Hashable, torch.Tensor]:
        """Patch ``index % length`` of epoch ``index // length``: image (C, *patch), target (1, *patch), correlation ().

        Raises:
            CohortError: a thousand patches in a row correlate too little.
        """
        epoch, number = divmod(int(index), self._length)
        for attempt in range(MOST_DRAWS):
            sample = self._drawn(epoch, number, attempt)
            if self._least is None or sample[keys.CORRELATION] >= self._least:
                return sample
        raise CohortError(
            f"of {MOST_DRAWS} patches none has a correlation of {self._least:g}",
            mend="lower patches.min_correlation, or look at the registrations",
        )

    def share_kept(self) -> float:
        """Estimate the share of patches that correlate enough."""
        if self._least is None:
            return 1.0
        found = [float(self._drawn(0, number, MOST_DRAWS)[keys.CORRELATION]) for number in range(TRIED)]
        return float(np.mean(np.array(found) >= self._least))

    def _drawn(self, *numbers: int) -> dict[Hashable, torch.Tensor]:
        drawn = batched(self._patches.drawn(numbers[0], (self._seed, *numbers)))
        image, target = drawn[keys.IMAGE], drawn[keys.TARGET]
        return {keys.IMAGE: image, keys.TARGET: target, keys.CORRELATION: correlation_of(image[:1], target)}


def correlation_of(image: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Pearson's correlation of two patches, a scalar; 0 where one of them is constant."""
    one, other = (patch.double() - patch.double().mean() for patch in (image, target))
    norm = one.norm() * other.norm()
    return ((one * other).sum() / norm).float() if norm > 0 else torch.zeros(())


def _has_windows(pair: Sample, crop: PatchTransforms) -> bool:
    """Whether a window holds enough foreground: a small bone at the edge of a frame is no mistake."""
    try:
        crop.windows(dict(pair))
    except CohortError as problem:
        log.debug("%s", problem)
        return False
    return True


class PairData(PatchData):
    """Patches of pairs for training and whole pairs for validation, prepared when training starts.

    Args:
        cohort: cases and where their files are.
        split: subjects of training and validation.
        preparation: from raw scan to prepared scan.
        labels: the image that a network gives.
        pairs: how pairs are made of a case: `FramePairs` or `RepeatPairs` of `ankleseg.data`.
        sampler: size of the patches and where they may lie.
        augment: random MONAI dictionary transforms (see `PairDataset`).
        min_correlation: least correlation of a patch's image and target; None takes all.
        validation_frames: frames of each sequence that are validated, spread evenly; None: all.
        seed: of all draws.
        batch_size, steps_per_epoch, workers, cache: see `PatchData`.
    """

    testable = False

    def __init__(
        self,
        *,
        cohort: Cohort,
        split: Split,
        preparation: Preparation,
        labels: Labels,
        pairs: Pairs,
        sampler: PatchSampler,
        augment: Sequence[Transform] = (),
        min_correlation: float | None = None,
        batch_size: int = 16,
        steps_per_epoch: int = 200,
        validation_frames: int | None = None,
        workers: int = 0,
        seed: int = 0,
        cache: str | Path | None = None,
    ) -> None:
        super().__init__(batch_size=batch_size, steps_per_epoch=steps_per_epoch, workers=workers, cache=cache)
        self.cohort = cohort
        self.split = split
        self.preparation = preparation
        self.labels = labels
        self.pairs = pairs
        self._sampler = sampler
        self._augment = tuple(augment)
        self._drawing: dict[str, Any] = {"seed": seed, "min_correlation": min_correlation}
        self._validation_frames = validation_frames

    @property
    def patch_sizes(self) -> list[tuple[int, tuple[int, ...]]]:
        return [(0, tuple(self._sampler.size))]

    def patches(self) -> PairDataset:
        """Pairs of patches: image (C, *patch), target (1, *patch) and correlation ()."""
        cases = self.cohort.select(self.split.train).cases
        pairs = self._prepared("training", cases)
        affines = (pair[keys.AFFINE].numpy() for pair in pairs)
        refuse_left_right(self._augment, self.labels, affines, len(self._sampler.size))
        patches = PairDataset(pairs, self._sampler, self._augment, length=self.patches_per_epoch, **self._drawing)
        log.info("%.0f %% of the patches correlate enough", 100 * patches.share_kept())
        return patches

    def volumes(self) -> VolumeDataset:
        """Whole pairs, see `VolumeDataset`."""
        cases = self.cohort.select(self.split.validation).cases if self.split.validation else ()
        cases = spread(cases, self._validation_frames)
        return VolumeDataset(self._prepared("validation", cases))

    def _prepared(self, purpose: str, cases: Sequence[Case]) -> list[Sample]:
        """The pairs of some cases for ``training`` or ``validation``."""
        transform = Compose([PairsOfCase(getattr(self.pairs, purpose), self.preparation), IntensityRanged(keys.IMAGE)])
        kind = type(self.pairs)
        made_by = {"_target_": f"{kind.__module__}.{kind.__qualname__}", "settings": repr(self.pairs)}
        configuration = {"preparation": self.preparation.nodes, "pairs": made_by, "purpose": purpose}
        prepared: Any = (
            monai.data.Dataset([item_of(case) for case in cases], transform)
            if self.cache is None
            else FolderCache(cases, transform, configuration, self.cache)
        )
        pairs: list[Sample] = []
        with tqdm(cases, unit="case", disable=not cases, leave=False) as bar:
            for number, case in enumerate(bar):
                bar.set_description(f"preparing {case.name} for {purpose}")
                with own_errors():
                    pairs += prepared[number]
        tensors = [value for pair in pairs for value in pair.values() if isinstance(value, torch.Tensor)]
        taken = readable_size(sum(tensor.nbytes for tensor in tensors))
        where = "in memory" if self.cache is None else f"memory-mapped in {self.cache}"
        log.info("%s: %d pairs of %d cases, %s %s", purpose, len(pairs), len(cases), taken, where)
        return pairs


def spread(cases: Sequence[Case], count: int | None) -> tuple[Case, ...]:
    """So many frames of each sequence, spread evenly over it; scans that are no frames are kept."""
    sequences: dict[Any, list[Case]] = {}
    for case in cases:
        sequences.setdefault(case.taken_from or case.name, []).append(case)
    chosen: list[Case] = []
    for frames in sequences.values():
        wanted = len(frames) if count is None else min(count, len(frames))
        places = ((np.arange(wanted) + 0.5) * len(frames) / wanted).astype(int)
        chosen += [frames[place] for place in places]
    return tuple(chosen)
