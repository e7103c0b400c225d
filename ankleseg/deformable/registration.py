"""Registration of a moving scan to a fixed one, from their voxels and affines to the mapping between them."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from ankleseg.deformable.itk_registration import register_spline
from ankleseg.deformable.mapping import Mapping
from ankleseg.deformable.prealignment import Alignment, align, stay
from ankleseg.deformable.refinement import Descent, refine
from ankleseg.deformable.scans import Scan, as_scan, as_stored, darkest, on_grid, turned
from ankleseg.losses import LocalCorrelation
from ankleseg.measures.deformation import folded_share, jacobian_determinant, log_jacobian_sd
from ankleseg.spatial_transform import warped
from ankleseg.volumes.geometry import Affine, resampled_grid, spacing
from ankleseg.volumes.volume import Volume

Method = Literal["descent", "voxelmorph", "bspline", "affine", "rigid"]
MARGIN = 12.0  # mm around what the fixed scan shows
WINDOW = 9  # of the correlation that is reported, voxels of the working grid

Predict = Callable[[Scan, Scan], Float[Tensor, "1 3 x y z"]]


@dataclass(frozen=True)
class Settings:
    """How two scans are registered.

    Attributes:
        method: ``descent``; ``voxelmorph``, the same from what a network predicts; ITK's ``bspline``; or no field:
            ``affine`` or ``rigid``.
        alignment: before the field: ``affine``, ``rigid``, or ``none`` where the headers are to be believed.
        voxel_mm: of the working grid; None: twice the voxels of the fixed scan.
        descent: of the field.
        device: where the field is computed.
    """

    method: Method = "descent"
    alignment: Literal["affine", "rigid", "none"] = "affine"
    voxel_mm: float | None = None
    descent: Descent = field(default_factory=Descent)
    device: str = "cpu"


@dataclass(frozen=True, eq=False)
class Registration:
    """What was found.

    Attributes:
        mapping: from the fixed scan to the moving one.
        alignment: the affine part.
        before, aligned, after: mean squared local correlation in what the fixed scan shows, 0 to 1: as the headers say,
            affinely aligned, and with the field.
        folded: share of voxels of that part where the field folds.
        log_jacobian_sd: standard deviation of the logarithm of the Jacobian determinant of the field there.
        seconds: that it took.
    """

    mapping: Mapping
    alignment: Alignment
    before: float
    aligned: float
    after: float
    folded: float
    log_jacobian_sd: float
    seconds: float


def register(fixed: Volume, moving: Volume, settings: Settings, *, predict: Predict | None = None) -> Registration:
    """Find where each point of the fixed scan lies in the moving one.

    Args:
        fixed, moving: on any grids.
        settings: how.
        predict: gives the displacement of two scans on the working grid, their intensities as stored, in its voxels, to
            begin with; a network.

    Raises:
        GeometryError: a scan shows nothing.
    """
    start = time.perf_counter()
    first, second = turned(as_scan(fixed)), turned(as_scan(moving))
    kind = settings.method if settings.method in ("rigid", "affine") else settings.alignment
    alignment = stay(first, second) if kind == "none" else align(first, second, kind)
    shape, affine = working_grid(first, settings.voxel_mm)
    target = on_grid(first, shape, affine)
    unaligned = on_grid(second, shape, affine)
    aligned = on_grid(second, shape, affine, alignment.moving_from_fixed)
    images = [_tensor(scan.data, settings.device) for scan in (target, unaligned, aligned)]
    begun = None
    if predict is not None:
        stored = on_grid(as_stored(moving), shape, affine, alignment.moving_from_fixed, outside=darkest(moving))
        begun = predict(on_grid(as_stored(fixed), shape, affine, outside=darkest(fixed)), stored).to(settings.device)
    displacement = _displacement(target, aligned, images, settings, begun)
    inside = target.foreground()
    similarity = _similarity(images[0], torch.from_numpy(inside).to(settings.device))
    folded, spread, after = 0.0, 0.0, similarity(images[2])
    if displacement is not None:
        determinant = jacobian_determinant(displacement[0].cpu().numpy())
        folded, spread = folded_share(determinant, inside), log_jacobian_sd(determinant, inside)
        after = similarity(warped(images[2], displacement))
    return Registration(
        mapping=Mapping(alignment.moving_from_fixed, displacement, affine),
        alignment=alignment,
        before=similarity(images[1]),
        aligned=similarity(images[2]),
        after=after,
        folded=folded,
        log_jacobian_sd=spread,
        seconds=time.perf_counter() - start,
    )


def working_grid(fixed: Scan, voxel_mm: float | None = None) -> tuple[tuple[int, int, int], Affine]:
    """Shape and affine of the grid of cubic voxels on which the field lives, around what the fixed scan shows."""
    size = 2 * float(np.prod(spacing(fixed.affine)) ** (1 / 3)) if voxel_mm is None else voxel_mm
    box = fixed.box(MARGIN)
    affine = fixed.affine.copy()
    affine[:3, 3] += affine[:3, :3] @ [part.start for part in box]
    return resampled_grid([part.stop - part.start for part in box], affine, [size] * 3)


def _displacement(
    target: Scan, aligned: Scan, images: Sequence[Tensor], settings: Settings, start: Tensor | None
) -> Tensor | None:
    if settings.method in ("rigid", "affine"):
        return None
    if settings.method == "bspline":
        return _in_voxels(register_spline(target, aligned), target.affine).to(settings.device)
    return refine(images[0], images[2], settings.descent, start)


def _in_voxels(displacement: Float[np.ndarray, "x y z 3"], affine: Affine) -> Float[Tensor, "1 3 x y z"]:
    voxels = displacement @ np.linalg.inv(affine[:3, :3]).T
    return torch.from_numpy(np.ascontiguousarray(voxels.transpose(3, 0, 1, 2), dtype=np.float32))[None]


def _tensor(data: np.ndarray, device: str) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(data, dtype=np.float32))[None, None].to(device)


def _similarity(fixed: Tensor, inside: Tensor) -> Callable[[Tensor], float]:
    """Mean squared local correlation with the fixed image in what it shows."""
    windows = LocalCorrelation(WINDOW).against(fixed, inside[None, None])
    return lambda moved: -float(windows.value(moved))
