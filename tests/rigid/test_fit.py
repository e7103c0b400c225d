"""Laws of the fit of posed bones to frames: its minimum, its derivatives, and what it must not see."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch
from laws import for_all

from ankleseg.rigid import fit as module
from ankleseg.rigid.descent import descend
from ankleseg.rigid.fit import Fit, Voxels, covariance, fit
from ankleseg.rigid.template import StaticScan, Template
from ankleseg.volumes.poses import displacement_of, invert_pose, rotation_about, translation

SHAPE = (64, 60, 40)
AFFINE = translation((12, -30, 8)) @ rotation_about((2, 1, -1), 20) @ np.diag([0.6, 0.6, -0.9, 1.0])
CENTRE = AFFINE[:3, :3] @ ((np.array(SHAPE) - 1) / 2) + AFFINE[:3, 3]
TRUE = [rotation_about((1, 2, 0), 7, CENTRE) @ translation((2, -1, 3)), translation((-1, 2, 0.5))]
AWAY = [
    rotation_about((1, -1, 2), 3, CENTRE) @ translation((0.8, 0.5, -0.6)),
    rotation_about((0, 1, 1), -5, CENTRE) @ translation((-0.5, 0.4, 0.6)),
]
SHARES = torch.tensor([0.25, 0.5, 0.25])


def wave(points: np.ndarray) -> np.ndarray:
    """A smooth texture without symmetry, 0.1 to 0.9."""
    x, y, z = np.moveaxis(points - CENTRE, -1, 0) / 1.8
    return 0.5 + 0.1 * (
        np.sin(x + 0.4 * y) + np.sin(1.1 * y - 0.5 * z + 1) + np.cos(0.9 * z + 0.3 * x) + np.sin(0.7 * (x - y + z))
    )


@pytest.fixture(scope="module")
def template() -> Template:
    voxels = np.stack(np.meshgrid(*map(np.arange, SHAPE), indexing="ij"), -1)
    image = wave(voxels @ AFFINE[:3, :3].T + AFFINE[:3, 3]).astype(np.float32)
    weight = np.ones(SHAPE, np.float32)
    normal = AFFINE[:3, 2] / np.linalg.norm(AFFINE[:3, 2])
    scan = StaticScan(image, AFFINE, weight, None, normal=normal, width=1.0, voxel=0.6)
    return scan.template(0.6, 0.0)


@pytest.fixture(scope="module")
def voxels(template: Template) -> Voxels:
    """Two items, the second with fewer voxels; their frames are the template seen from the true poses."""
    rng = np.random.default_rng(0)
    offsets = torch.tensor([[0.2, 0.1, -1.5], [0, 0, 0], [-0.2, -0.1, 1.5]])
    points = torch.from_numpy(np.stack([transformed(pose, rng) for pose in TRUE])).float()
    valid = torch.ones(2, 700, dtype=torch.bool)
    valid[1, 500:] = False
    made = Voxels(points, torch.zeros(2, 700), valid, offsets, SHARES, torch.ones(2))
    values = torch.stack([seen(template, made, i, TRUE[i])[:, 0] for i in range(2)])
    return replace(made, values=values)


def transformed(pose: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Points of the frame that lie about the centre in the static scan."""
    back = invert_pose(pose)
    return (CENTRE + rng.uniform(-8, 8, (700, 3))) @ back[:3, :3].T + back[:3, 3]


def seen(template: Template, voxels: Voxels, item: int, pose: np.ndarray) -> torch.Tensor:
    """Columns of the template at an item's voxels, through the profile: by moving points one by one."""
    columns = []
    for offset in voxels.offsets:
        there = (voxels.points[item] + offset).double().numpy() @ pose[:3, :3].T + pose[:3, 3]
        columns.append(template.sample(torch.from_numpy(there).float()))
    return torch.einsum("k,knc->nc", voxels.shares, torch.stack(columns))


def centres() -> torch.Tensor:
    return torch.from_numpy(np.stack([CENTRE, CENTRE]))


def poses(stack: list[np.ndarray]) -> torch.Tensor:
    return torch.from_numpy(np.stack(stack))


def nudged(stack: list[np.ndarray], number: int, size: float) -> list[np.ndarray]:
    """Poses moved by one component of a twist about the centre: radians, then mm."""
    axis = np.eye(3)[number % 3]
    step = rotation_about(axis, np.degrees(size), CENTRE) if number < 3 else translation(size * axis)
    return [step @ pose for pose in stack]


def displaced() -> list[np.ndarray]:
    return [away @ pose for away, pose in zip(AWAY, TRUE, strict=True)]


def other_contrast(voxels: Voxels) -> Voxels:
    """Another contrast and noise, so that nothing is explained wholly."""
    noise = torch.from_numpy(np.random.default_rng(1).normal(0, 0.02, voxels.values.shape)).float()
    return replace(voxels, values=1.3 * voxels.values**2 - 0.6 * voxels.values + 0.4 + noise)


