"""What all data modules share: when their data are prepared, and how batches are made of them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

from monai.data import DataLoader
from pytorch_lightning import LightningDataModule
from torch.utils.data import Dataset

from ankleseg.cohorts import Cohort
from ankleseg.data.dataset import EpochSampler, batch_of_one
from ankleseg.data.rehearsal import RehearsedPatches, check_share
from ankleseg.labels import Labels
from ankleseg.measures import ShapeRanges


class PatchData(LightningDataModule, ABC):
    """Patches for training and whole volumes for validation, prepared when training starts.

    Args:
        batch_size: patches in a batch.
        steps_per_epoch: batches in an epoch.
        workers: loading processes; 0 is fastest on a CPU, where they would take the cores from training.
        cache: None keeps prepared cases in memory; a folder keeps them on disk for this and later runs. Several
            processes that train together share what one of them prepares: without a folder, in that of the run.
    """

    channels: tuple[str, ...] = ("image",)  # names of what the network is given
    labels: Labels
    cohort: Cohort
    slice_axis: int | None = 2  # the prepared axis across the slices; None: any
    planes: tuple[str, ...] = ()  # of the slices of training; none: those of the scans
    slice_spacing: tuple[float, float] | None = None  # mm, from and to, where scans are made that thick
    shapes: ShapeRanges | None = None  # of the masks of training, known when these are prepared
    testable = True  # whether test subjects can be predicted and scored as they are

    def __init__(self, *, batch_size: int, steps_per_epoch: int, workers: int, cache: str | Path | None = None) -> None:
        super().__init__()
        self.batch_size = batch_size
        self.patches_per_epoch = batch_size * steps_per_epoch
        self.cache = cache
        self._workers = workers
        self._patches: Dataset[Any] | None = None
        self._volumes: Any = None
        self._rehearsed: tuple[PatchData, float] | None = None

    @property
    @abstractmethod
    def patch_sizes(self) -> list[tuple[int, tuple[int, ...]]]:
        """Sides of the patches in voxels, each with the first epoch that has them."""

    @abstractmethod
    def patches(self) -> Dataset[Any]:
        """The patches of training, ``patches_per_epoch`` in each epoch."""

    @abstractmethod
    def volumes(self) -> Dataset[Any]:
        """The whole volumes of validation; none without subjects to validate."""

    def rehearse(self, source: PatchData, share: float) -> None:
        """Take a share of the patches of training from other data, see `RehearsedPatches`.

        Raises:
            ConfigError: there is no such share.
        """
        check_share(share)
        source.cache = self.cache
        self._rehearsed = source, share

    def prepare_data(self) -> None:
        """Fill the folder that several processes share; one of them does."""
        if self._shared_cache():
            self.setup("fit")

    def setup(self, stage: str) -> None:
        """Prepare what a stage (``fit`` or ``validate``) needs, once.

        Raises:
            AnklesegError: a case cannot be prepared, or has no patch with enough foreground.
        """
        self._shared_cache()
        if stage == "fit" and self._patches is None:
            self._patches = self.patches()
            if self._rehearsed is not None:
                source, share = self._rehearsed
                self._patches = RehearsedPatches(self._patches, source.patches(), share)
        if stage in ("fit", "validate") and self._volumes is None:
            self._volumes = self.volumes()

    def _shared_cache(self) -> bool:
        """Give several processes a folder, and tell whether there are several."""
        together = self.trainer is not None and self.trainer.world_size > 1
        if together and self.cache is None:
            assert self.trainer is not None
            self.cache = Path(self.trainer.default_root_dir) / "prepared"
        return together

    def train_dataloader(self) -> DataLoader:
        """Batches of patches: the tensors of their samples, stacked."""
        assert self._patches is not None
        return DataLoader(
            self._patches,
            batch_size=self.batch_size,
            sampler=EpochSampler(self.patches_per_epoch),
            num_workers=self._workers,
            persistent_workers=self._workers > 0,
            drop_last=True,  # of what several processes cannot share
        )

    def val_dataloader(self) -> DataLoader | list:
        """Whole volumes, one a batch: the tensors of the sample (1, …), and the name."""
        assert self._volumes is not None
        return DataLoader(self._volumes, batch_size=1, collate_fn=batch_of_one) if len(self._volumes) else []
