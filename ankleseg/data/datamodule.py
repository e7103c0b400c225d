"""The data of a segmentation task: patches of the training subjects, whole volumes of the validation subjects."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from ankleseg.cohorts import Case, Cohort, Split
from ankleseg.data.augmentation import Augmentation
from ankleseg.data.base import PatchData
from ankleseg.data.cache import CaseCache
from ankleseg.data.dataset import PatchDataset, VolumeDataset
from ankleseg.data.sampling import PatchSampler
from ankleseg.data.schedule import PatchSchedule
from ankleseg.errors import CohortError
from ankleseg.transforms import Preparation, PreparedCase, prepare_case
from ankleseg.volumes import available_memory
from ankleseg.volumes.frames import read_grid
from ankleseg.volumes.memory import readable_size

log = logging.getLogger(__name__)


class SegmentationData(PatchData):
    """Patches for training and whole volumes for validation, prepared when training starts.

    Args:
        cohort: cases and where their files are.
        split: subjects of training and validation.
        preparation: from raw scan to prepared scan.
        sampler: size of the patches and where they may lie.
        augmentation: random changes of the patches; None leaves them as they are.
        structures: names of the masks in the order of the labels; None takes all of the cohort.
        schedule: steps of the patch size (see `PatchSchedule`).
        seed: of all draws.
        cache: None keeps prepared cases in memory; a folder keeps them on disk for this and later runs.
        copy_headers, resample_masks: mends of masks that are not on the grid of their image (see `prepare_case`).
        batch_size, steps_per_epoch, workers: see `PatchData`.
    """

    def __init__(
        self,
        *,
        cohort: Cohort,
        split: Split,
        preparation: Preparation,
        sampler: PatchSampler,
        augmentation: Augmentation | None = None,
        structures: Sequence[str] | None = None,
        schedule: Sequence[Mapping[str, Any]] = (),
        batch_size: int = 8,
        steps_per_epoch: int = 200,
        workers: int = 0,
        seed: int = 0,
        cache: str | Path | None = None,
        copy_headers: bool = False,
        resample_masks: bool = False,
    ) -> None:
        super().__init__(batch_size=batch_size, steps_per_epoch=steps_per_epoch, workers=workers)
        self.cohort = cohort
        self.split = split
        self.preparation = preparation
        self.structures = tuple(cohort.structures if structures is None else structures)
        self._drawing: dict[str, Any] = {"seed": seed, "schedule": schedule}
        self._sampler = sampler
        self._augmentation = augmentation
        self._cache = cache
        self._mends = {"copy_headers": copy_headers, "resample_masks": resample_masks}

    @property
    def patch_sizes(self) -> list[tuple[int, tuple[int, ...]]]:
        return PatchSchedule(self._sampler, self._drawing["schedule"]).sizes

    def patches(self) -> PatchDataset:
        """Patches of the training subjects, see `PatchDataset`."""
        return self.patches_of(
            self._prepared("training", self.split.train),
            sampler=self._sampler,
            augmentation=self._augmentation,
            length=self.patches_per_epoch,
            **self._drawing,
        )

    def volumes(self) -> VolumeDataset:
        """Whole scans of the validation subjects, see `VolumeDataset`."""
        return self.volumes_of(self._prepared("validation", self.split.validation))

    def patches_of(self, cases: Sequence[PreparedCase], **drawing: Any) -> PatchDataset:
        """The patches of prepared cases; ``drawing`` is as in `PatchDataset`."""
        return PatchDataset(cases, **drawing)

    def volumes_of(self, cases: Sequence[PreparedCase]) -> VolumeDataset:
        """The whole volumes of prepared cases."""
        return VolumeDataset(cases)

    def _prepared(self, purpose: str, subjects: Sequence[str]) -> list[PreparedCase]:
        cases = self.cohort.select(subjects).cases if subjects else ()
        if cases:
            log.info("%s", self._memory_line(purpose, cases))
        prepare: Callable[[Case], PreparedCase] = self._prepare
        if self._cache is not None:
            prepare = CaseCache(self._cache, self.preparation, self.structures, **self._mends)
        with tqdm(cases, unit="case", disable=not cases, leave=False) as bar:
            prepared = []
            for case in bar:
                bar.set_description(f"preparing {case.name} for {purpose}")
                prepared.append(prepare(case))
        taught = [case for case in prepared if case.known is None or any(case.known)]
        if prepared and not taught:
            raise CohortError(f"in no case of {purpose} is a structure known", mend="look at its status.tsv")
        return taught

    def _prepare(self, case: Case) -> PreparedCase:
        return prepare_case(case, self.preparation, self.structures, **self._mends)

    def _memory_line(self, purpose: str, cases: Sequence[Case]) -> str:
        """Say what the prepared cases take before they are read."""
        needed = sum(_prepared_bytes(case, self.preparation) for case in cases)
        line = f"{purpose}: {len(cases)} {'case' if len(cases) == 1 else 'cases'}, {readable_size(needed)} prepared"
        if self._cache is not None:
            return f"{line}, memory-mapped in {self._cache}"
        free = available_memory()
        advice = "; set patches.cache=FOLDER to keep them on disk" if needed > free else ""
        return f"{line}, in memory ({readable_size(free)} free){advice}"


def _prepared_bytes(case: Case, preparation: Preparation) -> int:
    header = read_grid(case.images[0])
    voxels = math.prod(preparation.place(header.shape, header.affine).shape)
    return voxels * (4 * len(case.images) + 2)  # float32 channels, foreground and label