def test_the_gradient_is_that_of_the_cost(template: Template, voxels: Voxels) -> None:
    item = other_contrast(voxels)
    found = fit(template, item, poses(displaced()), centres(), order=0)
    numeric = np.empty((2, 6))
    for number in range(6):
        size = 0.004 if number < 3 else 0.05
        ends = [
            fit(template, item, poses(nudged(displaced(), number, sign * size)), centres(), order=0) for sign in (1, -1)
        ]
        numeric[:, number] = (ends[0].noise - ends[1].noise).double().numpy() / (4 * size)
    assert np.abs(numeric).min(0).max() > 0
    for kind in (slice(0, 3), slice(3, 6)):  # radians and mm
        size = np.linalg.norm(numeric[:, kind], axis=1)
        wrong = np.linalg.norm(found.gradient.numpy()[:, kind] - numeric[:, kind], axis=1)
        assert (wrong < 0.04 * size).all(), (found.gradient.numpy(), numeric)


def test_the_hessian_is_the_slope_of_the_gradient_where_all_is_explained(template: Template, voxels: Voxels) -> None:
    found = fit(template, voxels, poses(TRUE), centres(), order=0)
    hessian = found.hessian.numpy()
    spread = np.sqrt(np.diagonal(hessian, axis1=1, axis2=2))  # no entry exceeds the product of two, but for rounding
    assert (np.abs(hessian - hessian.transpose(0, 2, 1)) < 1e-5 * spread[:, :, None] * spread[:, None, :]).all()
    assert (np.linalg.eigvalsh(hessian) > 0).all()
    numeric = np.empty((2, 6, 6))
    for number in range(6):
        size = 0.004 if number < 3 else 0.05
        ends = [fit(template, voxels, poses(nudged(TRUE, number, sign * size)), centres(), order=0) for sign in (1, -1)]
        numeric[:, number] = (ends[0].gradient - ends[1].gradient).numpy() / (2 * size)
    scale = np.sqrt(np.einsum("bii->bi", hessian))
    np.testing.assert_allclose(
        numeric / scale[:, :, None] / scale[:, None], hessian / scale[:, :, None] / scale[:, None], atol=0.05
    )


@for_all("order", [0, 1, 2])
def test_what_is_left_is_what_least_squares_leaves(template: Template, voxels: Voxels, order: int) -> None:
    """Contrast first, then with the gain over the place: brute force in double precision."""
    item = other_contrast(voxels)
    found = fit(template, item, poses(displaced()), centres(), order=order)
    for number, pose in enumerate(displaced()):
        keep = item.valid[number].numpy()
        columns = seen(template, item, number, pose).double().numpy()[keep]
        observed, weight = item.values[number].double().numpy()[keep], columns[:, -1]
        plain = np.concatenate([columns[:, : template.tones], np.ones((len(columns), 1))], 1)
        design, root = plain, np.sqrt(weight)[:, None]
        if order:
            x, y, z = (item.points[number].double().numpy()[keep] - CENTRE).T / 8
            terms = [x, y, z] + ([x * x, y * y, z * z, x * y, y * z, z * x] if order == 2 else [])
            contrast = np.linalg.lstsq(plain * root, observed * root[:, 0], rcond=None)[0]
            design = np.concatenate([plain, (plain @ contrast)[:, None] * np.stack(terms, 1)], 1)
        best = np.linalg.lstsq(design * root, observed * root[:, 0], rcond=None)[0]
        noise = weight @ (observed - design @ best) ** 2 / weight.sum()
        variance = np.cov(observed, aweights=weight, ddof=0)
        assert float(found.noise[number]) == pytest.approx(noise, rel=0.01)
        assert float(found.cost[number]) == pytest.approx(noise / variance, rel=0.01)
        assert float(found.weight[number]) == pytest.approx(weight.sum(), rel=1e-4)
        matrix = np.cov(observed, columns[:, 0], aweights=weight)
        assert float(found.correlation[number]) == pytest.approx(
            matrix[0, 1] / np.sqrt(matrix[0, 0] * matrix[1, 1]), abs=1e-3
        )


def test_a_true_pose_explains_all_and_asks_for_nothing(template: Template, voxels: Voxels) -> None:
    there = fit(template, voxels, poses(TRUE), centres())
    away = fit(template, voxels, poses(displaced()), centres())
    assert (there.cost < 1e-5).all() and (there.correlation > 0.9999).all()
    assert (away.cost > 1e-2).all()
    assert (there.gradient.norm(dim=1) < 1e-2 * away.gradient.norm(dim=1)).all()


