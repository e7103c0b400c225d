"""Patches of pairs: an image and what it is to become, with the correlation of the two."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset
from tqdm import tqdm

from ankleseg import keys
from ankleseg.cohorts import Case, Cohort, Split
from ankleseg.data.augmentation import Augmentation
from ankleseg.data.base import PatchData
from ankleseg.data.prepared_pairs import Pairs, PreparedPair
from ankleseg.data.sampling import PatchSampler, PatchWindows
from ankleseg.data.source import UNCHANGED, PatchSource
from ankleseg.errors import CohortError
from ankleseg.transforms import Preparation
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
        pairs: each scan or sequence is as likely as any other; then each of its pairs.
        sampler: size of the patches and where they may lie.
        augmentation: what is changed at random: turned, zoomed, shifted and flipped are both; intensities change in the
            image only, so that the target stays what the network is to reach.
        length: patches in an epoch.
        seed: of all draws.
        min_correlation: least correlation (Pearson) of a patch; None takes them all. Published is 0.6.

    Raises:
        CohortError: no pair has a window with enough foreground.
    """

    def __init__(
        self,
        pairs: Sequence[PreparedPair],
        sampler: PatchSampler,
        augmentation: Augmentation | None = None,
        *,
        length: int,
        seed: int = 0,
        min_correlation: float | None = None,
    ) -> None:
        usable = [(pair, windows) for pair in pairs if (windows := _windows(pair, sampler)) is not None]
        if not usable:
            raise CohortError(
                "no pair has a patch with enough foreground", mend="choose smaller patches, or ask for less foreground"
            )
        log.info("%d of %d pairs have patches with enough foreground", len(usable), len(pairs))
        self._windows = [windows for _, windows in usable]
        self._images = [PatchSource(pair.case) for pair, _ in usable]
        self._targets = [PatchSource(replace(pair.case, image=pair.target)) for pair, _ in usable]
        scans: dict[Any, list[int]] = {}
        for number, (pair, _) in enumerate(usable):
            scans.setdefault(pair.case.sequence or pair.case.name, []).append(number)
        self._scans = list(scans.values())
        self._augmentation = augmentation
        self._length = length
        self._seed = seed
        self._least = min_correlation

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        """Patch ``index % length`` of epoch ``index // length``: image (C, *patch), target (1, *patch), correlation ().

        Raises:
            CohortError: a thousand patches in a row correlate too little.
        """
        rng = np.random.default_rng((self._seed, *divmod(int(index), self._length)))
        for _ in range(MOST_DRAWS):
            sample = self._draw(rng)
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
        rng = np.random.default_rng((self._seed,))
        return float(np.mean([float(self._draw(rng)[keys.CORRELATION]) >= self._least for _ in range(TRIED)]))

    def _draw(self, rng: np.random.Generator) -> dict[str, torch.Tensor]:
        pairs = self._scans[int(rng.integers(len(self._scans)))]
        chosen = pairs[int(rng.integers(len(pairs)))]
        window = self._windows[chosen].draw(rng)
        draw = self._augmentation.draw(rng, window.dimensions) if self._augmentation else UNCHANGED
        moved = replace(UNCHANGED, rotation=draw.rotation, zoom=draw.zoom, shift=draw.shift, flips=draw.flips)
        image, _ = self._images[chosen].cut(window, draw)
        target, _ = self._targets[chosen].cut(window, moved)
        return {keys.IMAGE: image, keys.TARGET: target, keys.CORRELATION: correlation_of(image[:1], target)}


