"""Laws of displacement fields."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from monai.networks.blocks import Warp

from ankleseg.deformable.fields import compose, invert, jacobian_determinant, warp
from ankleseg.deformable.mapping import Mapping
from ankleseg.rigid.warping import jacobian_determinant as world_jacobian


def smooth(size: tuple[int, ...], height: float, seed: int = 0) -> torch.Tensor:
    """A displacement of smooth random waves, at most so many voxels, that vanishes at the border."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.randn(1, 3, 5, 5, 5, generator=generator)
    field = torch.nn.functional.interpolate(coarse, size=size, mode="trilinear", align_corners=True)
    fade = torch.ones(size)
    for axis, side in enumerate(size):
        shape = [1, 1, 1]
        shape[axis] = side
        fade = fade * torch.sin(torch.linspace(0, np.pi, side)).view(shape)
    field = field * fade
    return field * height / field.abs().max()


def test_images_are_moved_as_monai_moves_them():
    """Order, unit, corners and zeros outside are the published ones."""
    image, field = torch.rand(1, 2, 13, 10, 8), smooth((13, 10, 8), 3.0)
    field[..., 0] += 4
    ours = warp(image, field)
    torch.testing.assert_close(ours, Warp(padding_mode="zeros")(image, field), atol=1e-5, rtol=1e-4)
    shifted = torch.zeros(1, 3, 13, 10, 8)
    shifted[:, 0] = 2
    torch.testing.assert_close(warp(image, shifted)[:, :, :-2], image[:, :, 2:])


def test_a_field_and_its_inverse_lead_back():
    field = smooth((32, 30, 28), 1.5)
    for first, second in ((field, invert(field)), (invert(field), field)):
        missed = compose(first, second).norm(dim=1)
        assert missed.flatten().quantile(0.999) < 0.1 and missed.mean() < 0.01


def test_the_jacobian_of_a_scaling_and_of_a_fold():
    places = torch.stack(torch.meshgrid(*[torch.arange(8.0)] * 3, indexing="ij"))[None]
    factors = torch.tensor([0.5, -0.25, 1.0]).view(1, 3, 1, 1, 1)
    torch.testing.assert_close(jacobian_determinant(places * factors), torch.full((8, 8, 8), 1.5 * 0.75 * 2.0))
    assert (jacobian_determinant(places * torch.tensor([-1.5, 0, 0]).view(1, 3, 1, 1, 1)) < 0).all()


@pytest.mark.parametrize("voxel", [[1.0, 1.0, 1.0], [0.8, 0.9, 3.0]])
def test_a_field_in_voxels_and_in_millimetres_is_one(voxel: list[float]):
    """On an oblique, mirrored, anisotropic grid: points, determinant and inverse agree."""
    from scipy.spatial.transform import Rotation

    affine = np.eye(4)
    affine[:3, :3] = Rotation.from_rotvec([0.3, -0.2, 0.5]).as_matrix() * np.array(voxel) * [-1, 1, 1]
    affine[:3, 3] = [12, -40, 7]
    pose = np.eye(4)
    pose[:3, :3] = Rotation.from_rotvec([0.1, 0.2, -0.1]).as_matrix() * 1.1
    pose[:3, 3] = [5, 6, -7]
    field = smooth((24, 22, 20), 1.5)
    mapping = Mapping(pose, field, affine)
    world = mapping.on_grid((24, 22, 20), affine)
    voxels = np.stack(np.meshgrid(*(np.arange(n) for n in (24, 22, 20)), indexing="ij"), -1)
    points = voxels @ affine[:3, :3].T + affine[:3, 3]
    inside = (voxels + field[0].movedim(0, -1).numpy()) @ affine[:3, :3].T + affine[:3, 3]
    np.testing.assert_allclose(points + world, inside @ pose[:3, :3].T + pose[:3, 3], atol=1e-3)
    ratio = world_jacobian(world, affine) / np.linalg.det(pose[:3, :3])
    np.testing.assert_allclose(ratio, jacobian_determinant(field).numpy(), atol=1e-3)
    moving = pose @ affine  # the moving grid lies where the fixed one is taken by the affine part
    back = mapping.inverse_on_grid((24, 22, 20), moving)
    there = (points @ pose[:3, :3].T + pose[:3, 3]) + back
    steps = torch.from_numpy((there - affine[:3, 3]) @ np.linalg.inv(affine[:3, :3]).T).float()
    expected = torch.from_numpy(voxels).float().movedim(-1, 0)[None] + invert(field)
    np.testing.assert_allclose(steps.movedim(-1, 0)[None].numpy(), expected.numpy(), atol=2e-3)
