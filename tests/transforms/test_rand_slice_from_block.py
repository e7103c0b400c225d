"""Laws of a slice of a block: thin ones are the middle plane, thick ones its mean, labels what fills most."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ankleseg.errors import ConfigError
from ankleseg.transforms import RandSliceFromBlockd


def block() -> dict:
    generator = torch.Generator().manual_seed(0)
    label = torch.zeros(1, 6, 5, 9, dtype=torch.uint8)
    label[..., 3:] = 2
    label[:, :3, :, :7] = 1
    image = torch.rand(1, 6, 5, 9, generator=generator)
    return {"image": image, "label": label, "affine": np.diag([1.0, 1.0, 0.5, 1.0])}


def taken(mm: float) -> dict:
    return RandSliceFromBlockd(["image", "label"], thickness=(mm, mm)).set_random_state(0)(block())


def test_a_thin_slice_is_the_middle_plane_and_a_thick_one_the_mean_of_all() -> None:
    before = block()
    assert torch.allclose(taken(0.5)["image"], before["image"][..., 4])
    assert torch.allclose(taken(1.5)["image"], before["image"][..., 3:6].mean(-1))
    for mm in (4.5, 50.0):
        assert torch.allclose(taken(mm)["image"], before["image"].mean(-1))
    assert torch.equal(taken(0.5)["label"], before["label"][..., 4])


def test_a_voxel_is_what_fills_most_of_it() -> None:
    label = taken(4.5)["label"]
    assert (label[:, :3] == 1).all() and (label[:, 3:] == 2).all()  # 7 and 6 of 9 planes
    assert label.dtype == torch.uint8 and label.shape == (1, 6, 5)


def test_what_is_no_block_and_no_thickness() -> None:
    with pytest.raises(ConfigError, match="invalid image of 2 axes: expected a block"):
        RandSliceFromBlockd("image")({"image": torch.zeros(1, 4, 4), "affine": np.eye(4)})
    with pytest.raises(ConfigError, match=r"invalid thickness \[2, 1\]: expected a range in mm"):
        RandSliceFromBlockd("image", thickness=(2, 1))
