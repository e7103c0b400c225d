"""Laws of cut fields of view: what is inside stays, what is outside is what lies at the border."""

from __future__ import annotations

import pytest
import torch

from ankleseg.errors import ConfigError
from ankleseg.transforms import RandFieldOfViewd


@pytest.mark.parametrize("shape", [(30, 24), (30, 24, 18)])
def test_inside_a_box_all_stays_and_outside_it_goes_on(shape: tuple[int, ...]) -> None:
    image = torch.rand(1, *shape)
    label = (image > 0.5).to(torch.uint8)
    transform = RandFieldOfViewd(["image", "label"], prob=1.0, least=0.3, axes=1.0).set_random_state(3)
    given = transform({"image": image, "label": label})
    same = given["image"] == image
    for axis in range(1, image.ndim):
        kept = torch.where(same.transpose(0, axis).reshape(image.shape[axis], -1).any(1))[0]
        assert 0.3 * image.shape[axis] - 1 <= len(kept) <= image.shape[axis]
        beyond = given["image"].movedim(axis, 0)
        assert torch.equal(beyond[0], beyond[kept[0]]) and torch.equal(beyond[-1], beyond[kept[-1]])
    assert torch.equal(given["label"] == 1, given["image"] > 0.5)  # labels are cut as images are


def test_keys_of_other_shapes_and_fractions_that_are_none() -> None:
    with pytest.raises(ConfigError, match=r"invalid shape of label \(4, 5\): expected \(4, 4\)"):
        RandFieldOfViewd(["image", "label"])({"image": torch.zeros(1, 4, 4), "label": torch.zeros(1, 4, 5)})
    with pytest.raises(ConfigError, match="invalid least 0: expected a fraction above 0"):
        RandFieldOfViewd("image", least=0)
