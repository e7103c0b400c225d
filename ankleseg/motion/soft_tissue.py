"""Soft tissue between the bones of a frame, registered: what it does beyond the polyrigid blend of their poses.

The static scan, moved by the blend and seen through the slice profile, is registered to the frame on a grid of 2 mm by
`ankleseg.deformable`; the field is smooth over about a centimetre, as slices of 8 mm ask for. It is kept where the two
show the same (`TRUSTED`), is nothing within bones, and is left out where it makes the frame no more alike or folds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float

from ankleseg.deformable.refinement import Descent, refine
from ankleseg.measures.deformation import folded_share, jacobian_determinant
from ankleseg.rigid.polyrigid import Decay, polyrigid_image, polyrigid_pullback
from ankleseg.rigid.profile import SliceProfile
from ankleseg.rigid.residual import LARGEST_MM, Residual
from ankleseg.rigid.static_bones import StaticBones
from ankleseg.spatial_transform import warped
from ankleseg.volumes import Volume
from ankleseg.volumes.geometry import resample, resampled_grid, slice_axis
from ankleseg.volumes.poses import Pose, translation

GRID_MM = 2.0
DESCENT = Descent(iterations=(20,), window=7, smooth_step=4.0, smooth_field=2.0, flat=0.2)  # in voxels of that grid
PARTS = 4  # of the slice profile
TRUSTED = (0.15, 0.4)  # squared correlation around a voxel from which the field is used, and used in full
FLAT = 1e-5  # variance of intensities of which 1 is the brightest
BODY = 0.1  # of the brightest, from which on a voxel counts
GAIN = 0.02  # of the mean squared correlation, at least; noise and thick slices alone give up to 0.015 on phantoms
FOLDED = 1e-3  # share of the voxels, at most

Image = Float[np.ndarray, "x y z"]


@dataclass(frozen=True)
class SoftTissue:
    """How the soft tissue of a frame was registered.

    Attributes:
        residual: beyond the polyrigid blend, None where it was left out.
        before, after: mean squared correlation of the frame and the moved static scan in windows of 14 mm, of the
            blend and with the residual.
        folded: share of voxels in which space folds.
    """

    residual: Residual | None
    before: float
    after: float
    folded: float


def register_soft_tissue(
    static: Volume,
    bones: StaticBones,
    frame_from_static: Mapping[str, Pose],
    reference: Pose,
    frame: Volume,
    filled: Image,
    profile: SliceProfile,
    decay: Decay = "logistic",
) -> SoftTissue:
    """Register the soft tissue of one frame.

    Args:
        static: the static scan.
        bones, frame_from_static, reference, decay: as of `polyrigid_pullback`.
        frame: (X, Y, Z).
        filled: share of each voxel of the frame that bones fill.
        profile: of its slices.
    """
    poses = (bones, frame_from_static, reference)
    size, affine = frame.data.shape, frame.affine
    shape, grid = resampled_grid(size, affine, [GRID_MM] * 3)

    def seen(residual: Residual | None) -> Image:
        """The static scan as the frame would show it, on the grid."""
        axis, total = slice_axis(affine), np.zeros(size, np.float32)
        normal = affine[:3, axis] / np.linalg.norm(affine[:3, axis])
        for offset, share in zip(*profile.quadrature(PARTS), strict=True):
            plane = translation(offset * normal) @ affine
            total += np.float32(share) * polyrigid_image(
                static.data, static.affine, *poses, size, plane, decay=decay, residual=residual
            )
        return _unit(resample(total, affine, shape, grid))

    fixed, blended = _unit(resample(frame.data.astype(np.float32), affine, shape, grid)), seen(None)
    counted = (fixed > BODY) & (resample(filled, affine, shape, grid) < 0.5)
    if not counted.any():
        return SoftTissue(None, 0.0, 0.0, 0.0)
    before = float(_similarity(fixed, blended)[counted].mean())
    residual = _residual(fixed, blended, grid)
    field = polyrigid_pullback(*poses, size, affine, decay=decay, residual=residual)
    folded = folded_share(jacobian_determinant(np.moveaxis(field, -1, 0), affine))
    after = float(_similarity(fixed, seen(residual))[counted].mean())
    kept = after > before + GAIN and folded <= FOLDED
    return SoftTissue(residual if kept else None, before, after, folded)


def _residual(fixed: Image, blended: Image, grid: Float[np.ndarray, "4 4"]) -> Residual:
    """The field that makes the blend like the frame, as far as the two then show the same."""
    from scipy.ndimage import gaussian_filter

    target, source = (torch.from_numpy(image)[None, None] for image in (fixed, blended))
    found = refine(target, source, DESCENT)
    moved = warped(source, found)[0, 0].numpy()
    low, high = TRUSTED
    trust = gaussian_filter(np.clip((_similarity(fixed, moved) - low) / (high - low), 0, 1), DESCENT.smooth_step)
    displacement = np.einsum("ij,jxyz->xyzi", grid[:3, :3], found[0].numpy() * trust)
    length = np.linalg.norm(displacement, axis=-1, keepdims=True)
    return Residual((displacement / np.maximum(length / LARGEST_MM, 1)).astype(np.float32), grid)


def _similarity(first: Image, second: Image) -> Image:
    """Squared correlation of two images in a window around each voxel, 0 where one is flat."""
    from scipy.ndimage import uniform_filter

    def mean(image: Image) -> Image:
        return uniform_filter(image.astype(np.float64), DESCENT.window)

    first, second = first - first.mean(), second - second.mean()
    variances = [mean(image**2) - mean(image) ** 2 for image in (first, second)]
    covariance = mean(first * second) - mean(first) * mean(second)
    structured = (variances[0] > FLAT) & (variances[1] > FLAT)
    return np.where(structured, covariance**2 / np.maximum(variances[0] * variances[1], FLAT**2), 0).astype(np.float32)


def _unit(image: Image) -> Image:
    """Intensities of which 1 is about the brightest."""
    brightest = float(np.percentile(image, 99.5))
    return np.ascontiguousarray(image / (brightest or 1.0), np.float32)
