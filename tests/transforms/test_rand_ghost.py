"""Laws of ghosts: faint copies of what is there, along one axis, where an n-th of the field of view says."""

from __future__ import annotations

import pytest
import torch

from ankleseg.errors import ConfigError
from ankleseg.transforms import RandGhostd


def test_ghosts_lie_a_fraction_of_the_field_of_view_apart() -> None:
    image = torch.zeros(1, 60, 60)
    image[0, 30, 30] = 1.0
    for seed in range(5):
        given = RandGhostd("image", prob=1.0, strength=0.2, ghosts=(4, 4)).set_random_state(seed)({"image": image})
        ghosts = (given["image"][0] - image[0]).nonzero()
        moved = (ghosts - 30).abs()
        assert len(ghosts) == 3 and moved.max() == 30 and moved.sum() == 15 + 15 + 30
        assert given["image"][0, 30, 30] == 1 and given["image"].sum() < 1 + 0.2 * 2.5


def test_arguments_that_are_none() -> None:
    with pytest.raises(ConfigError, match="invalid strength -1: expected 0 or more"):
        RandGhostd("image", strength=-1)
    with pytest.raises(ConfigError, match=r"invalid ghosts \[1, 4\]: expected a range from 2"):
        RandGhostd("image", ghosts=(1, 4))
