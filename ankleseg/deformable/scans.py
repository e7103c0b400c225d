"""Scans as registration compares them: clipped intensities, reduced to a voxel size, cut to what they show."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from ankleseg.errors import GeometryError
from ankleseg.volumes.geometry import Affine, reorient, resample, resampled_grid, spacing
from ankleseg.volumes.poses import transform
from ankleseg.volumes.volume import Volume

PERCENTILES = (0.5, 99.8)  # intensities beyond are clipped
SMOOTHING = 0.5  # voxels of the reduced grid less those of the scan: standard deviation before it is sampled
FOREGROUND = 0.05  # of the clipped range: darker is background


@dataclass(frozen=True, eq=False)
class Scan:
    """Intensities (X, Y, Z), from 0 to 1 unless it is said that they are as stored, and the affine to RAS+ mm."""

    data: Float[np.ndarray, "x y z"]
    affine: Affine

    def foreground(self) -> Bool[np.ndarray, "x y z"]:
        """Tell which voxels are no background."""
        return self.data > FOREGROUND

    def points(self) -> Float[np.ndarray, "n 3"]:
        """Places of the foreground, RAS+ mm, in the order of its voxels."""
        return transform(self.affine, np.argwhere(self.foreground()).astype(float))

    def cropped(self) -> Scan:
        """The part that shows something, with a tenth of its sides around it."""
        box = self.box(0.1 * float(np.ptp(self.points(), axis=0).max()))
        affine = self.affine.copy()
        affine[:3, 3] += affine[:3, :3] @ [float(part.start) for part in box]
        return Scan(self.data[box], affine)

    def box(self, margin_mm: float) -> tuple[slice, slice, slice]:
        """The voxels around the foreground."""
        found = self.foreground()
        parts = []
        for axis, size in enumerate(spacing(self.affine)):
            inside = np.flatnonzero(found.any(tuple(other for other in range(3) if other != axis)))
            margin = round(margin_mm / size)
            parts.append(slice(max(0, int(inside[0]) - margin), min(int(inside[-1]) + 1 + margin, found.shape[axis])))
        return parts[0], parts[1], parts[2]


def as_scan(volume: Volume) -> Scan:
    """Clip intensities at percentiles and scale them to 0 … 1.

    Raises:
        GeometryError: all voxels have one value.
    """
    data = volume.data
    low = darkest(volume)
    brighter = data[data > low]
    if not brighter.size:
        raise GeometryError("shows nothing: all voxels have one value", file=volume.path, mend="give another scan")
    high = np.percentile(brighter, PERCENTILES[1])
    scaled = (data.astype(np.float32) - np.float32(low)) / np.float32(high - low)
    return Scan(np.clip(scaled, 0, 1), np.asarray(volume.affine, float))


def turned(scan: Scan) -> Scan:
    """The scan with its axes right, anterior, superior, so that it does not count in which order voxels are stored."""
    data, affine = reorient(scan.data, scan.affine, "RAS")
    return Scan(np.ascontiguousarray(data), affine)


def as_stored(volume: Volume) -> Scan:
    """The scan with its intensities as stored."""
    return Scan(volume.data.astype(np.float32), np.asarray(volume.affine, float))


def darkest(volume: Volume) -> float:
    """Return the intensity of what is as dark as anything, but for a few spikes."""
    return float(np.percentile(volume.data, PERCENTILES[0]))


def reduced(scan: Scan, size_mm: float) -> Scan:
    """Bring a scan to isotropic voxels; it is smoothed before where it has smaller ones."""
    shape, affine = isotropic_grid(scan.data.shape, scan.affine, size_mm)
    return on_grid(scan, shape, affine)


def on_grid(
    scan: Scan, shape: Sequence[int], affine: Affine, map_from: Affine | None = None, *, outside: float = 0.0
) -> Scan:
    """Show a scan on another grid, smoothed before where its voxels are smaller.

    Args:
        shape, affine: of the grid.
        map_from: where a point of the grid lies in the scan, RAS+ mm; None: in the same place.
        outside: intensity beyond the borders of the scan.
    """
    from scipy.ndimage import gaussian_filter

    ratio = float(spacing(affine).min()) / spacing(scan.affine)
    sigma = np.where(ratio > 1, SMOOTHING * np.sqrt(np.maximum(ratio**2 - 1, 0)), 0)
    data = gaussian_filter(scan.data, sigma, truncate=3) if sigma.any() else scan.data
    target = affine if map_from is None else map_from @ affine
    return Scan(resample(data, scan.affine, tuple(shape), target, cval=outside), affine)


def isotropic_grid(shape: Sequence[int], affine: Affine, size_mm: float) -> tuple[tuple[int, int, int], Affine]:
    """Shape and affine of a grid of cubic voxels over the same field of view."""
    return resampled_grid(shape, affine, [size_mm] * 3)