@for_all(("order", "offset"), [(0, 0.0), (0, 0.8), (1, 0.0), (2, 0.0)])
def test_gain_and_offset_of_the_frame_are_not_seen(
    template: Template, voxels: Voxels, order: int, offset: float
) -> None:
    """A coil multiplies, so that with a gain over the place (order 1 and 2) an offset is no mere offset."""
    item, gain = other_contrast(voxels), 3.7
    changed = replace(item, values=gain * item.values + offset)
    one, other = (fit(template, it, poses(displaced()), centres(), order=order) for it in (item, changed))
    np.testing.assert_allclose(other.cost, one.cost, rtol=2e-3)
    np.testing.assert_allclose(other.correlation, one.correlation, atol=1e-4)
    np.testing.assert_allclose(other.noise, gain**2 * one.noise, rtol=2e-3)
    for name in ("gradient", "hessian"):
        first, second = getattr(one, name).numpy(), getattr(other, name).numpy()
        np.testing.assert_allclose(second, gain**2 * first, rtol=0.01, atol=2e-3 * gain**2 * np.abs(first).max())


def test_a_slope_of_the_coil_is_not_taken_for_motion(template: Template, voxels: Voxels) -> None:
    place = (voxels.points - voxels.points.mean(1, keepdim=True)) / 8
    sloped = replace(voxels, values=(2 * voxels.values + 0.3) * (1 + place @ torch.tensor([0.2, -0.15, 0.1])))
    stiff, free = (fit(template, sloped, poses(TRUE), centres(), order=order) for order in (0, 1))
    assert (free.cost < 0.02 * stiff.cost).all()
    assert (free.gradient.norm(dim=1) < 0.1 * stiff.gradient.norm(dim=1)).all()


@for_all("slope", [0.0, 0.15])
def test_descent_ends_at_the_true_pose_and_never_rises(template: Template, voxels: Voxels, slope: float) -> None:
    place = (voxels.points - voxels.points.mean(1, keepdim=True)) / 8
    item = replace(voxels, values=(5 * voxels.values + 2) * (1 + slope * place[..., 0] - slope * place[..., 2]))
    costs: list[Fit] = [
        descend(template, item, poses(displaced()), centres(), steps=steps, order=1).fit for steps in (0, 1, 2, 4, 12)
    ]
    for before, after in itertools.pairwise(costs):
        assert (after.cost <= before.cost).all()
    reached = descend(template, item, poses(displaced()), centres(), steps=12, order=1)
    corners = CENTRE + np.array([[8, 0, 0], [0, 8, 0], [0, 0, 8], [-8, -8, -8]])
    for pose, true, start in zip(reached.static_from_frame.numpy(), TRUE, displaced(), strict=True):
        assert displacement_of(start, true, corners).mean() > 0.4
        assert displacement_of(pose, true, corners).max() < 0.02
    if slope:
        blind = descend(template, item, poses(displaced()), centres(), steps=12, order=0).static_from_frame.numpy()
        assert min(displacement_of(pose, true, corners).max() for pose, true in zip(blind, TRUE, strict=True)) > 0.3


def test_items_are_fitted_alike_alone_and_in_parts(template: Template, voxels: Voxels, monkeypatch) -> None:
    whole = fit(template, voxels, poses(displaced()), centres())
    monkeypatch.setattr(module, "CHUNK", 1)
    parts = fit(template, voxels, poses(displaced()), centres())
    for name in Fit.__dataclass_fields__:
        first, second = getattr(whole, name), getattr(parts, name)
        torch.testing.assert_close(first, second, rtol=1e-3, atol=1e-4 * float(first.abs().max()))


@for_all("grain", [0.0, 2.0])
def test_errors_are_as_large_as_their_covariance_says(template: Template, voxels: Voxels, grain: float) -> None:
    """Noise of its own in each voxel, or in each cell of ``grain`` mm: only blocks tell the latter."""
    rng, count, size = np.random.default_rng(0), 150, 0.05
    points = voxels.points[0].numpy()
    cell = np.unique(np.floor(points / grain), axis=0, return_inverse=True)[1] if grain else np.arange(len(points))
    noise = torch.from_numpy(rng.normal(0, size, (count, cell.max() + 1))[:, cell]).float()
    many = Voxels(
        voxels.points[:1].expand(count, -1, -1),
        voxels.values[:1] + noise,
        voxels.valid[:1].expand(count, -1),
        voxels.offsets,
        voxels.shares,
        torch.ones(count),
    )
    start, centre = poses([TRUE[0]] * count), torch.from_numpy(CENTRE).expand(count, -1)
    reached = descend(template, many, start, centre, steps=8, order=0).static_from_frame
    by_block, by_voxel = covariance(template, many, reached, centre, order=0, block=6.0).numpy()
    back = reached.numpy() @ invert_pose(TRUE[0])
    shift = back[:, :3, :3] @ CENTRE + back[:, :3, 3] - CENTRE
    true = np.sqrt((shift**2).sum(1).mean())
    blocks, independent = (np.sqrt(np.trace(one[:, 3:, 3:], axis1=1, axis2=2).mean()) for one in (by_block, by_voxel))
    assert blocks == pytest.approx(true, rel=0.25)
    assert independent == pytest.approx(true, rel=0.15) if not grain else independent < 0.75 * true
