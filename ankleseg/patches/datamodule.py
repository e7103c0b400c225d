"""The data of a segmentation task: patches of the training subjects, whole volumes of the validation subjects."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pytorch_lightning import LightningDataModule
from torch.utils.data import DataLoader
from tqdm import tqdm

from ankleseg.cohorts import Case, Cohort, Split
from ankleseg.errors import CohortError
from ankleseg.patches.augmentation import Augmentation
from ankleseg.patches.cache import CaseCache
from ankleseg.patches.dataset import EpochSampler, PatchDataset, VolumeDataset, batch_of_one
from ankleseg.patches.sampling import PatchSampler
from ankleseg.prepare import Preparation, PreparedCase, prepare_case
from ankleseg.volumes import available_memory
from ankleseg.volumes.frames import read_grid
from ankleseg.volumes.memory import readable_size

log = logging.getLogger(__name__)


class SegmentationData(LightningDataModule):
    """Patches for training and whole volumes for validation, prepared when training starts.

    Args:
        cohort: cases and where their files are.
        split: subjects of training and validation.
        preparation: from raw scan to prepared scan.
        sampler: size of the patches and where they may lie.
        augmentation: random changes of the patches; None leaves them as they are.
        structures: names of the masks in the order of the labels; None takes all of the cohort.
        schedule: steps of the patch size (see `PatchSchedule`).
        batch_size: patches in a batch.
        steps_per_epoch: batches in an epoch.
        workers: loading processes; 0 is fastest on a CPU, where they would take the cores from training.
        seed: of all draws.
        cache: None keeps prepared cases in memory; a folder keeps them on disk for this and later runs.
        copy_headers, resample_masks: mends of masks that are not on the grid of their image (see `prepare_case`).
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
        super().__init__()
        self.cohort = cohort
        self.split = split
        self.preparation = preparation
        self.structures = tuple(cohort.structures if structures is None else structures)
        self.batch_size = batch_size
        self.patches_per_epoch = batch_size * steps_per_epoch
        self._drawing: dict[str, Any] = {"seed": seed, "schedule": schedule}
        self._sampler = sampler
        self._augmentation = augmentation
        self._workers = workers
        self._cache = cache
        self._mends = {"copy_headers": copy_headers, "resample_masks": resample_masks}
        self._patches: PatchDataset | None = None
        self._volumes: VolumeDataset | None = None

    def setup(self, stage: str) -> None:
        """Prepare the cases that a stage (``fit`` or ``validate``) needs.

        Raises:
            AnklesegError: a case cannot be prepared, or has no patch with enough foreground.
        """
        if stage == "fit" and self._patches is None:
            self._patches = self.patches(
                self._prepared("training", self.split.train),
                sampler=self._sampler,
                augmentation=self._augmentation,
                length=self.patches_per_epoch,
                **self._drawing,
            )
        if stage in ("fit", "validate") and self._volumes is None:
            self._volumes = self.volumes(self._prepared("validation", self.split.validation))

    def patches(self, cases: Sequence[PreparedCase], **drawing: Any) -> PatchDataset:
        """The patches of an epoch; ``drawing`` is as in `PatchDataset`."""
        return PatchDataset(cases, **drawing)

    def volumes(self, cases: Sequence[PreparedCase]) -> VolumeDataset:
        """The whole volumes of validation."""
        return VolumeDataset(cases)

    def train_dataloader(self) -> DataLoader:
        """Batches of patches: image (B, C, *patch) float32, label (B, 1, *patch) int64, known (B, K) bool."""
        assert self._patches is not None
        return DataLoader(
            self._patches,
            batch_size=self.batch_size,
            sampler=EpochSampler(self.patches_per_epoch),
            num_workers=self._workers,
            persistent_workers=self._workers > 0,
        )

    def val_dataloader(self) -> DataLoader | list:
        """Whole cases, one a batch: image (1, C, X, Y, Z), label and foreground (1, 1, X, Y, Z), name."""
        assert self._volumes is not None
        return DataLoader(self._volumes, batch_size=1, collate_fn=batch_of_one) if len(self._volumes) else []

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
