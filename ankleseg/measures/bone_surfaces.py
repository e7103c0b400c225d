"""The surface of a bone, found between the voxels of its mask."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from ankleseg.errors import GeometryError
from ankleseg.volumes.geometry import Affine, bounding_box, spacing

CELL_MM = 0.8  # voxels are averaged to about this size: finer ones only cost time
ROUNDING_MM = 0.8  # standard deviation of the Gaussian that takes the steps of the voxels away


@dataclass(frozen=True, eq=False)
class BoneSurface:
    """Triangles of the surface of a bone and the cells inside it, in RAS+ mm.

    Attributes:
        points: (n, 3) middle of each triangle.
        normals: (n, 3) unit vectors out of the bone.
        areas: (n,) mm².
        cells: (m, 3) points spread evenly over the inside.
        shares: (m,) how much of its cell each stands for, 0 to 1.
        cell_volume: of a whole cell, mm³.
    """

    points: Float[np.ndarray, "n 3"]
    normals: Float[np.ndarray, "n 3"]
    areas: Float[np.ndarray, " n"]
    cells: Float[np.ndarray, "m 3"]
    shares: Float[np.ndarray, " m"]
    cell_volume: float

    @property
    def centroid(self) -> Float[np.ndarray, "3"]:
        """Centre of the volume."""
        return np.average(self.cells, axis=0, weights=self.shares)

    def mirrored(self) -> BoneSurface:
        """The mirror image, left for right (x ↦ −x)."""
        flip = np.array([-1.0, 1, 1])
        return BoneSurface(
            self.points * flip, self.normals * flip, self.areas, self.cells * flip, self.shares, self.cell_volume
        )


def bone_surface(mask: Bool[np.ndarray, "x y z"], affine: Affine) -> BoneSurface:
    """Find the surface of a bone by marching cubes on its slightly blurred mask.

    Where a mask is cut by the border of the image, the cut is closed and belongs to the surface.

    Raises:
        GeometryError: the mask is empty.
    """
    from scipy.ndimage import gaussian_filter
    from skimage.measure import marching_cubes

    if not mask.any():
        raise GeometryError("holds no voxel of the bone", mend="leave the bone out, or give its mask")
    box = bounding_box(mask)
    low = np.array([part.start for part in box])
    factors = np.maximum(np.round(CELL_MM / spacing(affine)), 1).astype(int)
    sigma = ROUNDING_MM / (spacing(affine) * factors)
    # Cells never straddle the border of the image, so that the margin around the bone is empty.
    margin = np.ceil(3 * sigma).astype(int) + 1
    filled = _averaged(mask[box], factors, margin)
    world_from_cell = affine.astype(float)
    world_from_cell[:3, :3] = affine[:3, :3] * factors
    world_from_cell[:3, 3] = affine[:3, :3] @ (low + (factors - 1) / 2 - margin * factors) + affine[:3, 3]
    smooth = gaussian_filter(filled, sigma, mode="constant")
    if smooth.max() <= 0.5:
        raise GeometryError("holds too few voxels of the bone to have a surface", mend="give the whole bone")
    vertices, faces, _, _ = marching_cubes(smooth, 0.5)
    vertices = vertices @ world_from_cell[:3, :3].T + world_from_cell[:3, 3]
    corners = vertices[faces].astype(float)
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    doubled = np.linalg.norm(normals, axis=1)
    kept = doubled > 0
    # Outwards for every handedness of the affine: the closed surface encloses a positive volume.
    outwards = np.sign(np.einsum("ni,ni->", corners.mean(1) - corners.mean((0, 1)), normals))
    places = np.argwhere(filled > 0)
    return BoneSurface(
        corners.mean(1)[kept],
        outwards * normals[kept] / doubled[kept, None],
        doubled[kept] / 2,
        places @ world_from_cell[:3, :3].T + world_from_cell[:3, 3],
        filled[tuple(places.T)].astype(float),
        float(abs(np.linalg.det(world_from_cell[:3, :3]))),
    )


def _averaged(mask: np.ndarray, factors: np.ndarray, margin: np.ndarray) -> np.ndarray:
    """Share of each cell of ``factors`` voxels that is filled, with ``margin`` empty cells all around."""
    cells = -(-np.array(mask.shape) // factors)
    padded = np.zeros(cells * factors, np.float32)
    padded[tuple(slice(side) for side in mask.shape)] = mask
    blocks = padded.reshape([size for pair in zip(cells, factors, strict=True) for size in pair])
    return np.pad(blocks.mean((1, 3, 5)), [(side, side) for side in margin])
