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
from typing import NamedTuple

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
    parts = [_fit_some(template, voxels, items, static_from_frame, centre, order) for items in _chunks(voxels)]
    return Fit(*(torch.cat([getattr(part, name) for part in parts]) for name in Fit.__dataclass_fields__))


def covariance(
    template: Template,
    voxels: Voxels,
    static_from_frame: Float[Tensor, "b 4 4"],
    centre: Float[Tensor, "b 3"],
    *,
    order: int,
    block: float,
) -> Float[Tensor, "2 b 6 6"]:
    """Covariance of the twists (rad, mm, about the centre) by which poses at a minimum of the cost may be wrong.

    What a model does not explain is alike in neighbouring voxels, so these are not independent. The first estimate
    counts blocks of ``block`` mm as independent (sandwich with clusters; Liang and Zeger 1986), the second voxels.
    In float64.
    """
    by_block, by_voxel = [], []
    for items in _chunks(voxels):
        found = _linearised(template, voxels, items, static_from_frame, centre, order)
        free = found.moved.double() - found.linear.double() @ torch.linalg.solve(found.normal, found.cross)
        pulls = free * (found.share * found.residual).double()[..., None]
        cells = torch.floor((voxels.points[items] - voxels.points[items].amin(1, keepdim=True)) / block).long()
        number = (cells * torch.tensor([10**6, 10**3, 1], device=cells.device)).sum(-1)
        inverses = torch.linalg.inv(found.hessian + _ridge(found.hessian))
        noise = (found.share * found.residual**2).sum(1).double() / found.total.clamp(min=1)
        by_voxel.append(inverses * noise[:, None, None])
        for pull, cell, inverse in zip(pulls, number, inverses, strict=True):
            places, row = torch.unique(cell, return_inverse=True)
            sums = pull.new_zeros(len(places), 6).index_add_(0, row, pull)
            by_block.append(inverse @ (sums.mT @ sums) @ inverse)
    return torch.stack([torch.stack(by_block), torch.cat(by_voxel)])


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


class _Linearised(NamedTuple):
    """The model at a pose, and its change with the twist.

    `share` weighs the voxels and sums to 1; `linear` are the columns with coefficients, `normal` their normal matrix;
    `moved` the derivative of the model by the twist, `cross` its products with the columns.
    """

    share: Tensor
    total: Tensor
    variance: Tensor
    correlation: Tensor
    residual: Tensor
    linear: Tensor
    normal: Tensor
    moved: Tensor
    cross: Tensor
    hessian: Tensor


def _chunks(voxels: Voxels) -> list[slice]:
    step = max(1, CHUNK // (voxels.points.shape[1] * len(voxels.shares)))
    return [slice(start, start + step) for start in range(0, len(voxels.points), step)]


def _fit_some(
    template: Template, voxels: Voxels, items: slice, static_from_frame: Tensor, centre: Tensor, order: int
) -> Fit:
    found = _linearised(template, voxels, items, static_from_frame, centre, order)
    noise = (found.share * found.residual**2).sum(1)
    gradient = -((found.moved * found.share[..., None]).mT @ found.residual[..., None]).double()[..., 0]
    # As many coefficients as voxels explain anything, and an empty frame most of all.
    enough = ((found.share > 0).sum(1) > found.linear.shape[-1]) & (found.variance > LEAST_VARIANCE)
    cost = torch.where(enough, noise / found.variance, torch.ones_like(noise))
    coverage = found.total * voxels.thinning[items]
    return Fit(cost, found.correlation, found.total, coverage, noise, found.hessian, gradient)


def _linearised(
    template: Template, voxels: Voxels, items: slice, static_from_frame: Tensor, centre: Tensor, order: int
) -> _Linearised:
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
    bend = (position @ coefficients[:, kinds + 1 :, None].to(position))[..., 0]
    slopes = coefficients[:, None, :kinds].to(linear) + bend[..., None] * contrast[:, None, :kinds].to(linear)
    gradients = found[..., kinds : 4 * kinds].unflatten(-1, (3, kinds))
    pull = (gradients @ slopes[:, :, None, :, None])[..., 0] * voxels.shares[:, None]
    moved = torch.cat([torch.linalg.cross(arms, pull).sum(2), pull.sum(2)], -1)
    cross = ((linear * share[..., None]).mT @ moved).double()
    hessian = ((moved * share[..., None]).mT @ moved).double() - cross.mT @ torch.linalg.solve(normal, cross)
    return _Linearised(share, total, variance, correlation, residual, linear, normal, moved, cross, hessian)


def _ridge(hessian: Tensor) -> Tensor:
    """What keeps a flat hessian (B, 6, 6) from being singular."""
    size = 1e-9 * hessian.diagonal(dim1=1, dim2=2).sum(1) + 1e-15
    return size[:, None, None] * torch.eye(6, dtype=hessian.dtype, device=hessian.device)


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
