"""Thick-slice scans made from finer ones: the slice profile in mm, true slice centres, and the way back by a spline.

A scan is made thick, and interpolated back, along one axis after the other, each step a matrix.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from ankleseg.errors import ConfigError
from ankleseg.rigid.profile import Shape, SliceProfile
from ankleseg.transforms.axis_splines import along, spline_matrix
from ankleseg.volumes.geometry import Affine, spacing

KEPT = 2e-3  # of the largest weight: what a patch feels of slices with less is neglected
FWHM = 2 * np.sqrt(2 * np.log(2))  # of a Gaussian, in standard deviations


@dataclass(frozen=True, eq=False)
class ThickAxis:
    """An axis made thick and brought back.

    Attributes:
        thick_from_fine: (slices, voxels that they see), the slice profile; every row adds up to one.
        fine_from_thick: (voxels to fill, slices), the spline that interpolates.
        centres: of the slices, in voxels of the fine axis.
    """

    thick_from_fine: Float[np.ndarray, "slices seen"]
    fine_from_thick: Float[np.ndarray, "voxels slices"]
    centres: Float[np.ndarray, " slices"]

    def around(self, voxels: slice) -> tuple[slice, ThickAxis]:
        """Return the part of the axis that some voxels depend on, and the matrices between it and them."""
        felt = abs(self.fine_from_thick[voxels]).max(axis=0)
        slices = _support(felt)
        seen = _support(self.thick_from_fine[slices].max(axis=0))
        thick = self.thick_from_fine[slices, seen]
        thick = thick / thick.sum(axis=1, keepdims=True)
        return seen, ThickAxis(thick, self.fine_from_thick[voxels, slices], self.centres[slices])


@dataclass(frozen=True, kw_only=True)
class LowResolution:
    """How a scan with thicker voxels is taken of a finer one.

    Its slices fill the field of view up to half a slice: the last one may reach so far beyond it, where the outermost
    voxel goes on.

    Args:
        spacing: distance of the thick voxels in mm along each axis; None leaves an axis as it is.
        thickness: full width at half maximum of the profile, as a multiple of that distance: below 1 leaves gaps
            between the slices, above 1 lets them overlap.
        profile: ``gaussian`` (Greenspan 2009) or ``box``.
        phase: where the first slice begins, as a fraction of the distance from the edge of the field of view.
        order: of the spline that brings the scan back to the fine grid, 0 to 5.
        published: repeat the published SegSRGAN code instead: its blur takes the standard deviation in mm for one in
            voxels, and its slices are single voxels picked from corner to corner (facts in docs/reference/methods.md).

    Raises:
        ConfigError: a spacing, thickness, profile or order that cannot be.
    """

    spacing: Sequence[float | None]
    thickness: float = 1.0
    profile: Shape = "gaussian"
    phase: float = 0.0
    order: int = 3
    published: bool = False

    def __post_init__(self) -> None:
        if len(self.spacing) != 3 or any(value is not None and not value > 0 for value in self.spacing):
            raise ConfigError(
                f"low_resolution.spacing {list(self.spacing)} is no spacing",
                mend="give three positive numbers in mm, or null for an axis that stays as it is",
            )
        if not 0 <= self.phase < 1:
            raise ConfigError(f"low_resolution.phase {self.phase} is no fraction", mend="choose 0 <= phase < 1")
        SliceProfile(self.thickness, self.profile)

    def axis(self, axis: int, length: int, voxel: float) -> ThickAxis | None:
        """Make one axis thick; None where it stays as it is.

        Args:
            axis: which one.
            length: voxels along it.
            voxel: their spacing in mm.

        Raises:
            ConfigError: the new spacing is smaller, or fewer than two slices fit into the field of view.
        """
        wanted = self.spacing[axis]
        if wanted is None or abs(wanted / voxel - 1) < 1e-3:
            return None
        if wanted < voxel:
            raise ConfigError(
                f"low_resolution.spacing {wanted:g} mm is finer than the scan's {voxel:g} mm",
                mend="give a larger spacing, or null for an axis that stays as it is",
            )
        step = wanted / voxel
        if length / step - self.phase < 2:
            raise ConfigError(
                f"a field of view of {length * voxel:g} mm holds fewer than two slices of {wanted:g} mm",
                mend="choose thinner slices",
            )
        return self._published(length, step, wanted) if self.published else self._true(length, step, voxel)

    def _true(self, length: int, step: float, voxel: float) -> ThickAxis:
        count = int(np.floor(length / step - self.phase + 0.5))
        centres = (np.arange(count) + self.phase + 0.5) * step - 0.5
        profile = SliceProfile(self.thickness * step * voxel, self.profile)
        edges = (np.arange(length + 1) - 0.5 - centres[:, None]) * voxel
        below = profile.below(edges)
        below[:, 0], below[:, -1] = 0, 1  # beyond the field of view the last voxel goes on
        back = spline_matrix(count, (np.arange(length) - centres[0]) / step, self.order)
        return ThickAxis(np.diff(below, axis=1).astype(np.float32), back, centres)

    def _published(self, length: int, step: float, wanted: float) -> ThickAxis:
        count = round(length / step)
        centres = np.arange(count) * (length - 1) / (count - 1)
        picked = np.rint(centres)
        blur = np.exp(-0.5 * ((np.arange(length) - picked[:, None]) / (wanted / FWHM)) ** 2)
        blur /= blur.sum(axis=1, keepdims=True)
        back = spline_matrix(count, np.arange(length) * (count - 1) / (length - 1), self.order)
        return ThickAxis(blur.astype(np.float32), back, centres)


def thick_scan(
    image: Float[np.ndarray, "x y z"], affine: Affine, low: LowResolution
) -> tuple[Float[np.ndarray, "u v w"], Affine]:
    """Take a scan with thicker voxels.

    Args:
        image, affine: the fine scan, RAS+ mm.
        low: how it is taken; its spacing is along the axes of the image.

    Returns:
        the thick scan and its affine, which puts every slice where it was taken.

    Raises:
        ConfigError: the spacing does not suit the scan.
    """
    fine_from_thick = np.eye(4)
    for axis, voxel in enumerate(spacing(affine)):
        thick = low.axis(axis, image.shape[axis], float(voxel))
        if thick is not None:
            image = along(image, thick.thick_from_fine, axis)
            fine_from_thick[axis, axis] = thick.centres[1] - thick.centres[0]
            fine_from_thick[axis, 3] = thick.centres[0]
    return image, affine @ fine_from_thick


def _support(weights: Float[np.ndarray, " n"]) -> slice:
    """Where weights are not negligible, from the first to the last."""
    found = np.flatnonzero(weights > KEPT * weights.max())
    return slice(int(found[0]), int(found[-1]) + 1)
