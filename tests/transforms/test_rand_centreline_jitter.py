"""Slices move by whole voxels, smoothly, and image and label together."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from laws import for_all

from ankleseg import keys
from ankleseg.errors import ConfigError
from ankleseg.transforms import RandCentrelineJitterd

AFFINE = np.diag([0.5, 0.5, 1.0, 1.0])
EXAMPLES = {"RandCentrelineJitterd": {"keys": ["image", "label", "foreground"], "sigma": 1.0, "smoothness": 4.0}}


def patch(*shape: int) -> dict:
    """A bar along the slices in image and label, with a value of its own in each slice."""
    image = torch.zeros(1, *shape)
    middle = (slice(shape[0] // 2 - 3, shape[0] // 2 + 3), slice(shape[1] // 2 - 2, shape[1] // 2 + 2))
    image[(0, *middle)] = 1 + torch.arange(shape[2]).float() if len(shape) == 3 else 1.0
    return {"image": image, "label": (image > 0).to(torch.uint8), keys.AFFINE: AFFINE}


def centres(label: torch.Tensor) -> np.ndarray:
    return np.array([np.argwhere(plane.numpy()).mean(axis=0) for plane in label[0].movedim(-1, 0)])


@for_all("seed", range(6))
def test_image_and_label_stay_together(seed):
    jitter = RandCentrelineJitterd(["image", "label"], sigma=1.0, size=(32, 32, 24)).set_random_state(seed)
    reach = jitter.reach((32, 32, 24), (0.5, 0.5, 1.0))
    assert reach == (42, 42, 28)
    moved = jitter(patch(*reach))
    assert moved["image"].shape == moved["label"].shape == (1, 32, 32, 24)
    assert torch.equal(moved["image"] > 0, moved["label"] > 0)
    assert int(moved["label"].sum()) == 6 * 4 * 24, "something was lost"
    assert [int(plane.max()) for plane in moved["image"][0].movedim(-1, 0)] == list(range(3, 27)), (
        "slices changed places"
    )


def test_shifts_are_as_large_and_as_smooth_as_told():
    drawn = []
    for seed in range(60):
        jitter = RandCentrelineJitterd("label", sigma=1.5, smoothness=6.0).set_random_state(seed)
        drawn.append(0.5 * (centres(jitter(patch(64, 64, 40))["label"]) - [31.5, 31.5]))
    shifts = np.array(drawn)
    assert shifts.std() == pytest.approx(1.5, rel=0.1)
    assert abs(shifts).max() <= 2.5 * 1.5 + 0.25
    assert abs(np.diff(shifts, axis=1)).mean() < 0.25 < abs(np.diff(shifts, axis=0)).mean()


def test_a_slice_moves_as_one():
    jitter = RandCentrelineJitterd(["image", "label"], sigma=2.0, size=(24, 24)).set_random_state(3)
    moved = jitter(patch(44, 44))
    assert moved["image"].shape == (1, 24, 24) and int(moved["label"].sum()) == 24
    assert torch.equal(moved["image"] > 0, moved["label"] > 0)


def test_wrong_settings_are_named():
    with pytest.raises(ConfigError, match="invalid sigma -1 or smoothness 8: expected mm; give 0 or more"):
        RandCentrelineJitterd("image", sigma=-1)
    with pytest.raises(
        ConfigError, match=r"invalid size \[99, 9, 9\] of RandCentrelineJitterd: expected at most \[44, 44, 20\]"
    ):
        RandCentrelineJitterd("image", size=(99, 9, 9))(patch(44, 44, 20))
