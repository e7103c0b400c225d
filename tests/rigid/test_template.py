"""Laws of the static scan as registration looks it up."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from laws import for_all

from ankleseg.rigid.template import StaticScan
from ankleseg.volumes.poses import rotation_about, translation

SHAPE = (48, 44, 20)
OBLIQUE = translation((400, -250, 90)) @ rotation_about((1, 2, 3), 50) @ np.diag([-0.7, 0.9, 2.0, 1.0])  # left-handed
SLOPE = np.array([3.0, -2.0, 5.0])


def world_of(shape: tuple[int, ...], affine: np.ndarray) -> np.ndarray:
    voxels = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), -1)
    return voxels @ affine[:3, :3].T + affine[:3, 3]


def inner_points(count: int, margin: np.ndarray) -> np.ndarray:
    """World points at least so many voxels inside the grid."""
    last = np.array(SHAPE) - 1
    voxels = np.random.default_rng(0).uniform(margin, last - margin, (count, 3))
    return voxels @ OBLIQUE[:3, :3].T + OBLIQUE[:3, 3]


@for_all(("voxel", "smoothing", "margin"), [(0.5, 0.0, 2), (1.8, 0.0, 4), (1.0, 2.0, 11)])
def test_a_ramp_and_its_slope_are_sampled_exactly(voxel: float, smoothing: float, margin: int) -> None:
    ramp = world_of(SHAPE, OBLIQUE) @ SLOPE
    offset = 100 - ramp.min()
    weight = np.ones(SHAPE, np.float32)
    scan = StaticScan(
        (ramp + offset).astype(np.float32), OBLIQUE, weight, None, normal=OBLIQUE[:3, 2] / 2, width=5.0, voxel=0.7
    )
    points = inner_points(500, np.array([margin, margin, 4]))
    template = scan.template(voxel, smoothing)
    found = template.sample(torch.from_numpy(points).float()).double().numpy()
    tones, expected = template.tones, points @ SLOPE + offset
    unit = (found[:, 0] @ expected) / (expected @ expected)  # intensities have no unit
    assert unit > 0
    np.testing.assert_allclose(found[:, 0], unit * expected, atol=1e-3 * unit * expected.max())
    np.testing.assert_allclose(
        found[:, [tones, 2 * tones, 3 * tones]] / unit, np.broadcast_to(SLOPE, (500, 3)), atol=0.05
    )
    np.testing.assert_allclose(found[:, -1], 1, atol=1e-5)


def test_beyond_the_grid_nothing_has_weight() -> None:
    scan = StaticScan(
        np.ones(SHAPE, np.float32),
        OBLIQUE,
        np.ones(SHAPE, np.float32),
        None,
        normal=OBLIQUE[:3, 2] / 2,
        width=2.0,
        voxel=1.0,
    )
    beyond = np.array([[-0.2, 20, 9], [-30, 20, 9], [20, 44, 9], [20, 20, 200], [20, 20, -1]])
    points = torch.from_numpy(beyond @ OBLIQUE[:3, :3].T + OBLIQUE[:3, 3]).float()
    found = scan.template(1.0, 0.0).sample(points)
    np.testing.assert_allclose(found[:, -1], 0, atol=1e-4)
    assert torch.isfinite(found).all()


@for_all("voxels", [2.0, 2.5, 3.0, 3.75, 4.0, 6.1])
def test_the_filter_across_slices_is_a_box_of_any_width(voxels: float) -> None:
    shape, affine = (9, 9, 41), np.diag([1.0, 1.0, 0.8, 1.0])
    impulse = np.zeros(shape, np.float32)
    impulse[4, 4, 20] = 1
    scan = StaticScan(
        impulse, affine, np.ones(shape), None, normal=np.array([0, 0, 1.0]), width=0.8 * voxels, voxel=1.0
    )
    line = scan.tones[4, 4, :, 0].numpy().astype(float)
    line /= line.sum()
    places = np.arange(41) - 20.0
    box = np.clip((voxels / 2 - np.abs(places)) + 0.5, 0, 1) / voxels  # share of each voxel that the box covers
    np.testing.assert_allclose(line, box, atol=1e-6)
    assert line @ places == pytest.approx(0, abs=1e-6)
    # A voxel is a box too; the parts that stick out are moved to the middle of theirs, by less than half a voxel.
    assert line @ places**2 + 1 / 12 == pytest.approx(voxels**2 / 12, abs=0.26)
    assert not scan.tones[3, 4, :, 0].any() and not scan.tones[4, 5, :, 0].any(), "not along the slices"


def test_a_scan_coarser_than_the_filter_stays_as_it_is() -> None:
    image = np.random.default_rng(0).uniform(1, 2, (20, 20, 12)).astype(np.float32)
    scan = StaticScan(
        image, np.diag([1.0, 1, 4, 1]), np.ones(image.shape), None, normal=np.array([0, 0, 1.0]), width=2.0, voxel=1.0
    )
    first = scan.tones[..., 0].numpy()
    np.testing.assert_allclose(first / first.max(), image / image.max(), rtol=1e-6)


def test_tones_of_any_contrast_and_of_the_bone() -> None:
    """The intensity, its hats, the mask and the intensity within: any contrast over the knots is some sum of them."""
    image = np.random.default_rng(0).uniform(0, 1, (20, 20, 12)).astype(np.float32)
    inside = np.zeros(image.shape, bool)
    inside[5:15, 5:15, 3:9] = True
    scan = StaticScan(
        image, np.eye(4), np.ones(image.shape), inside, normal=np.array([0, 0, 1.0]), width=1.0, voxel=1.0
    )
    values = np.clip(scan.tones[..., 0].numpy(), 0, 1).ravel().astype(float)
    contrast = np.interp(values, np.linspace(0, 1, 5), [0.2, 0.9, 0.1, 0.5, 0.3])
    contrast[inside.ravel()] = 0.7 - 0.4 * values[inside.ravel()]
    flat = np.column_stack([scan.tones.flatten(0, 2).numpy(), np.ones(image.size)]).astype(float)
    flat[:, 0] = values
    outside = ~inside.ravel()
    for part in (outside, inside.ravel()):
        left = contrast[part] - flat[part] @ np.linalg.lstsq(flat[part], contrast[part], rcond=None)[0]
        assert np.abs(left).max() < 1e-5
