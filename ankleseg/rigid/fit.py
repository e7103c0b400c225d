"""How well posed bones explain their frames, and which way to move them: one small linear system an item.

An item is a structure on one frame from one start. Its frame voxels y are explained by tones S_c of the static scan
(functions of its intensity, see `ankleseg.rigid.template`), averaged over the slice profile and posed by
M = ``static_from_frame``, and by a smooth gain that stands for the coils of both scans::

    seen(y)   =  Σ_c a_c Σ_k share_k S_c(M (y + offset_k normal))  +  a_0
    frame(y)  ≈  seen(y) · (1 + Σ_j b_j φ_j(y)),        φ: monomials of the position up to second order

The coefficients enter linearly, the b_j with `seen` as it is without them, and are solved for at every pose. What is
left depends on the pose alone (variable projection, Golub and Pereyra 1973), and its six derivatives come with the same
normal equations (Kaufman 1975).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ankleseg.rigid.template import Template

CHUNK = 500_000  # interpolated points at once, to bound the memory
LEAST_VARIANCE = 1e-9  # of intensities of about unit size: less is no image
RELATIVE_RIDGE = 1e-6
PRIOR = 1e-3  # relative ridge on the gain, which is 1 but for the coils


@dataclass(frozen=True, eq=False)
class Voxels:
    """The frame voxels that each item is judged by.

    Attributes:
        points: (B, n, 3) world of the frame, mm.
        values: (B, n) intensities.
        valid: (B, n); rows are filled up with invalid voxels.
        offsets: (K, 3) mm in the world of the frame: parts of the slice profile along the normal.
        shares: (K,) of the profile.
        thinning: (B,) voxels there are for each that is used.
    """

    points: Float[Tensor, "b n 3"]
    values: Float[Tensor, "b n"]
    valid: Bool[Tensor, "b n"]
    offsets: Float[Tensor, "k 3"]
    shares: Float[Tensor, "k"]
    thinning: Float[Tensor, "b"]


@dataclass(frozen=True, eq=False)
class Fit:
    """Fit of a batch of items at their poses.

    Attributes:
        cost: (B,) weighted residual variance over weighted variance of the frame, 0 to 1.
        correlation: (B,) weighted Pearson correlation of frame and posed scan, without gain and offset fields.
        weight: (B,) sum of the weights.
        coverage: (B,) the same if no voxel had been left out: how much of the structure is seen.
        noise: (B,) weighted residual variance.
        hessian: (B, 6, 6) float64, curvature of half the residual sum of squares in the twist (rad, mm) about the
            centre, contrast and gain eliminated.
        gradient: (B, 6) float64, of the same.
    """

    cost: Float[Tensor, "b"]
    correlation: Float[Tensor, "b"]
    weight: Float[Tensor, "b"]
    coverage: Float[Tensor, "b"]
    noise: Float[Tensor, "b"]
    hessian: Float[Tensor, "b 6 6"]
    gradient: Float[Tensor, "b 6"]


def fit(
    template: Template,
    voxels: Voxels,
    static_from_frame: Float[Tensor, "b 4 4"],
    centre: Float[Tensor, "b 3"],
    *,
    order: int = 1,
) -> Fit:
    """Evaluate items at poses.

    Args:
        template: the static scan.
        voxels: of the frames.
        static_from_frame: poses, float64.
        centre: in the static world, about which the twist turns.
        order: of the polynomial by which the gain changes over the item, 0 to 2.
    """
    step = max(1, CHUNK // (voxels.points.shape[1] * len(voxels.shares)))
    parts = [
        _fit_some(template, voxels, slice(start, start + step), static_from_frame, centre, order)
        for start in range(0, len(voxels.points), step)
    ]
    return Fit(*(torch.cat([getattr(part, name) for part in parts]) for name in Fit.__dataclass_fields__))


def arms_of(
    voxels: Voxels, items: slice, static_from_frame: Float[Tensor, "b 4 4"], centre: Float[Tensor, "b 3"]
) -> Float[Tensor, "some n k 3"]:
    """Places in the static world, relative to the centre, of every part of the profile of every frame voxel."""
    rotation = static_from_frame[items, :3, :3]
    # Points are moved relative to the centre, so that single precision is enough far from the origin.
    back = rotation.mT @ (centre[items] - static_from_frame[items, :3, 3])[..., None]
    arms = (voxels.points[items] - back.mT.to(voxels.points)) @ rotation.mT.to(voxels.points)
    return arms[:, :, None] + (voxels.offsets @ rotation.mT.to(voxels.points))[:, None]


def weights_at(
    template: Template, voxels: Voxels, items: slice, static_from_frame: Tensor, centre: Tensor
) -> Float[Tensor, "some n"]:
    """Weight of each frame voxel: that of the structure, seen through the slice profile."""
    places = arms_of(voxels, items, static_from_frame, centre) + centre[items, None, None].to(voxels.points)
    return (template.weight_at(places) @ voxels.shares) * voxels.valid[items]


def _fit_some(
    template: Template, voxels: Voxels, items: slice, static_from_frame: Tensor, centre: Tensor, order: int
) -> Fit:
    arms = arms_of(voxels, items, static_from_frame, centre)
    found = template.sample(arms + centre[items, None, None].to(arms))
    kinds = template.tones
    tones = voxels.shares @ found[..., :kinds]
    observed = voxels.values[items]
    weight = (found[..., -1] @ voxels.shares) * voxels.valid[items]
    total = weight.sum(1).clamp(min=1e-6)
    share = weight / total[:, None]

    def mean(quantity: Tensor) -> Tensor:
        return (share * quantity).sum(1, keepdim=True)

    centred = observed - mean(observed)
    variance = mean(centred**2)[:, 0].clamp(min=1e-12)
    first = tones[..., 0] - mean(tones[..., 0])
    correlation = mean(centred * first)[:, 0] / (variance * mean(first**2)[:, 0]).sqrt().clamp(min=1e-12)
    plain = torch.cat([tones, torch.ones_like(observed)[..., None]], -1)
    contrast = _solve(plain, observed, share)[0]
    position = _monomials(voxels.points[items], share, order)
    seen = (plain @ contrast[..., None].to(plain))[..., 0]
    linear = torch.cat([plain, seen[..., None] * position], -1)
    coefficients, normal = _solve(linear, observed, share, position.shape[-1], PRIOR)
    residual = observed - (linear @ coefficients[..., None].to(linear))[..., 0]
    noise = mean(residual**2)[:, 0]
    bend = (position @ coefficients[:, kinds + 1 :, None].to(position))[..., 0]
    slopes = coefficients[:, None, :kinds].to(linear) + bend[..., None] * contrast[:, None, :kinds].to(linear)
    gradients = found[..., kinds : 4 * kinds].unflatten(-1, (3, kinds))
    pull = (gradients @ slopes[:, :, None, :, None])[..., 0] * voxels.shares[:, None]
    moved = torch.cat([torch.linalg.cross(arms, pull).sum(2), pull.sum(2)], -1)
    weighted = linear * share[..., None]
    cross = (weighted.mT @ moved).double()
    moved_weighted = moved * share[..., None]
    hessian = (moved_weighted.mT @ moved).double() - cross.mT @ torch.linalg.solve(normal, cross)
    gradient = -(moved_weighted.mT @ residual[..., None]).double()[..., 0]
    # As many coefficients as voxels explain anything, and an empty frame most of all.
    enough = ((weight > 0).sum(1) > linear.shape[-1]) & (variance > LEAST_VARIANCE)
    cost = torch.where(enough, noise / variance, torch.ones_like(noise))
    return Fit(cost, correlation, total, total * voxels.thinning[items], noise, hessian, gradient)


def _solve(
    linear: Tensor, observed: Tensor, share: Tensor, penalised: int = 0, prior: float = 0.0
) -> tuple[Tensor, Tensor]:
    """Weighted least squares of the frame on columns, the last ones held towards zero; and the normal matrix."""
    weighted = linear * share[..., None]
    normal = (weighted.mT @ linear).double()
    scale = normal.diagonal(dim1=1, dim2=2).clamp(min=1e-12)
    ridge = torch.full_like(scale, RELATIVE_RIDGE)
    if penalised:
        ridge[:, -penalised:] = prior
    normal = normal + torch.diag_embed(scale * ridge)
    return torch.linalg.solve(normal, (weighted.mT @ observed[..., None]).double())[..., 0], normal


def _monomials(points: Tensor, share: Tensor, order: int) -> Tensor:
    """Monomials of the position up to an order, without the constant, of about unit size."""
    if not order:
        return points[..., :0]
    middle = (share[..., None] * points).sum(1, keepdim=True)
    spread = ((share[..., None] * (points - middle) ** 2).sum(1, keepdim=True)).sqrt().clamp(min=1e-3)
    place = (points - middle) / spread
    if order == 1:
        return place
    x, y, z = place.unbind(-1)
    return torch.cat([place, torch.stack([x * x - 1, y * y - 1, z * z - 1, x * y, y * z, z * x], -1)], -1)
