"""The data of super-resolution: sharp patches with thick ones made of them, other ones in every epoch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from ankleseg import keys
from ankleseg.patches.datamodule import SegmentationData
from ankleseg.patches.dataset import PatchDataset, VolumeDataset
from ankleseg.patches.source import PatchSource
from ankleseg.patches.thick import ThickScans, thick_pair, thick_volume
from ankleseg.prepare import PreparedCase


class ThickPatches(PatchDataset):
    """Random pairs of a thick and a sharp patch.

    A sample holds the interpolated thick patch as image (C, *patch), the sharp one as target (C, *patch), label
    (1, *patch) and the slice thickness in mm.

    Args:
        cases: sharp scans.
        thick: how thick scans are taken of them.
        others: see `PatchDataset`.
    """

    def __init__(self, cases: Sequence[PreparedCase], thick: ThickScans, *others: Any, **more: Any) -> None:
        super().__init__(cases, *others, **more)
        self._thick = thick

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        rng, chosen, window, draw = self._drawn(index)
        thick = self._thick.draw(rng)
        image, target, label = thick_pair(self._sources[chosen], window, draw, thick)
        return {
            keys.IMAGE: image,
            keys.TARGET: target,
            keys.LABEL: label,
            keys.SLICE_THICKNESS: torch.tensor(thick.slice_thickness, dtype=torch.float32),
        }


class ThickVolumes(VolumeDataset):
    """Whole scans, sharp as the target and thick as the image: the typical thick scan, the same in every epoch."""

    def __init__(self, cases: Sequence[PreparedCase], thick: ThickScans) -> None:
        super().__init__(cases)
        self._typical = thick

    def __getitem__(self, index: int) -> dict[str, Any]:
        sample = super().__getitem__(index)
        thick = self._typical.typical(seed=index)
        image = thick_volume(PatchSource(self._cases[index]), thick)
        thickness = torch.tensor(thick.slice_thickness, dtype=torch.float32)
        return sample | {keys.IMAGE: image, keys.TARGET: sample[keys.IMAGE], keys.SLICE_THICKNESS: thickness}


class SuperResolutionData(SegmentationData):
    """Thick and sharp patches for training, whole thick scans for validation, made from sharp scans.

    Args:
        thick: how thick scans are taken of the sharp ones.
        critic_steps: batches given beside that of the generator, for as many steps of a critic.
        others: see `SegmentationData`.
    """

    def __init__(self, *, thick: ThickScans, critic_steps: int = 0, batch_size: int = 16, **others: Any) -> None:
        super().__init__(batch_size=batch_size * (critic_steps + 1), **others)
        self.thick = thick

    def patches_of(self, cases: Sequence[PreparedCase], **drawing: Any) -> PatchDataset:
        return ThickPatches(cases, self.thick, **drawing)

    def volumes_of(self, cases: Sequence[PreparedCase]) -> VolumeDataset:
        return ThickVolumes(cases, self.thick)
