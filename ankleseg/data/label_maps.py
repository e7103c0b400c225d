"""The data of a segmentation that is learnt of label maps: training makes images of them, validation reads scans."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from ankleseg import keys
from ankleseg.cohorts import Case
from ankleseg.data.datamodule import SegmentationData
from ankleseg.data.dataset import PatchDataset, Sample
from ankleseg.errors import CohortError
from ankleseg.transforms import Preparation, RandSliceFromBlockd, RandWorldAffined

MOST = 256  # different values of a label map


class LabelMapData(SegmentationData):
    """Patches of label maps for training, whole scans for validation, prepared when training starts (Billot 2023).

    The ``image`` of a training case is a map of tissues. It is moved as the preparation moves labels, by nearest
    neighbour, and not scaled; the augmentation makes an image of it (`RandImageFromLabelsd` with ``label_key=image``)
    and scales that. Cases of validation and test are scans, prepared like those that are predicted.

    Args:
        preparation: of scans.
        others: see `SegmentationData`.
    """

    def __init__(self, *, preparation: Preparation, **others: Any) -> None:
        super().__init__(preparation=preparation, **others)
        self._maps = LabelMaps(preparation=preparation.of_label_maps(), **others)

    @property
    def patch_sizes(self) -> list[tuple[int, tuple[int, ...]]]:
        flat = any(isinstance(transform, RandSliceFromBlockd) for transform in self._augment)
        return [(epoch, size[:2] if flat else size) for epoch, size in super().patch_sizes]

    def patches(self) -> PatchDataset:
        patches = super().patches()
        for transform in self._augment:  # what training sees is smaller and larger than the maps
            if self.shapes is not None and isinstance(transform, RandWorldAffined):
                self.shapes = self.shapes.zoomed(*transform.zoom)
        return patches

    def training_samples(self) -> list[Sample]:
        """The label maps of the training subjects, once in each plane.

        Raises:
            CohortError: an image has more than 256 values, so it is a scan.
        """
        self._maps.cache = self.cache
        return self._maps.training_samples()


class LabelMaps(SegmentationData):
    """Patches whose images are label maps, which are cut in any plane."""

    def is_seen(self, case: Case, plane: str) -> bool:
        return True

    def samples(self, purpose: str, subjects: Sequence[str]) -> list[Sample]:
        samples = super().samples(purpose, subjects)
        for sample in samples:
            values = sample[keys.IMAGE].unique()
            if len(values) > MOST:
                raise CohortError(
                    f"the image of {sample[keys.CASE]} is a scan: expected a label map, of which images are made",
                    mend="give the map of its tissues as its image",
                )
            small = values.min() >= 0 and values.max() < MOST
            sample[keys.IMAGE] = sample[keys.IMAGE].to(torch.uint8 if small else torch.int32)  # less to cut patches of
        return samples
