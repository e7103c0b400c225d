"""Laws of bones on thick slices, and of the weights that they are registered by."""

from __future__ import annotations

import jaxtyping
import numpy as np
import pytest
from scipy.ndimage import binary_dilation, gaussian_filter, map_coordinates

from ankleseg.errors import ConfigError
from ankleseg.motion import BoneWeights
from ankleseg.motion.masks import fractions_on_frames
from ankleseg.motion.sequence import binary
from ankleseg.volumes.poses import rotation_about, translation

SHAPE = (40, 36, 20)
AFFINE = translation((-30, 12, 5)) @ rotation_about((1, 2, 1), 25) @ np.diag([-0.8, 0.9, 1.6, 1.0])
VOXEL = 0.8 * 0.9 * 1.6
MIDDLE = AFFINE[:3, :3] @ ((np.array(SHAPE) - 1) / 2) + AFFINE[:3, 3]


@pytest.fixture
def bone() -> np.ndarray:
    """An ellipsoid with a spur."""
    x, y, z = np.meshgrid(*(np.linspace(-1, 1, n) for n in SHAPE), indexing="ij")
    return ((x / 0.5) ** 2 + ((y - 0.1) / 0.45) ** 2 + (z / 0.6) ** 2 < 1) | (
        (np.abs(x) < 0.12) & (y > 0.2) & (y < 0.8) & (np.abs(z) < 0.3)
    )


def frame_grid(pose: np.ndarray, spacing: tuple[float, float, float], shape: tuple[int, ...]) -> np.ndarray:
    """An oblique grid about where the pose puts the middle of the static scan."""
    affine = rotation_about((0, 1, 3), -15) @ np.diag([*spacing, 1.0])
    affine[:3, 3] = (pose @ [*MIDDLE, 1])[:3] - affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    return affine


def on_frame(bone: np.ndarray, pose: np.ndarray, shape: tuple[int, ...], grid: np.ndarray) -> np.ndarray:
    return fractions_on_frames(bone, AFFINE, pose[None], shape, grid)[..., 0]


@pytest.mark.parametrize(
    ("spacing", "shape"),
    [((1.1, 1.1, 8.0), (48, 48, 9)), ((6.0, 1.3, 1.2), (11, 44, 46)), ((0.6, 0.6, 0.6), (90, 90, 90))],
)
def test_the_volume_of_a_bone_is_kept(bone: np.ndarray, spacing, shape) -> None:
    pose = translation((4, -7, 2)) @ rotation_about((3, 1, -1), 33)
    found = on_frame(bone, pose, shape, frame_grid(pose, spacing, shape))
    assert found.dtype == np.float32 and found.min() >= 0 and found.max() <= 1 + 1e-6
    assert found.sum() * np.prod(spacing) == pytest.approx(bone.sum() * VOXEL, rel=0.01)


def test_the_middle_of_a_bone_goes_where_the_pose_says(bone: np.ndarray) -> None:
    pose = translation((14, -3, 6)) @ rotation_about((0, 1, 1), -70)
    shape = (48, 48, 10)
    grid = frame_grid(pose, (1.2, 1.2, 7.0), shape)
    found = on_frame(bone, pose, shape, grid)
    middle = np.argwhere(bone).mean(0)
    expected = (pose @ AFFINE @ [*middle, 1])[:3]
    weighed = np.einsum("xyz,xyzi->i", found, np.moveaxis(np.indices(shape), 0, -1)) / found.sum()
    np.testing.assert_allclose(grid[:3, :3] @ weighed + grid[:3, 3], expected, atol=0.1)


def test_a_bone_that_does_not_move_is_its_mask_again(bone: np.ndarray) -> None:
    np.testing.assert_array_equal(binary(on_frame(bone, np.eye(4), SHAPE, AFFINE)), bone)


def test_a_thick_slice_holds_the_mean_of_what_lies_in_it(bone: np.ndarray) -> None:
    """Frame voxels of 2×2×4 static voxels, aligned with them."""
    stack = np.diag([2.0, 2.0, 4.0, 1.0])
    stack[:3, 3] = (0.5, 0.5, 1.5)
    found = on_frame(bone, np.eye(4), (20, 18, 5), AFFINE @ stack)
    exact = bone.reshape(20, 2, 18, 2, 5, 4).mean((1, 3, 5))
    assert np.abs(found - exact).max() < 0.13, "samples between voxels are interpolated"
    assert np.abs(found - exact).mean() < 0.01


@pytest.mark.parametrize("shift", [(400, 0, 0), (0, 0, -250)])
def test_beyond_the_frame_there_is_nothing(bone: np.ndarray, shift) -> None:
    grid = frame_grid(np.eye(4), (1.2, 1.2, 8.0), (30, 30, 6))
    assert not on_frame(bone, translation(shift), (30, 30, 6), grid).any()


