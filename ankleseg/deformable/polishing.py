"""The last hundredths of a millimetre of an affine map: the local correlation that the field will follow, by L-BFGS.

Mutual information has its own best place, some tenths of a millimetre off, where interpolation smooths most.
"""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from ankleseg.deformable.itk_registration import Kind, Matrix
from ankleseg.deformable.scans import Scan
from ankleseg.losses import LocalCorrelation
from ankleseg.spatial_transform import identity, sample
from ankleseg.volumes.poses import exp_pose, translation

ITERATIONS = 30
WINDOW = 9  # voxels
SMALL = 1e-5  # by which numbers are moved to differentiate a matrix by them

Numbers = Float[np.ndarray, "n"]


def polish(fixed: Scan, moving: Scan, start: Matrix, kind: Kind, device: str = "cpu") -> Matrix:
    """Follow the mean squared local correlation over what the fixed scan shows from a start near its best.

    Args:
        fixed, moving: at one resolution.
        start: ``moving_from_fixed``, RAS+ mm.
        kind: ``rigid`` or ``affine``, of what is put before the start.
    """
    from scipy.optimize import minimize

    compared = _Compared(fixed, moving, start, kind, device)
    count = 6 if kind == "rigid" else 12
    options = {"maxiter": ITERATIONS, "ftol": 1e-7, "gtol": 1e-7}
    found = minimize(compared.value_and_slope, np.zeros(count), jac=True, method="L-BFGS-B", options=options)
    return compared.matrix(found.x)


def likeness(fixed: Scan, moving: Scan, moving_from_fixed: Matrix) -> float:
    """Return the mean squared local correlation of two scans under a map, 0 to 1; see `polish`."""
    value, _ = _Compared(fixed, moving, moving_from_fixed, "rigid", "cpu").value_and_slope(np.zeros(6))
    return -value


class _Compared:
    """Two scans, compared under a map of a few numbers: mm by which the foreground moves, around the start."""

    def __init__(self, fixed: Scan, moving: Scan, start: Matrix, kind: Kind, device: str) -> None:
        points = fixed.points()
        self.start, self.kind, self.centre = start, kind, points.mean(0)
        self.radius = float(np.sqrt(((points - self.centre) ** 2).sum(1).mean()))
        self.fixed_affine, self.moving_affine = fixed.affine, moving.affine
        image = torch.from_numpy(np.ascontiguousarray(fixed.data, np.float32))[None, None].to(device)
        inside = torch.from_numpy(fixed.foreground())[None, None].to(device)
        self.moving = torch.from_numpy(np.ascontiguousarray(moving.data, np.float32))[None, None].to(device)
        self.windows = LocalCorrelation(WINDOW).against(image, inside)
        self.voxels = identity(image.shape[2:], image)

    def matrix(self, numbers: Numbers) -> Matrix:
        """``moving_from_fixed`` of the numbers."""
        if self.kind == "rigid":
            change = exp_pose(np.concatenate([numbers[:3] / self.radius, numbers[3:]]))
        else:
            change = np.eye(4)
            change[:3] += numbers.reshape(3, 4) / [self.radius, self.radius, self.radius, 1]
        return self.start @ translation(self.centre) @ change @ translation(-self.centre)

    def value_and_slope(self, numbers: Numbers) -> tuple[float, Numbers]:
        """Return the loss and its derivative by the numbers."""
        step = self._in_voxels(numbers)
        places = _moved(self.voxels, step)
        moved = sample(self.moving, places)
        value, slope = self.windows.value_and_slope(moved)
        edges = torch.stack(torch.gradient(moved[0, 0]))  # by the voxels of the fixed scan; by places: step's inverse
        force = (slope[0] * edges).flatten(1).double()
        points = torch.cat([self.voxels[0].flatten(1).double(), torch.ones_like(force[:1])])
        by_step = np.linalg.inv(step[:3, :3]).T @ (force @ points.T).cpu().numpy()
        slopes = []
        for number in range(len(numbers)):
            away = np.zeros(len(numbers))
            away[number] = SMALL
            change = (self._in_voxels(numbers + away) - self._in_voxels(numbers - away))[:3] / (2 * SMALL)
            slopes.append(float((by_step * change).sum()))
        return float(value), np.array(slopes)

    def _in_voxels(self, numbers: Numbers) -> Matrix:
        """From voxels of the fixed scan to those of the moving one."""
        return np.linalg.inv(self.moving_affine) @ self.matrix(numbers) @ self.fixed_affine


def _moved(voxels: Tensor, step: Matrix) -> Tensor:
    matrix = torch.tensor(step, dtype=voxels.dtype, device=voxels.device)
    return (matrix[:3, :3] @ voxels[0].flatten(1) + matrix[:3, 3:]).view_as(voxels)
