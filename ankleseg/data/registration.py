"""The data of registration: pairs of scans on one grid, or scans with moved copies of themselves."""

from __future__ import annotations

import copy
import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from monai.transforms import Compose

from ankleseg import keys
from ankleseg.cohorts import Case, ScanPair, ScanPairs
from ankleseg.cohorts.case import in_order
from ankleseg.data.datamodule import SegmentationData
from ankleseg.data.dataset import PatchDataset, PatchTransforms, Sample, VolumeDataset, torch_seed, without_tracking
from ankleseg.data.volumes import memory_line, prepared_samples
from ankleseg.errors import ConfigError, GeometryError
from ankleseg.transforms import RandSmoothFieldd
from ankleseg.volumes.geometry import same_grid

log = logging.getLogger(__name__)

MOVING_RANGE = f"{keys.MOVING}_range"
FIELDS = 3  # by which a scan is moved in validation


class RegistrationData(SegmentationData):
    """Patches of pairs for training and whole pairs for validation, prepared when training starts.

    The fixed scan is the ``image`` of a sample, with its label and foreground; the other one is ``moving``, with
    ``moving_label``. Both are prepared alike, each by itself, and must then be on one grid. Patches may be as large as
    the volumes (``sampler.size``, where the rest is padded).

    Without ``pairs``, the moving scan is the fixed one itself, moved by a random field of the augmentation, which is
    kept as ``displacement``; in validation too, by the same three fields every time.

    Args:
        pairs: which scans are registered with which (see `ankleseg.cohorts.ScanToScan`); None: each with a moved copy
            of itself.
        others: see `SegmentationData`; ``augment`` may list ``moving`` and ``moving_label`` too.

    Raises:
        ConfigError: there are no pairs, and nothing in the augmentation moves the moving scan.
    """

    testable = False

    def __init__(self, *, pairs: ScanPairs | None = None, **others: Any) -> None:
        super().__init__(**others)
        self._pairs = pairs
        if pairs is None and not any(isinstance(t, RandSmoothFieldd) and keys.MOVING in t.keys for t in self._augment):
            raise ConfigError(
                "each scan would be registered with itself",
                mend="choose patches.pairs, or augment=synthetic_fields, which moves a copy of the scan",
            )

    def patches(self) -> PatchDataset:
        """Pairs of patches of the training subjects, see `PatchDataset`."""
        self.refuse_reversal()
        samples, numbers = self._paired("training", self.split.train)
        return PairedPatches(samples, self.steps(samples), numbers, length=self.patches_per_epoch, seed=self._seed)

    def volumes(self) -> VolumeDataset:
        """Whole pairs of the validation subjects, see `VolumeDataset`."""
        if not self.split.validation:
            return VolumeDataset([])
        samples, numbers = self._paired("validation", self.split.validation)
        found = [pair_of(samples[fixed], samples[moving]) for fixed, moving in numbers]
        if self._pairs is None:
            copies = [(pair, field) for pair in found for field in range(FIELDS)]
            found = [self._moved(pair, number, field) for number, (pair, field) in enumerate(copies)]
        return VolumeDataset(found)

    def _moved(self, pair: Sample, number: int, field: int) -> Sample:
        """A whole scan and its copy as an augmentation of its own alters them."""
        pair = pair | {keys.CASE: f"{pair[keys.CASE]}_field-{field + 1}"}
        augment = Compose(copy.deepcopy(list(self._augment)))
        augment.set_random_state(seed=(self._seed * 1009 + number) % 2**32)
        with without_tracking(), torch_seed(number):
            return augment(pair)

    def _paired(self, purpose: str, subjects: Sequence[str]) -> tuple[list[Sample], list[tuple[int, int]]]:
        """Prepared scans, and the numbers of the fixed and the moving one of each pair."""
        cases = self.cohort.select(subjects).cases
        pairs = [ScanPair(case, case) for case in cases] if self._pairs is None else self._pairs(cases)
        pairs = [ScanPair(self._usable(pair.moving), self._usable(pair.fixed)) for pair in pairs]
        scans = list({case.name: case for pair in pairs for case in (pair.fixed, pair.moving)}.values())
        log.info("%s", memory_line(purpose, scans, self.preparation, self.labels, self.cache))
        samples = prepared_samples(scans, self.transform(), configuration=self.configuration(), cache=self.cache)
        number_of = {case.name: number for number, case in enumerate(scans)}
        numbers = [(number_of[pair.fixed.name], number_of[pair.moving.name]) for pair in pairs]
        for (fixed, moving), pair in zip(numbers, pairs, strict=True):
            require_one_grid(pair, samples[fixed], samples[moving])
        log.info("%s: %d pairs of %d scans", purpose, len(pairs), len(scans))
        return samples, numbers

    def _usable(self, case: Case) -> Case:
        """A case with the channels of the network; an atlas without masks has none to be believed."""
        lacks = [name for name in self.labels.structures if name not in case.references]
        known = replace(case, unknown=tuple(dict.fromkeys((*case.unknown, *lacks)))) if self._atlas(case) else case
        return in_order(known, self.channels)

    def _atlas(self, case: Case) -> bool:
        return all(case.name != other.name for other in self.cohort.cases)


