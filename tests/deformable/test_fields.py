"""Laws of displacement fields."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ankleseg.deformable.mapping import Mapping
from ankleseg.measures.deformation import jacobian_determinant
from ankleseg.spatial_transform import composed, inverted, warped


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


def test_sharing_a_sampling_among_threads_changes_no_bit():
    image, field, threads = torch.rand(1, 2, 13, 10, 8), smooth((13, 10, 8), 5.0), torch.get_num_threads()
    moved = []
    try:
        for count in (1, 2, 3):
            torch.set_num_threads(count)
            moved.append(warped(image, field, padding_mode="border"))
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(moved[0], moved[1]) and torch.equal(moved[0], moved[2])


def test_a_field_and_its_inverse_lead_back():
    field = smooth((32, 30, 28), 1.5)
    for first, second in ((field, inverted(field)), (inverted(field), field)):
        missed = composed(first, second).norm(dim=1)
        assert missed.flatten().quantile(0.999) < 0.1 and missed.mean() < 0.01


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
    ratio = jacobian_determinant(np.moveaxis(world, -1, 0), affine) / np.linalg.det(pose[:3, :3])
    np.testing.assert_allclose(ratio, jacobian_determinant(field[0].numpy()), atol=1e-3)
    moving = pose @ affine  # the moving grid lies where the fixed one is taken by the affine part
    back = mapping.inverse_on_grid((24, 22, 20), moving)
    there = (points @ pose[:3, :3].T + pose[:3, 3]) + back
    steps = torch.from_numpy((there - affine[:3, 3]) @ np.linalg.inv(affine[:3, :3]).T).float()
    expected = torch.from_numpy(voxels).float().movedim(-1, 0)[None] + inverted(field)
    np.testing.assert_allclose(steps.movedim(-1, 0)[None].numpy(), expected.numpy(), atol=2e-3)
