"""Levenberg–Marquardt on SE(3) for many items at once; each has its own damping, and accepts or refuses its steps."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from ankleseg.rigid.fit import Fit, Voxels, fit
from ankleseg.rigid.template import Template

LONGEST_STEP = 12.0  # mm or, at an arm of 30 mm, degrees
ARM = 30.0  # mm, makes an angle comparable with a shift
STILL = 0.004  # mm, a shorter step ends an item


@dataclass(frozen=True, eq=False)
class Descent:
    """Where a batch of items came to.

    Attributes:
        static_from_frame: (B, 4, 4) float64.
        fit: at these poses.
    """

    static_from_frame: Float[Tensor, "b 4 4"]
    fit: Fit


def descend(
    template: Template,
    voxels: Voxels,
    static_from_frame: Float[Tensor, "b 4 4"],
    centre: Float[Tensor, "b 3"],
    *,
    steps: int,
    order: int = 1,
) -> Descent:
    """Improve poses by at most ``steps`` steps; the cost of an item never rises."""
    pose = static_from_frame
    best = fit(template, voxels, pose, centre, order=order)
    damping = torch.full_like(best.cost, 1e-2, dtype=torch.float64)
    for _ in range(steps):
        step = _step(best, damping)
        tried = _moved(pose, step, centre)
        found = fit(template, voxels, tried, centre, order=order)
        # A pose that leaves the frame explains the little that is left: it is no improvement.
        better = (found.cost < best.cost) & (found.weight > 0.5 * best.weight)
        pose = torch.where(better[:, None, None], tried, pose)
        best = _choose(better, found, best)
        damping = torch.where(better, damping / 5, damping * 8).clamp(1e-5, 1e4)
        if bool((_length(step) < STILL).all()):
            break
    return Descent(pose, best)


def _step(state: Fit, damping: Tensor) -> Tensor:
    """Damped Newton step, cut to the longest one."""
    diagonal = state.hessian.diagonal(dim1=1, dim2=2)
    scale = torch.tensor([ARM**2] * 3 + [1.0] * 3, dtype=torch.float64, device=diagonal.device)
    floor = scale * (diagonal / scale).mean(1, keepdim=True) * 1e-3  # keeps flat directions still
    system = state.hessian + torch.diag_embed(damping[:, None] * diagonal + floor * (1e-3 + damping[:, None]) + 1e-12)
    step = -torch.linalg.solve(system, state.gradient[..., None])[..., 0]
    return step * (LONGEST_STEP / _length(step).clamp(min=LONGEST_STEP))[:, None]


def _length(step: Tensor) -> Tensor:
    """Size of a twist in mm."""
    return (step[:, :3] * ARM).norm(dim=1) + step[:, 3:].norm(dim=1)


def _moved(static_from_frame: Tensor, step: Tensor, centre: Tensor) -> Tensor:
    """Poses turned about the centre and shifted by a twist."""
    turn = torch.linalg.matrix_exp(_skew(step[:, :3]))
    result = static_from_frame.clone()
    result[:, :3, :3] = turn @ static_from_frame[:, :3, :3]
    arm = static_from_frame[:, :3, 3] - centre
    result[:, :3, 3] = (turn @ arm[..., None])[..., 0] + centre + step[:, 3:]
    return result


def _skew(vector: Tensor) -> Tensor:
    x, y, z = vector.unbind(1)
    zero = torch.zeros_like(x)
    return torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], 1).reshape(-1, 3, 3)


def _choose(better: Tensor, new: Fit, old: Fit) -> Fit:
    def pick(name: str) -> Tensor:
        first, second = getattr(new, name), getattr(old, name)
        return torch.where(better.reshape(-1, *[1] * (first.ndim - 1)), first, second)

    return Fit(*(pick(name) for name in Fit.__dataclass_fields__))
