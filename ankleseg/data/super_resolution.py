"""The data of super-resolution: sharp patches with thick ones made of them, other ones in every epoch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from ankleseg import keys
from ankleseg.data.datamodule import SegmentationData
from ankleseg.data.dataset import PatchDataset, VolumeDataset
from ankleseg.data.source import PatchSource
from ankleseg.data.thick import ThickScans, thick_pair, thick_volume
from ankleseg.errors import CohortError, ConfigError
from ankleseg.transforms import NonZero, Preparation, PreparedCase
from ankleseg.transforms.preparation import SLICES_LAST
from ankleseg.transforms.scaling import Scale


@dataclass(frozen=True, eq=False)
class SeenThick:
    """A sharp case with what prediction will find in its thick scan, where there is no sharp one.

    Attributes:
        case: the sharp scan, with the foreground of the thick one.
        scales: of each channel, from the intensities of ``case`` to the scale of the thick scan.
    """

    case: PreparedCase
    scales: tuple[Scale, ...]

    @classmethod
    def of(cls, case: PreparedCase, thick: ThickScans, preparation: Preparation) -> SeenThick:
        """Find foreground and scales in the typical thick scan of a case.

        Raises:
            ConfigError: not every thick scan that may be drawn can be taken of it.
            FileError: the thick scan has no foreground or no contrast.
        """
        thick.check(case.name, case.foreground.shape, case.affine)
        image = thick_volume(PatchSource(case), thick.typical()).numpy()
        before = case.scales or (Scale(0.0, 1.0),) * len(image)
        raw = [scale.undone(channel) for scale, channel in zip(before, image, strict=True)]
        foreground = preparation.foreground(raw[0])
        after = [preparation.scaling.scale(channel, foreground) for channel in raw]
        scales = tuple(old.then(new) for old, new in zip(before, after, strict=True))
        return cls(replace(case, foreground=foreground), scales)

    def scaled(self, image: Float[Tensor, "c *sides"]) -> Float[Tensor, "c *sides"]:
        """Bring an image to the scale of the thick scan."""
        return torch.stack([_scaled(channel, scale) for channel, scale in zip(image, self.scales, strict=True)])


def _scaled(channel: Tensor, scale: Scale) -> Tensor:
    scaled = (channel - scale.offset) / scale.factor
    return scaled.clamp(0, 1) if scale.clipped else scaled


class ThickPatches(PatchDataset):
    """Random pairs of a thick and a sharp patch, in the scale that prediction finds in the thick scan.

    A sample holds the interpolated thick patch as image (C, *patch), the sharp one as target (1, *patch), label
    (1, *patch) and the slice thickness in mm.

    Args:
        cases: sharp scans.
        thick: how thick scans are taken of them.
        others: see `PatchDataset`.
    """

    def __init__(self, cases: Sequence[SeenThick], thick: ThickScans, *others: Any, **more: Any) -> None:
        super().__init__([seen.case for seen in cases], *others, **more)
        self._seen = list(cases)
        self._thick = thick

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        rng, chosen, window, draw = self._drawn(index)
        thick = self._thick.draw(rng)
        image, target, label = thick_pair(self._sources[chosen], window, draw, thick)
        scaled = self._seen[chosen].scaled
        return {
            keys.IMAGE: scaled(image),
            keys.TARGET: scaled(target)[:1],
            keys.LABEL: label,
            keys.SLICE_THICKNESS: torch.tensor(thick.slice_thickness, dtype=torch.float32),
        }


class ThickVolumes(VolumeDataset):
    """Whole scans, sharp as the target and thick as the image: the typical thick scan, the same in every epoch."""

    def __init__(self, cases: Sequence[SeenThick], thick: ThickScans) -> None:
        super().__init__([seen.case for seen in cases])
        self._seen = list(cases)
        self._typical = thick

    def __getitem__(self, index: int) -> dict[str, Any]:
        sample = super().__getitem__(index)
        thick, seen = self._typical.typical(seed=index), self._seen[index]
        image = seen.scaled(thick_volume(PatchSource(seen.case), thick))
        thickness = torch.tensor(thick.slice_thickness, dtype=torch.float32)
        target = seen.scaled(sample[keys.IMAGE])[:1]
        return sample | {keys.IMAGE: image, keys.TARGET: target, keys.SLICE_THICKNESS: thickness}


class SuperResolutionData(SegmentationData):
    """Thick and sharp patches for training, whole thick scans for validation, made from sharp scans.

    Foreground and scale are those of the thick scan, which are all that prediction has.

    Args:
        thick: how thick scans are taken of the sharp ones.
        critic_steps: batches given beside that of the generator, for as many steps of a critic.
        others: see `SegmentationData`.

    Raises:
        ConfigError: patches are not three-dimensional, or the preparation does not suit thick scans: it takes what is
            not zero as foreground, has no spacing across the slices, or its orientation depends on the scan.
    """

    def __init__(self, *, thick: ThickScans, critic_steps: int = 0, batch_size: int = 16, **others: Any) -> None:
        super().__init__(batch_size=batch_size * (critic_steps + 1), **others)
        for _, size in self.patch_sizes:
            if len(size) != 3:
                raise ConfigError(
                    f"patches of {len(size)} sides cannot be sharpened across slices",
                    mend="give patches.sampler.size and patches.schedule three sides",
                )
        _check_preparation(self.preparation, thick)
        self.thick = thick
        self.slice_axis = thick.slice_axis
        self.slice_spacing = thick.slice_spacing

    def patches_of(self, cases: Sequence[PreparedCase], **drawing: Any) -> PatchDataset:
        return ThickPatches(self._seen(cases), self.thick, **drawing)

    def volumes_of(self, cases: Sequence[PreparedCase]) -> VolumeDataset:
        return ThickVolumes(self._seen(cases), self.thick)

    def _seen(self, cases: Sequence[PreparedCase]) -> list[SeenThick]:
        for case in cases:
            if case.known is not None and not all(case.known):
                unknown = [name for name, known in zip(self.structures, case.known, strict=True) if not known]
                raise CohortError(
                    f"{case.name} has no mask of {', '.join(unknown)}",
                    mend="leave it out of the split, or choose structures that all cases have",
                )
        return [SeenThick.of(case, self.thick, self.preparation) for case in cases]


def _check_preparation(preparation: Preparation, thick: ThickScans) -> None:
    """Refuse what would give training other scans than prediction sees; raises ConfigError."""
    if isinstance(preparation.foreground, NonZero):
        raise ConfigError(
            "foreground=nonzero does not suit thick scans: interpolated, they are nowhere exactly 0",
            mend="choose prepare/foreground=otsu",
        )
    if preparation.spacing is None or preparation.spacing[thick.slice_axis] is None:
        raise ConfigError(
            "without a spacing across the slices, prediction would leave them as thick as they are",
            mend="give prepare.spacing three numbers, or leave it null with common_spacing=true",
        )
    if preparation.orientation == SLICES_LAST:
        raise ConfigError(
            f"prepare.orientation={SLICES_LAST!r} depends on the scan", mend="name one, e.g. prepare.orientation=RAS"
        )
