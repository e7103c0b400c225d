"""Pairs of a sharp patch and the same patch as a thick-slice scan would show it, interpolated to the same grid."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from ankleseg.data.augmentation import AugmentationDraw
from ankleseg.data.sampling import Window
from ankleseg.data.source import PatchSource
from ankleseg.errors import ConfigError
from ankleseg.rigid.profile import Shape
from ankleseg.transforms import LowResolution, ThickAxis
from ankleseg.volumes.geometry import Affine, spacing

Spacing = Sequence[float | None]

FEWEST = 3  # slices in a field of view: two are needed, and the first may begin nearly a slice inside


@dataclass(frozen=True)
class ThickDraw:
    """How one thick scan is taken: its resolution, the standard deviation of its noise as a fraction of the intensity
    range, and the seed of the noise."""

    low: LowResolution
    noise: float
    noise_seed: int

    @property
    def slice_thickness(self) -> float:
        """Largest spacing, mm; 0 where nothing is made thick."""
        return max((value for value in self.low.spacing if value is not None), default=0.0)


@dataclass(frozen=True, kw_only=True)
class ThickScans:
    """Ranges from which thick scans are drawn.

    Args:
        finest, coarsest: mm between slices along each prepared axis; None leaves an axis as it is.
        thickness: full width at half maximum of the slice profile, as a multiple of that distance.
        profile: ``gaussian`` or ``box``.
        noise: standard deviation of the noise added to the thick scan, as a fraction of the intensity range: drawn
            between half of it and all of it.
        order: of the interpolating spline; as in the preparation, so that prediction sees what training saw.
        published: repeat the published code, see `LowResolution`; the noise is then always all of it.

    Raises:
        ConfigError: there are not three of each; one axis has a finest but no coarsest spacing, or they are in the
            wrong order.
    """

    finest: Spacing
    coarsest: Spacing
    thickness: float = 1.0
    profile: Shape = "gaussian"
    noise: float = 0.03
    order: int = 3
    published: bool = False

    def __post_init__(self) -> None:
        if not len(self.finest) == len(self.coarsest) == 3:
            raise ConfigError(
                f"patches.thick has {len(self.finest)} finest and {len(self.coarsest)} coarsest spacings",
                mend="give three of each, in mm, or null for an axis that stays",
            )
        for low, high in zip(self.finest, self.coarsest, strict=True):
            if (low is None) != (high is None) or (low is not None and high is not None and low > high):
                raise ConfigError(
                    f"spacings from {list(self.finest)} to {list(self.coarsest)} mm are no range",
                    mend="give the finer one first, and null for the same axes",
                )

    def check(self, name: str, shape: Sequence[int], affine: Affine) -> None:
        """Refuse a prepared scan, of this shape and affine, of which not every thick scan of the ranges can be taken.

        Raises:
            ConfigError: a spacing is smaller than that of the scan, or too few slices fit.
        """
        for axis, (length, mm) in enumerate(zip(shape, spacing(affine), strict=True)):
            low, high = self.finest[axis], self.coarsest[axis]
            if low is None or high is None:
                continue
            if low < mm * (1 - 1e-3):
                raise ConfigError(
                    f"patches.thick.finest {low:g} mm is finer than {name} with {mm:g} mm along that axis",
                    mend="give a larger spacing, or null for an axis that stays as it is",
                )
            if length * mm < FEWEST * high:
                raise ConfigError(
                    f"the field of view of {name}, {length * mm:g} mm, holds fewer than {FEWEST} slices of {high:g} mm",
                    mend="choose a smaller patches.thick.coarsest",
                )

    @property
    def slice_axis(self) -> int:
        """The prepared axis with the thickest slices; the last where nothing is made thick."""
        return max(range(3), key=lambda axis: (self.coarsest[axis] or 0.0, axis))

    @property
    def slice_spacing(self) -> tuple[float, float] | None:
        """The finest and coarsest distance of the slices, mm; None where nothing is made thick."""
        low, high = self.finest[self.slice_axis], self.coarsest[self.slice_axis]
        return None if low is None or high is None else (low, high)

    def draw(self, rng: np.random.Generator) -> ThickDraw:
        """Draw a thick scan; the random numbers taken do not depend on the ranges."""
        where, phase, noise, seed = rng.random(), rng.random(), rng.random(), int(rng.integers(2**62))
        return self._taken(where, 0.0 if self.published else phase, noise, seed)

    def typical(self, seed: int = 0) -> ThickDraw:
        """The scan in the middle of the ranges, with slices from the edge of the field of view."""
        return self._taken(0.5, 0.0, 0.5, seed)

    def _taken(self, where: float, phase: float, noise: float, seed: int) -> ThickDraw:
        mm = [
            None if low is None or high is None else low + where * (high - low)
            for low, high in zip(self.finest, self.coarsest, strict=True)
        ]
        low = LowResolution(
            spacing=mm,
            thickness=self.thickness,
            profile=self.profile,
            phase=phase,
            order=self.order,
            published=self.published,
        )
        return ThickDraw(low, self.noise * (1 if self.published else 0.5 + 0.5 * noise), seed)


def thick_pair(
    source: PatchSource, window: Window, draw: AugmentationDraw, thick: ThickDraw
) -> tuple[Float[Tensor, "c *patch"], Float[Tensor, "c *patch"], Tensor]:
    """Cut a patch, sharp and thick.

    Only the part of the volume that the patch depends on is made thick. What was drawn to change the anatomy and the
    contrast changes both; noise is of the thick scan alone. Where a patch is longer than the volume, the outermost
    voxels are repeated, as in prediction.

    Args:
        source: the sharp scan.
        window: a block.
        draw: changes of the patch; its own noise and blur are left out.
        thick: how the thick scan is taken.

    Returns:
        the interpolated thick patch, the sharp patch, and its label (1, *patch).
    """
    shape, mm = source.case.foreground.shape, spacing(source.case.affine)
    asked, window = window, window.within(shape)
    corner, size, axes, inner = [], [], [], []
    for axis in range(3):
        first, side = window.corner[axis], window.size[axis]
        whole = thick.low.axis(axis, shape[axis], float(mm[axis]))
        if whole is None:
            seen, part = slice(first, first + side), None
        else:
            seen, part = whole.around(slice(first, first + side))
        corner.append(seen.start)
        size.append(seen.stop - seen.start)
        axes.append(part)
        inner.append(slice(first - corner[axis], first - corner[axis] + side))
    larger = Window((corner[0], corner[1], corner[2]), (size[0], size[1], size[2]))
    flipped = [axis for axis in source.flipped_axes(draw)]
    for axis in flipped:
        inner[axis] = slice(size[axis] - inner[axis].stop, size[axis] - inner[axis].start)
    sharp, label = source.cut(larger, replace(draw, noise=0.0, blur=0.0))
    patch = _thick(sharp, [_flipped(part) if n in flipped else part for n, part in enumerate(axes)], thick, source)
    for axis, part in enumerate(axes):
        if part is None:
            patch = patch.narrow(axis + 1, inner[axis].start, window.size[axis])
    here = tuple(inner)
    before = [place - first for place, first in zip(window.corner, asked.corner, strict=True)]
    return (
        _padded(patch, before, asked.size),
        _padded(sharp[(slice(None), *here)], before, asked.size),
        _padded(label[(slice(None), *here)], before, asked.size),
    )


def thick_volume(source: PatchSource, thick: ThickDraw) -> Float[Tensor, "c x y z"]:
    """A whole prepared scan as a thick scan shows it, interpolated to the same grid."""
    shape, mm = source.case.foreground.shape, spacing(source.case.affine)
    axes = [thick.low.axis(axis, shape[axis], float(mm[axis])) for axis in range(3)]
    return _thick(torch.from_numpy(source.case.image), axes, thick, source)


def _thick(
    sharp: Float[Tensor, "c x y z"], axes: Sequence[ThickAxis | None], thick: ThickDraw, source: PatchSource
) -> Float[Tensor, "c u v w"]:
    image = sharp
    for axis, part in enumerate(axes, start=1):
        if part is not None:
            image = _along(image, part.thick_from_fine, axis)
    if thick.noise:
        generator = torch.Generator().manual_seed(thick.noise_seed)
        dark, extent = (values.reshape(-1, 1, 1, 1) for values in (source.background, source.intensity_range))
        noise = torch.randn(image.shape, generator=generator)
        image = torch.maximum(image + thick.noise * extent * noise, dark)
    for axis, part in enumerate(axes, start=1):
        if part is not None:
            image = _along(image, part.fine_from_thick, axis)
    return image


def _padded(image: Tensor, before: Sequence[int], size: Sequence[int]) -> Tensor:
    """Repeat the outermost voxels until the patch has its size."""
    for axis, (first, side) in enumerate(zip(before, size, strict=True), start=1):
        if image.shape[axis] < side:
            places = torch.arange(-first, side - first).clamp(0, image.shape[axis] - 1)
            image = image.index_select(axis, places)
    return image.contiguous()


def _along(image: Tensor, matrix: np.ndarray, axis: int) -> Tensor:
    return torch.tensordot(torch.from_numpy(np.ascontiguousarray(matrix)), image, ([1], [axis])).movedim(0, axis)


def _flipped(part: ThickAxis | None) -> ThickAxis | None:
    """The same axis, seen from the other end."""
    if part is None:
        return None
    return ThickAxis(part.thick_from_fine[::-1, ::-1], part.fine_from_thick[::-1, ::-1], part.centres)
