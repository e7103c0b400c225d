"""Laws of registration: it finds the poses that frames were made from, whatever the grids, gains and devices are."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from laws import for_all
from moving_blobs import AFFINE, CENTRES, FRAME_AFFINE, FRAMES, THICKNESS, Scene, make_scene, points_of
from scipy.ndimage import gaussian_filter

from ankleseg.errors import GeometryError
from ankleseg.rigid.profile import SliceProfile
from ankleseg.rigid.register import GLOBAL, Registered, register_sequence
from ankleseg.volumes.poses import displacement_of, is_rigid, rotation_about, translation

PROFILE = SliceProfile(THICKNESS, "box")


@pytest.fixture(scope="module")
def scene() -> Scene:
    return make_scene()


def weights_of(masks: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {name: gaussian_filter(mask.astype(np.float32), 1.0) for name, mask in masks.items()}


def register(
    scene: Scene,
    *,
    frames: np.ndarray | None = None,
    static_axes: tuple[tuple[int, ...], tuple[int, ...]] | None = None,
    frame_axes: tuple[tuple[int, ...], tuple[int, ...]] | None = None,
    world: np.ndarray | None = None,
    lying: np.ndarray | None = None,
    device: str = "cpu",
) -> dict[str, Registered]:
    """Register the scene; arrays may be stored along other axes (order, mirrored axes), the world may be another, and
    the leg may have lain elsewhere during the dynamic scan."""
    world = np.eye(4) if world is None else world
    lying = np.eye(4) if lying is None else lying

    def stored(array: np.ndarray, axes: tuple | None) -> np.ndarray:
        return (
            array
            if axes is None
            else np.ascontiguousarray(np.flip(array.transpose(*axes[0], *range(3, array.ndim)), axes[1]))
        )

    def grid(affine: np.ndarray, shape: tuple[int, ...], axes: tuple | None) -> np.ndarray:
        if axes is None:
            return world @ affine
        turned = affine[:, [*axes[0], 3]]
        for axis in axes[1]:
            turned = (
                turned
                @ translation(np.eye(3)[axis] * (shape[axes[0][axis]] - 1))
                @ np.diag([-1.0 if other == axis else 1.0 for other in range(4)])
            )
        return world @ turned

    frames = scene.frames if frames is None else frames
    weights = weights_of(scene.masks)
    return register_sequence(
        stored(scene.static, static_axes),
        grid(AFFINE, scene.static.shape, static_axes),
        {name: stored(mask, static_axes) for name, mask in scene.masks.items()},
        {name: stored(weight, static_axes) for name, weight in weights.items()},
        stored(scene.foot, static_axes),
        stored(frames, frame_axes),
        grid(lying @ FRAME_AFFINE, frames.shape, frame_axes),
        PROFILE,
        device=device,
    )


def errors(found: dict[str, Registered], scene: Scene) -> dict[str, np.ndarray]:
    """Mean displacement over each blob on each frame, mm."""
    return {
        name: displacement_of(found[name].frame_from_static, scene.poses[name], points_of(name)).mean(-1)
        for name in CENTRES
    }


def apart(found: dict[str, Registered], other: dict[str, Registered]) -> float:
    """Largest displacement between two registrations, mm."""
    return max(
        float(displacement_of(found[name].frame_from_static, other[name].frame_from_static, points_of(name)).max())
        for name in CENTRES
    )


@pytest.fixture(scope="module")
def found(scene: Scene) -> dict[str, Registered]:
    return register(scene)


def test_the_poses_of_the_frames_are_found(scene: Scene, found: dict[str, Registered]) -> None:
    assert list(found) == [GLOBAL, *CENTRES]
    start = [displacement_of(np.eye(4), scene.poses[name][-1], points_of(name)).mean() for name in CENTRES]
    assert min(start) > 2.5, "the blobs do move"
    for name, wrong in errors(found, scene).items():
        assert wrong.max() < 0.3, (name, wrong)
        assert all(is_rigid(pose) for pose in found[name].frame_from_static)
        assert (found[name].explained > 0.9).all() and (found[name].explained <= 1).all()
        assert (found[name].correlation > 0.9).all() and (found[name].overlap > 0.95).all()
        assert (found[name].error_mm < 0.4).all() and (found[name].error_mm > 0).all()


def test_the_same_frames_give_the_same_bytes(scene: Scene, found: dict[str, Registered]) -> None:
    again = register(scene)
    for name, registered in found.items():
        for field in Registered.__dataclass_fields__:
            assert getattr(again[name], field).tobytes() == getattr(registered, field).tobytes(), (name, field)


def test_gain_and_slope_of_the_coil_move_nothing(scene: Scene, found: dict[str, Registered]) -> None:
    x, y, z = np.meshgrid(*(np.linspace(-1, 1, n) for n in scene.frames.shape[:3]), indexing="ij")
    gain = np.array([900.0, 700.0, 1500.0])  # of each frame
    coil = (1 + 0.25 * x - 0.2 * y + 0.1 * z)[..., None] * gain
    sloped = register(scene, frames=(scene.frames * coil).astype(np.float32))
    assert max(wrong.max() for wrong in errors(sloped, scene).values()) < 0.3
    assert apart(sloped, found) < 0.1


def test_another_world_gives_the_poses_of_that_world_however_arrays_are_stored(
    scene: Scene, found: dict[str, Registered]
) -> None:
    """Oblique, left-handed, far from the origin, and axes in another order."""
    world = translation((350, -420, 800)) @ rotation_about((2, -1, 1), 65)
    there = register(scene, static_axes=((2, 0, 1), (0,)), frame_axes=((1, 2, 0), (0, 1, 2)), world=world)
    for name in CENTRES:
        back = np.linalg.inv(world) @ there[name].frame_from_static @ world
        assert displacement_of(back, found[name].frame_from_static, points_of(name)).max() < 0.1
        np.testing.assert_allclose(there[name].overlap, found[name].overlap, atol=0.02)


@for_all("shift", [(14, -12, 9), (-15, 5, -10)])
def test_a_leg_that_lay_elsewhere_is_found(scene: Scene, found: dict[str, Registered], shift: tuple) -> None:
    normal = FRAME_AFFINE[:3, 2] / np.linalg.norm(FRAME_AFFINE[:3, 2])
    lying = translation(shift) @ rotation_about(normal, 12)
    there = register(scene, lying=lying)
    for name in CENTRES:
        back = np.linalg.inv(lying) @ there[name].frame_from_static
        assert displacement_of(back, found[name].frame_from_static, points_of(name)).max() < 0.1


def test_overlap_is_the_share_inside_the_field_of_view(scene: Scene, found: dict[str, Registered]) -> None:
    cut = register(scene, frames=scene.frames[:26])
    index_from_static = np.linalg.inv(FRAME_AFFINE) @ scene.poses["shin"]
    for frame in range(FRAMES):
        inside = points_of("shin") @ index_from_static[frame, 0, :3] + index_from_static[frame, 0, 3] <= 25.5
        assert 0.2 < inside.mean() < 0.8
        assert cut["shin"].overlap[frame] == pytest.approx(inside.mean(), abs=0.12)
    assert (found["shin"].overlap > 0.95).all() and (cut["heel"].overlap > 0.95).all()
    assert errors(cut, scene)["heel"].max() < 0.3


def test_an_empty_weight_is_told(scene: Scene) -> None:
    empty = Scene(
        scene.static, {**scene.masks, "shin": np.zeros_like(scene.masks["shin"])}, scene.foot, scene.frames, {}
    )
    with pytest.raises(GeometryError, match="^the weight of shin is empty; check its mask$"):
        register(empty)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_a_gpu_finds_the_same(scene: Scene, found: dict[str, Registered]) -> None:
    assert apart(register(scene, device="cuda"), found) < 0.1
