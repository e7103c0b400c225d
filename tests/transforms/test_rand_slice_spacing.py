"""Laws of slices of random thickness: a plane is kept, detail across thick slices is lost, detail in them is not."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ankleseg.errors import ConfigError
from ankleseg.transforms import RandSliceSpacingd

AFFINE = np.diag([1.0, 1.0, 1.0, 1.0])
EXAMPLES = {"RandSliceSpacingd": {"distance": (2.0, 3.0)}}


def taken(image: torch.Tensor, seed: int, **settings: object) -> torch.Tensor:
    transform = RandSliceSpacingd("image", **settings).set_random_state(seed)  # type: ignore[arg-type]
    return transform({"image": image, "affine": AFFINE})["image"]


def test_of_stripes_only_those_across_thick_slices_are_lost() -> None:
    stripes = torch.arange(48).remainder(4).lt(2).float()
    lost = set()
    for seed in range(12):
        left = []
        for axis in range(3):
            shape = [1, 1, 1, 1]
            shape[axis + 1] = 48
            image = stripes.reshape(shape).expand(1, 48, 48, 48).contiguous()
            left.append(float(taken(image, seed, distance=(8, 8), in_plane=(1, 1)).std() / image.std()))
        across = int(np.argmin(left))
        lost.add(across)
        assert left[across] < 0.2 and all(abs(part - 1) < 1e-3 for n, part in enumerate(left) if n != across)
    assert lost == {0, 1, 2}


def test_a_slope_keeps_its_place() -> None:
    slope = torch.arange(40.0).reshape(1, 40, 1, 1).expand(1, 40, 40, 40).contiguous()
    for seed in range(6):
        given = taken(slope, seed, distance=(6, 6), in_plane=(1, 1))
        assert (given - slope)[:, 8:-8].abs().max() < 0.2


def test_arguments_that_are_none() -> None:
    with pytest.raises(ConfigError, match=r"invalid distance \[3, 1\]: expected a range above 0"):
        RandSliceSpacingd("image", distance=(3, 1))
