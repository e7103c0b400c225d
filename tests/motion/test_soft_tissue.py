"""Laws of soft tissue registered beyond the polyrigid blend: better where there is contrast, and else no worse."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from ankleseg.measures.deformation import folded_share, jacobian_determinant
from ankleseg.motion.soft_tissue import SoftTissue, register_soft_tissue
from ankleseg.rigid.polyrigid import polyrigid_image, polyrigid_pullback
from ankleseg.rigid.profile import SliceProfile
from ankleseg.rigid.residual import Residual
from ankleseg.rigid.static_bones import StaticBones, static_bones
from ankleseg.volumes import Volume
from ankleseg.volumes.poses import invert_pose, mean_pose, rotation_about, transform, translation

SHAPE, AFFINE = (60, 60, 30), translation((-30, -30, -30)) @ np.diag([1.0, 1.0, 2.0, 1.0])
POSES = {"tibia": translation((1, 0, 0)), "talus": rotation_about((0, 0, 1), 12, (0, -8, 0))}
WHOLE = mean_pose(np.stack(list(POSES.values())))
THIN = SliceProfile(2.0)


@pytest.fixture(scope="module")
def foot() -> tuple[Volume, StaticBones]:
    """Two blocks of bone in soft tissue with structures of a few millimetres."""
    x, y, z = np.moveaxis(points(), -1, 0)
    beam = (np.abs(x) < 8) & (np.abs(z) < 8)
    masks = {"tibia": beam & (y > 2) & (y < 22), "talus": beam & (y < -2) & (y > -18)}
    texture = gaussian_filter(np.random.default_rng(0).standard_normal(SHAPE), (2.5, 2.5, 1.5))
    image = 1000 + 200 * texture / texture.std() + 500 * (masks["tibia"] | masks["talus"])
    return Volume(image.astype(np.float32), AFFINE), static_bones(masks, AFFINE)


def points() -> np.ndarray:
    return np.moveaxis(np.indices(SHAPE, float), 0, -1) @ AFFINE[:3, :3].T + AFFINE[:3, 3]


def moved(foot: tuple[Volume, StaticBones], residual: Residual | None = None) -> np.ndarray:
    static, bones = foot
    return polyrigid_image(static.data, AFFINE, bones, POSES, WHOLE, SHAPE, AFFINE, residual=residual)


def registered(foot: tuple[Volume, StaticBones], frame: np.ndarray) -> SoftTissue:
    static, bones = foot
    noise = np.random.default_rng(1).normal(0, 20, SHAPE)
    filled = (moved((Volume(np.zeros_like(static.data), AFFINE), bones)) > 0).astype(np.float32)
    image = Volume((frame + noise).astype(np.float32), AFFINE)
    return register_soft_tissue(static, bones, POSES, WHOLE, image, filled, THIN)


def test_soft_tissue_that_does_not_follow_the_bones_is_found_and_the_bones_stay_rigid(foot):
    bump = np.exp(-((points() - [16, 0, 0]) ** 2).sum(-1) / (2 * 12**2))[..., None]
    true = Residual((bump * [0.5, 3.0, 0.0]).astype(np.float32), AFFINE)
    found = registered(foot, moved(foot, true))
    assert found.residual is not None and found.after > found.before
    fields = [
        polyrigid_pullback(foot[1], POSES, WHOLE, SHAPE, AFFINE, residual=one) for one in (true, None, found.residual)
    ]
    where = bump[..., 0] > 0.5
    blended, after = (np.linalg.norm(field - fields[0], axis=-1)[where].mean() for field in fields[1:])
    assert after < 0.5 * blended
    assert folded_share(jacobian_determinant(np.moveaxis(fields[2], -1, 0), AFFINE)) < 1e-3
    for bone, pose in POSES.items():
        inside, box = foot[1].insides[bone]
        places = transform(pose @ box, np.argwhere(inside)[::40].astype(float))
        for place in places:
            shift = polyrigid_pullback(foot[1], POSES, WHOLE, (1, 1, 1), translation(place), residual=found.residual)
            expected = transform(invert_pose(pose), place[None])[0] - place
            np.testing.assert_allclose(shift[0, 0, 0], expected, atol=0.05)


def test_where_there_is_nothing_to_register_the_blend_stays(foot):
    for frame in (moved(foot), np.full(SHAPE, 1000.0)):
        assert registered(foot, frame).residual is None