def correlation_of(image: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Pearson's correlation of two patches, a scalar; 0 where one of them is constant."""
    one, other = (patch.double() - patch.double().mean() for patch in (image, target))
    norm = one.norm() * other.norm()
    return ((one * other).sum() / norm).float() if norm > 0 else torch.zeros(())


def _windows(pair: PreparedPair, sampler: PatchSampler) -> PatchWindows | None:
    """Windows of a pair, None where none holds enough foreground: a small bone at the edge of a frame is no mistake."""
    least = pair.min_foreground
    try:
        return PatchWindows(pair.case, sampler if least is None else replace(sampler, min_foreground=least))
    except CohortError as problem:
        log.debug("%s", problem)
        return None


class PairVolumes(Dataset):
    """Whole prepared pairs."""

    def __init__(self, pairs: Sequence[PreparedPair]) -> None:
        self._pairs = pairs

    def __len__(self) -> int:
        return len(self._pairs)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Image (C, X, Y, Z), target, label and foreground (1, X, Y, Z) and name; scored where the label is not 0."""
        pair = self._pairs[index]
        return {
            keys.IMAGE: torch.from_numpy(pair.case.image),
            keys.TARGET: torch.from_numpy(pair.target),
            keys.LABEL: torch.from_numpy(pair.case.label)[None].long(),
            keys.FOREGROUND: torch.from_numpy(pair.case.foreground)[None],
            keys.CASE: pair.case.name,
        }


class PairData(PatchData):
    """Patches of pairs for training and whole pairs for validation, prepared when training starts, kept in memory.

    Args:
        cohort: cases and where their files are.
        split: subjects of training and validation.
        preparation: from raw scan to prepared scan.
        pairs: how pairs are made of a case: `FramePairs` or `RepeatPairs` of `ankleseg.data`.
        sampler: size of the patches and where they may lie.
        augmentation: random changes of the patches (see `PairDataset`); None leaves them as they are.
        min_correlation: least correlation of a patch's image and target; None takes all.
        validation_frames: frames of each sequence that are validated, spread evenly; None: all.
        seed: of all draws.
        batch_size, steps_per_epoch, workers: see `PatchData`.
    """

    testable = False

    def __init__(
        self,
        *,
        cohort: Cohort,
        split: Split,
        preparation: Preparation,
        pairs: Pairs,
        sampler: PatchSampler,
        augmentation: Augmentation | None = None,
        min_correlation: float | None = None,
        batch_size: int = 16,
        steps_per_epoch: int = 200,
        validation_frames: int | None = None,
        workers: int = 0,
        seed: int = 0,
    ) -> None:
        super().__init__(batch_size=batch_size, steps_per_epoch=steps_per_epoch, workers=workers)
        self.cohort = cohort
        self.split = split
        self.preparation = preparation
        self.pairs = pairs
        self._sampler = sampler
        self._augmentation = augmentation
        self._drawing: dict[str, Any] = {"seed": seed, "min_correlation": min_correlation}
        self._validation_frames = validation_frames

    @property
    def patch_sizes(self) -> list[tuple[int, tuple[int, ...]]]:
        return [(0, tuple(self._sampler.size))]

    def patches(self) -> PairDataset:
        """Pairs of patches: image (C, *patch), target (1, *patch) and correlation ()."""
        cases = self.cohort.select(self.split.train).cases
        pairs = self._prepared("training", cases, self.pairs.training)
        patches = PairDataset(pairs, self._sampler, self._augmentation, length=self.patches_per_epoch, **self._drawing)
        log.info("%.0f %% of the patches correlate enough", 100 * patches.share_kept())
        return patches

    def volumes(self) -> PairVolumes:
        """Whole pairs, see `PairVolumes`."""
        cases = self.cohort.select(self.split.validation).cases if self.split.validation else ()
        cases = spread(cases, self._validation_frames)
        return PairVolumes(self._prepared("validation", cases, self.pairs.validation))

    def _prepared(self, purpose: str, cases: Sequence[Case], prepare: Any) -> list[PreparedPair]:
        pairs: list[PreparedPair] = []
        with tqdm(cases, unit="case", disable=not cases, leave=False) as bar:
            for case in bar:
                bar.set_description(f"preparing {case.name} for {purpose}")
                pairs += prepare(case, self.preparation)
        taken = readable_size(sum(pair.size_in_bytes for pair in pairs))
        log.info("%s: %d pairs of %d cases, %s in memory", purpose, len(pairs), len(cases), taken)
        return pairs


def spread(cases: Sequence[Case], count: int | None) -> tuple[Case, ...]:
    """So many frames of each sequence, spread evenly over it; scans that are no frames are kept."""
    sequences: dict[Any, list[Case]] = {}
    for case in cases:
        sequences.setdefault(case.name if case.frame is None else case.images[0], []).append(case)
    chosen: list[Case] = []
    for frames in sequences.values():
        wanted = len(frames) if count is None else min(count, len(frames))
        places = ((np.arange(wanted) + 0.5) * len(frames) / wanted).astype(int)
        chosen += [frames[place] for place in places]
    return tuple(chosen)