class PairedPatches(PatchDataset):
    """Random patches of pairs of prepared samples, drawn as in `PatchDataset`; each pair is as likely as any other.

    Args:
        samples: prepared scans.
        steps: see `PatchDataset`.
        pairs: numbers of the fixed and the moving sample of each pair.
        others: ``length`` and ``seed``.
    """

    def __init__(
        self,
        samples: Sequence[Sample],
        steps: Sequence[tuple[int, PatchTransforms | Sequence[PatchTransforms]]],
        pairs: Sequence[tuple[int, int]],
        **others: Any,
    ) -> None:
        super().__init__(samples, steps, **others)
        self._pairs = pairs

    def _chosen(self, step: int, state: np.random.RandomState) -> tuple[Sample, Compose]:
        fixed, moving = self._pairs[state.randint(len(self._pairs))]
        pair = pair_of(self._samples[step][fixed], self._samples[step][moving])
        return pair, self._transforms[step][fixed].random


def pair_of(fixed: Mapping[Any, Any], moving: Mapping[Any, Any]) -> Sample:
    """A fixed sample with what of another one is to be moved onto it."""
    pair: Sample = {
        **fixed,
        keys.MOVING: moving[keys.IMAGE],
        keys.MOVING_LABEL: moving[keys.LABEL],
        MOVING_RANGE: moving[keys.RANGE],
    }
    if fixed[keys.CASE] != moving[keys.CASE]:
        pair[keys.CASE] = f"{moving[keys.CASE]}_to_{fixed[keys.CASE]}"
    if keys.KNOWN in fixed or keys.KNOWN in moving:
        known = [sample[keys.KNOWN] for sample in (fixed, moving) if keys.KNOWN in sample]
        pair[keys.KNOWN] = torch.stack(known).all(dim=0)
    return pair


def require_one_grid(pair: ScanPair, fixed: Mapping[Any, Any], moving: Mapping[Any, Any]) -> None:
    """Refuse a pair whose prepared scans are not on one grid, in the world too.

    Raises:
        GeometryError: naming both files.
    """
    shapes = [tuple(sample[keys.IMAGE].shape[1:]) for sample in (moving, fixed)]
    affines = [np.asarray(sample[keys.AFFINE]) for sample in (moving, fixed)]
    if same_grid(shapes[0], affines[0], shapes[1], affines[1]):
        return
    words = [" × ".join(map(str, shape)) for shape in shapes]
    how = "at another place or angle" if shapes[0] == shapes[1] else f"{words[0]} instead of {words[1]} voxels"
    onto, one = pair.fixed.images[0], pair.moving.images[0]
    raise GeometryError(
        f"is not on the grid of {onto} once both are prepared: {how}",
        file=one,
        mend="if they are aligned in the world, set prepare.spacing and prepare.size; if not, align it by "
        f"python -m ankleseg.register method=affine fixed={onto} moving={one} out=FOLDER",
    )