def test_a_bone_cut_by_the_edge_is_kept_where_it_is_seen(bone: np.ndarray) -> None:
    pose, shape = np.eye(4), (48, 48, 9)
    grid = frame_grid(pose, (1.1, 1.1, 8.0), shape)
    whole = on_frame(bone, pose, shape, grid)
    cut = on_frame(bone, pose, (24, 48, 9), grid)
    np.testing.assert_allclose(cut, whole[:24], atol=1e-6)
    assert 0.2 < cut.sum() / whole.sum() < 0.8


def ball(radius: int) -> np.ndarray:
    steps = np.indices((2 * radius + 1,) * 3) - radius
    return (steps**2).sum(0) <= radius**2


@pytest.mark.parametrize(("name", "radius"), [("calcaneus", 1), ("talus", 2), ("tibia", 2), ("navicular", 2)])
def test_the_published_weights_are_masks_grown_by_a_ball_of_voxels_and_blurred(bone, name: str, radius: int) -> None:
    weight = BoneWeights(sigma=2, unit="voxel")(name, bone, AFFINE)
    expected = gaussian_filter(binary_dilation(bone, ball(radius)).astype(np.float32), 2)
    assert weight.dtype == np.float32
    np.testing.assert_allclose(weight, expected, atol=2e-3)


def test_weights_in_mm_are_as_wide_along_every_axis(bone: np.ndarray) -> None:
    affine = np.diag([0.5, 1.0, 2.0, 1.0])
    point = np.zeros((61, 31, 21), bool)
    point[30, 15, 10] = True
    weight = BoneWeights(radius={"talus": 4.0}, sigma=0.0)("talus", point, affine)
    steps = (np.moveaxis(np.indices(point.shape), 0, -1) - (30, 15, 10)) * (0.5, 1.0, 2.0)
    np.testing.assert_array_equal(weight, (np.linalg.norm(steps, axis=-1) <= 4).astype(np.float32))
    weight = BoneWeights(radius={"talus": 0.0}, sigma=2.0)("talus", point, affine)
    spread = [np.sqrt((weight * steps[..., axis] ** 2).sum() / weight.sum()) for axis in range(3)]
    np.testing.assert_allclose(spread, 2.0, rtol=0.02)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"unit": "inch"}, "invalid unit 'inch' of motion.weights: expected mm or voxel"),
        ({"sigma": -1.0}, "invalid motion.weights: expected a radius and a sigma of at least 0"),
        ({"radius": {"talus": -1.0}}, "invalid motion.weights: expected a radius and a sigma of at least 0"),
    ],
)
def test_wrong_weights_are_told(settings: dict, message: str, monkeypatch) -> None:
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # a user's run has no checker of annotations
    with pytest.raises(ConfigError, match=f"^{message}$"):
        BoneWeights(**settings)


def test_a_fraction_is_the_mean_of_all_its_samples(bone: np.ndarray) -> None:
    """The definition, sample by sample: 2×2 in the slice and 8 across, each interpolated between static voxels."""
    pose, shape = translation((4, -7, 2)) @ rotation_about((3, 1, -1), 33), (30, 28, 7)
    grid = frame_grid(pose, (1.4, 1.4, 8.0), shape)
    mask_from_frame = np.linalg.inv(pose @ AFFINE) @ grid
    total = np.zeros(shape)
    for i, j, k in np.ndindex(2, 2, 8):
        shift = (np.array([i, j, k]) + 0.5) / (2, 2, 8) - 0.5
        places = np.moveaxis(np.indices(shape), 0, -1) + shift
        voxels = places @ mask_from_frame[:3, :3].T + mask_from_frame[:3, 3]
        padded = np.pad(bone.astype(float), 1)
        total += map_coordinates(padded, np.moveaxis(voxels + 1, -1, 0), order=1, mode="constant")
    np.testing.assert_allclose(on_frame(bone, pose, shape, grid), total / 32, atol=1e-4)


def test_frames_are_filled_each_by_its_own_pose_and_one_without_stays_empty(bone: np.ndarray) -> None:
    poses = np.stack([translation((0, 0, 0)), np.full((4, 4), np.nan), translation((5, 3, -4))])
    shape, grid = (40, 40, 8), frame_grid(np.eye(4), (1.2, 1.2, 8.0), (40, 40, 8))
    found = fractions_on_frames(bone, AFFINE, poses, (*shape, 3), grid)
    assert not found[..., 1].any()
    for frame in (0, 2):
        np.testing.assert_allclose(found[..., frame], on_frame(bone, poses[frame], shape, grid), atol=1e-5)
    assert not fractions_on_frames(bone, AFFINE, poses[1:2], shape, grid).any()


def test_a_bone_at_the_very_edge_of_the_scan_keeps_its_volume() -> None:
    cube = np.ones((6, 6, 1), bool)
    found = fractions_on_frames(cube, np.eye(4), np.eye(4)[None], (10, 10, 5), translation((-2, -2, -2)))
    assert found.sum() == pytest.approx(36, rel=0.05)
