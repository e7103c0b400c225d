"""The data of a segmentation task: patches of the training subjects, whole volumes of the validation subjects."""

from __future__ import annotations

import copy
import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from monai.transforms import Compose, Transform

from ankleseg import keys
from ankleseg.cohorts import Case, Cohort, Split
from ankleseg.cohorts.case import in_order
from ankleseg.data.base import PatchData
from ankleseg.data.dataset import PatchDataset, PatchTransforms, Sample, VolumeDataset, spacings_of
from ankleseg.data.reading import WithoutMetadata, preparing
from ankleseg.data.sampler import PatchSampler
from ankleseg.data.schedule import PatchSchedule
from ankleseg.data.volumes import memory_line, prepared_samples
from ankleseg.errors import CohortError
from ankleseg.labels import Labels
from ankleseg.measures import MaskShape, mask_shape, shape_ranges
from ankleseg.transforms import IntensityRanged, Preparation, refuse_left_right
from ankleseg.transforms.planes import check_planes, plane_of, shows_other_planes
from ankleseg.volumes.files import read_grid
from ankleseg.volumes.geometry import slice_axis

log = logging.getLogger(__name__)


class SegmentationData(PatchData):
    """Patches for training and whole volumes for validation, prepared when training starts.

    Args:
        cohort: cases and where their files are.
        split: subjects of training and validation.
        preparation: from raw scan to prepared scan.
        labels: what is segmented.
        channels: names of the channels in the order of the network; None: those of the cohort.
        sampler: size of the patches and where they may lie.
        planes: that slices are taken in, of ``sagittal``, ``coronal`` and ``axial``, each as often; of scans whose
            slices are more than 6 mm apart, or less than 60 mm together, only their own. None: only those of the
            scans, as the preparation has them.
        augment: random MONAI dictionary transforms of the patches, on the keys ``image`` and ``label``.
        schedule: steps of the patch size (see `PatchSchedule`).
        seed: of all draws.
        copy_headers, resample_masks: mends of masks that are not on the grid of their image (see `LoadReferencesd`).
        batch_size, steps_per_epoch, workers, cache: see `PatchData`.

    Raises:
        CohortError: a case has other channels.
        ConfigError: a transform reverses left and right, and the labels have no pairs for it; or a plane is none.
    """

    padding = "darkest"  # of patches outside the volume

    def __init__(
        self,
        *,
        cohort: Cohort,
        split: Split,
        preparation: Preparation,
        labels: Labels,
        sampler: PatchSampler,
        channels: Sequence[str] | None = None,
        planes: Sequence[str] | None = None,
        augment: Sequence[Transform] = (),
        schedule: Sequence[Mapping[str, Any]] = (),
        batch_size: int = 8,
        steps_per_epoch: int = 200,
        workers: int = 0,
        seed: int = 0,
        cache: str | Path | None = None,
        copy_headers: bool = False,
        resample_masks: bool = False,
    ) -> None:
        super().__init__(batch_size=batch_size, steps_per_epoch=steps_per_epoch, workers=workers, cache=cache)
        self.channels = tuple(channels or cohort.channels)
        self.cohort = replace(cohort, cases=tuple(in_order(case, self.channels) for case in cohort.cases))
        self.split = split
        self.preparation = preparation
        self.labels = labels
        check_planes(planes or ())
        if planes:
            self.planes, self.slice_axis = tuple(planes), None
        self.schedule = PatchSchedule(sampler, schedule)
        self._augment = tuple(augment)
        self._seed = seed
        self._mends = {"copy_headers": copy_headers, "resample_masks": resample_masks}

    @property
    def patch_sizes(self) -> list[tuple[int, tuple[int, ...]]]:
        return self.schedule.sizes

    def patches(self) -> PatchDataset:
        """Patches of the training subjects, see `PatchDataset`."""
        self.refuse_reversal()
        samples = self.training_samples()
        if len(self.labels) and not self.labels.regions:
            self.shapes = shape_ranges(shapes_in(sample, self.labels) for sample in samples)
        return PatchDataset(samples, self.steps(samples), length=self.patches_per_epoch, seed=self._seed)

    def training_samples(self) -> list[Sample]:
        """What patches are cut of: the scans of the training subjects, once in each plane.

        Raises:
            CohortError: no scan is seen in any of the planes.
        """
        if not self.planes:
            return self.samples("training", self.split.train)
        samples: list[Sample] = []
        for plane in self.planes:
            turned = copy.copy(self)
            turned.preparation = self.preparation.in_plane(plane)
            turned.cohort = replace(self.cohort, cases=tuple(c for c in self.cohort.cases if self.is_seen(c, plane)))
            subjects = {case.subject for case in turned.cohort.cases}
            if seen := [subject for subject in self.split.train if subject in subjects]:
                samples += turned.samples("training", seen)
        if not samples:
            raise CohortError(
                f"no scan of training shows {' or '.join(self.planes)} slices: all have few or thick ones of another",
                mend="leave out patches.planes",
            )
        return samples

    def is_seen(self, case: Case, plane: str) -> bool:
        """Whether slices in a plane are made of a scan."""
        grid = read_grid(case.images[0])
        across = slice_axis(grid.affine)
        return plane_of(grid.affine) == plane or shows_other_planes(grid.shape, grid.affine, across)

    def refuse_reversal(self) -> None:
        """Refuse an augmentation that reverses left and right where labels cannot follow, before any is prepared."""
        cases = self.cohort.select(self.split.train).cases
        turned = (self.preparation.oriented(read_grid(case.images[0]).affine) for case in cases)
        refuse_left_right(self._augment, self.labels, turned, len(self.patch_sizes[0][1]))

    def steps(self, samples: Sequence[Sample]) -> list[tuple[int, PatchTransforms]]:
        """How patches are cut of samples and altered, from each epoch on."""
        mm = [spacings_of(samples, len(sampler.size)) for _, sampler in self.schedule.steps]
        return [
            (epoch, PatchTransforms(sampler, self.augmentation(), sides, self.padding))
            for (epoch, sampler), sides in zip(self.schedule.steps, mm, strict=True)
        ]

    def volumes(self) -> VolumeDataset:
        """Whole scans of the validation subjects, see `VolumeDataset`."""
        return VolumeDataset(self.samples("validation", self.split.validation))

    def augmentation(self) -> Sequence[Transform]:
        """Random transforms of a patch."""
        return self._augment

    def transform(self) -> Compose:
        """From an item of a datalist to a prepared sample of plain tensors."""
        return Compose(
            [*preparing(self.preparation, self.labels, **self._mends).transforms, WithoutMetadata(), *self.kept()]
        )

    def kept(self) -> Sequence[Transform]:
        """Deterministic transforms of plain samples, whose results are kept."""
        return [IntensityRanged(keys.IMAGE)]

    def configuration(self) -> dict[str, Any]:
        """What `transform` does, in plain types: an entry of a cache is of no use for another one."""
        return {"preparation": self.preparation.nodes, "labels": self.labels.to_plain(), **self._mends}

    def samples(self, purpose: str, subjects: Sequence[str]) -> list[Sample]:
        """Prepared samples of some subjects; cases of which no structure is known are left out.

        Raises:
            CohortError: none is left.
        """
        cases: Sequence[Case] = self.cohort.select(subjects).cases if subjects else ()
        if cases:
            log.info("%s", memory_line(purpose, cases, self.preparation, self.labels, self.cache))
        samples = prepared_samples(cases, self.transform(), configuration=self.configuration(), cache=self.cache)
        taught = [sample for sample in samples if keys.KNOWN not in sample or bool(sample[keys.KNOWN].any())]
        if samples and not taught:
            raise CohortError(f"in no case of {purpose} is a structure known", mend="look at its status.tsv")
        if any(keys.KNOWN in sample for sample in taught):
            everything = torch.ones(len(self.labels), dtype=torch.bool)
            taught = [{keys.KNOWN: everything, **sample} for sample in taught]
        return taught


def shapes_in(sample: Sample, labels: Labels) -> dict[str, MaskShape | None]:
    """The shape of each structure that is known in a prepared sample."""
    affine, label = sample[keys.AFFINE].numpy(), sample[keys.LABEL].numpy()
    known = sample.get(keys.KNOWN, torch.ones(len(labels), dtype=torch.bool))
    masks = zip(labels.named(labels.masks(label)), known, strict=True)
    return {name: mask_shape(mask, affine) for (name, mask), is_known in masks if is_known}
