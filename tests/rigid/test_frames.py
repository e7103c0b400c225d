"""Laws of the frames as registration reads them."""

from __future__ import annotations

import numpy as np
import torch

from ankleseg.rigid.fit import fit
from ankleseg.rigid.frames import as_frames, choose_voxels
from ankleseg.rigid.profile import SliceProfile
from ankleseg.rigid.template import StaticScan
from ankleseg.volumes.poses import translation

CPU = torch.device("cpu")
AFFINE = np.diag([1.5, 1.5, 6.0, 1.0])


def test_slices_come_last_and_places_stay() -> None:
    data = np.random.default_rng(0).uniform(1, 2, (20, 6, 24, 2)).astype(np.float32)
    affine = translation((5, 6, 7)) @ np.diag([1.0, 8.0, 1.2, 1.0])
    frames = as_frames(data, affine, SliceProfile(8), CPU)
    assert frames.values.shape == (2, 20, 24, 6)
    np.testing.assert_allclose(frames.normal, [0, 1, 0])
    ratio = frames.values[1, 3, 11, 4] / data[3, 4, 11, 1]
    np.testing.assert_allclose(frames.values[0, 7, 2, 5], ratio * data[7, 5, 2, 0], rtol=1e-5)
    np.testing.assert_allclose(frames.affine @ [3, 11, 4, 1], affine @ [3, 4, 11, 1])


def test_a_structure_beyond_the_frames_is_told_as_unexplained() -> None:
    rng = np.random.default_rng(0)
    image = rng.uniform(0.5, 1, (30, 30, 12)).astype(np.float32)
    weight = np.zeros(image.shape, np.float32)
    weight[10:20, 10:20, 3:9] = 1
    scan = StaticScan(image, np.diag([1.0, 1, 2, 1]), weight, None, normal=np.array([0, 0, 1.0]), width=2, voxel=1)
    template = scan.template(1.0, 0.0)
    frames = as_frames(rng.uniform(0.5, 1, (20, 20, 4, 2)).astype(np.float32), AFFINE, SliceProfile(6), CPU)
    far = torch.from_numpy(np.stack([translation((500, 0, 0)), translation((0, -300, 0))]))
    voxels = choose_voxels(frames, template, torch.tensor([0, 1]), far, parts=2, count=100)
    assert not voxels.valid.any()
    found = fit(template, voxels, far, torch.zeros(2, 3, dtype=torch.float64))
    assert (found.cost == 1).all() and (found.coverage < 1e-3).all()
    assert torch.isfinite(found.gradient).all() and torch.isfinite(found.hessian).all()
