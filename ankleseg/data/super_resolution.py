"""The data of super-resolution: sharp patches with thick ones made of them, other ones in every epoch."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any

from monai.transforms import Compose, Transform

from ankleseg import keys
from ankleseg.data.datamodule import SegmentationData
from ankleseg.data.dataset import Sample, VolumeDataset
from ankleseg.data.reading import WithoutMetadata, reading
from ankleseg.errors import CohortError, ConfigError
from ankleseg.transforms import (
    ForegroundMaskd,
    IntensityRanged,
    Preparation,
    RandThickSlicesd,
    SlicesLastd,
    ThickSlicesd,
    scales_of,
)
from ankleseg.transforms.intensity_scale import ScaleInMaskd


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

    padding = "edge"

    def __init__(self, *, thick: RandThickSlicesd, critic_steps: int = 0, batch_size: int = 16, **others: Any) -> None:
        super().__init__(batch_size=batch_size * (critic_steps + 1), **others)
        for _, size in self.patch_sizes:
            if len(size) != 3:
                raise ConfigError(
                    f"invalid patches of {len(size)} sides: expected 3, to be sharpened across slices",
                    mend="give patches.sampler.size and patches.schedule three sides",
                )
        _check_preparation(self.preparation, thick)
        self.thick = thick
        self.slice_axis = thick.slice_axis
        self.slice_spacing = thick.slice_spacing

    def augmentation(self) -> Sequence[Transform]:
        return [*super().augmentation(), self.thick]

    def volumes(self) -> VolumeDataset:
        """Whole scans, sharp as the target and thick as the image: the typical thick scan, the same in every epoch."""
        samples = self.samples("validation", self.split.validation)
        return VolumeDataset([typical(self.thick, seed)(sample) for seed, sample in enumerate(samples)])

    def transform(self) -> Compose:
        before, after = self.preparation.parts()
        read = reading(self.labels, **self._mends)
        return Compose([*read, *before.transforms, AsSeenThick(self.thick, after), WithoutMetadata(), *self.kept()])

    def configuration(self) -> dict[str, Any]:
        thick = {name: getattr(self.thick, name) for name in ("finest", "coarsest", *SHARED)}
        return super().configuration() | {"thick": thick}

    def samples(self, purpose: str, subjects: Sequence[str]) -> list[Sample]:
        samples = super().samples(purpose, subjects)
        for sample in samples:
            if keys.KNOWN in sample and not sample[keys.KNOWN].all():
                unknown = [name for name, known in self.labels.named(sample[keys.KNOWN].tolist()) if not known]
                raise CohortError(
                    f"{sample[keys.CASE]} has no mask of {', '.join(unknown)}",
                    mend="leave it out of the split, or choose structures that all cases have",
                )
        return samples


class AsSeenThick(Transform):
    """Give a sharp scan the foreground and the scale that prediction will find in its thick scan, where there is no
    sharp one.

    Args:
        thick: the typical thick scan is taken of the ranges.
        after: the transforms of the preparation from the foreground on.
    """

    def __init__(self, thick: RandThickSlicesd, after: Compose) -> None:
        self.thick = typical(thick, seed=0)
        self.after = after

    def __call__(self, data: dict[Hashable, Any]) -> dict[Hashable, Any]:
        sharp: Sample = {name: data[name] for name in (keys.IMAGE, keys.CASE)}
        own = IntensityRanged(keys.IMAGE)(self.after.transforms[0](dict(sharp)))
        thick = self.thick({**sharp, keys.RANGE: own[keys.RANGE]})
        seen = self.after({keys.IMAGE: thick[keys.IMAGE]})
        image = data[keys.IMAGE].clone()
        for channel, scale in enumerate(scales_of(seen)):
            image[channel] = scale.applied(image[channel])
        return data | {keys.IMAGE: image, keys.FOREGROUND: seen[keys.FOREGROUND]}


SHARED = ("thickness", "profile", "noise", "order", "published")


def typical(thick: RandThickSlicesd, seed: int) -> ThickSlicesd:
    """The thick scan in the middle of the ranges, whole."""
    shared = {name: getattr(thick, name) for name in SHARED}
    return ThickSlicesd(thick.keys, thick.target_key, thick.finest, thick.coarsest, seed=seed, **shared)


def _check_preparation(preparation: Preparation, thick: RandThickSlicesd) -> None:
    """Refuse what would give training other scans than prediction sees; raises ConfigError."""
    masks = [transform for transform in preparation.transforms if isinstance(transform, ForegroundMaskd)]
    if not masks or (masks[0].rule == "nonzero" and masks[0].threshold is None):
        raise ConfigError(
            "foreground=nonzero does not suit thick scans: interpolated, they are nowhere exactly 0",
            mend="choose prepare/foreground=otsu",
        )
    if preparation.spacing is None or preparation.spacing[thick.slice_axis] is None:
        raise ConfigError(
            "without a spacing across the slices, prediction would leave them as thick as they are",
            mend="give prepare.spacing three numbers, or leave it null with common_spacing=true",
        )
    for transform in preparation.parts()[1].transforms[1:]:
        if not isinstance(transform, ScaleInMaskd):
            raise ConfigError(
                f"{type(transform).__name__} after the foreground does not suit thick scans: sharp ones take the "
                "foreground and the scale of the thick one, and nothing else",
                mend="put it before ankleseg.transforms.ForegroundMaskd, or leave it out",
            )
    if any(isinstance(transform, SlicesLastd) for transform in preparation.transforms):
        raise ConfigError(
            "an orientation that depends on the scan does not suit thick scans",
            mend="name one, e.g. prepare.orientation=RAS",
        )
