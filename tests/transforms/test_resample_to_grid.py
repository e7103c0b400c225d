"""Laws of the common grid: what lies at a point of the world lies there afterwards, in every scan."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from laws import for_all
from monai.data import MetaTensor

from ankleseg.errors import ConfigError
from ankleseg.transforms import ResampleToGridd
from ankleseg.volumes.poses import rotation_about

EXAMPLES = {"ResampleToGridd": {"pixdim": (0.6, 0.7, 0.9), "size": (30, 36, 28), "center": (-13, 19, 14)}}


def ramp(affine: np.ndarray, shape: tuple[int, ...] = (40, 40, 40)) -> MetaTensor:
    """A scan whose brightness is 2x + 3y − z mm."""
    places = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), -1)
    world = places @ affine[:3, :3].T + affine[:3, 3]
    return MetaTensor(torch.from_numpy((world @ [2, 3, -1]).astype(np.float32))[None], affine=torch.from_numpy(affine))


def test_scans_of_any_grid_come_to_one_that_shows_the_same_places() -> None:
    transform = ResampleToGridd("image", pixdim=(1, 1.5, 2), size=(12, 10, 8), center=(1, 2, 3))
    expected = ramp(np.array(transform.affine), (12, 10, 8))
    for degrees in (0, 20):
        turn = np.eye(4)
        turn[:3, :3] = rotation_about(np.array([1.0, 2.0, 0.5]), degrees)[:3, :3]
        turn[:3, 3] = np.array([1.0, 2.0, 3.0]) - turn[:3, :3] @ [19.5, 19.5, 19.5]
        given = transform({"image": ramp(turn)})["image"]
        assert np.allclose(given.affine, expected.affine) and given.shape == (1, 12, 10, 8)
        torch.testing.assert_close(given.as_tensor(), expected.as_tensor(), atol=2e-3, rtol=0)


def test_outside_a_scan_it_is_as_dark_as_its_darkest_voxel() -> None:
    image = ramp(np.diag([1.0, 1, 1, 1]), (6, 6, 6)) - 50
    given = ResampleToGridd("image", pixdim=(1, 1, 1), size=(20, 20, 20))({"image": image})["image"]
    assert float(given.min()) == pytest.approx(float(image.min())) and float(given[0, 0, 0, 0]) == float(given.min())


def test_without_a_size_scans_stay_as_they_are() -> None:
    image = ramp(np.eye(4))
    assert ResampleToGridd("image")({"image": image})["image"] is image


@for_all(
    ("settings", "message"),
    [
        ({"size": [4, 4]}, r"invalid size \[4, 4\]: expected three sides in voxels"),
        ({"size": [4, 4, 4]}, "invalid spacing None of a grid: expected three positive numbers in mm"),
        ({"size": [4, 4, 4], "pixdim": [1, 1, 1], "center": [0]}, r"invalid center \[0\]: expected three coordinates"),
        ({"mode": "cubic"}, "invalid mode 'cubic': expected bilinear or nearest"),
    ],
)
def test_a_wrong_setting_is_named(settings: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        ResampleToGridd("image", **settings)
