"""Laws of flips along the axes of the patient."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from ankleseg.errors import ConfigError
from ankleseg.transforms import RandAnatomicalFlipd
from ankleseg.volumes.geometry import ANATOMICAL_AXES, anatomical_axis, reorient

EXAMPLES = {
    "RandAnatomicalFlipd": {"keys": ("image", "label", "foreground"), "axes": ("LR", "PA", "IS"), "pairs": [(1, 2)]},
}
PSR = np.array([[0, 0, 3.0, -20], [-0.9, 0, 0, 10], [0, 0.7, 0, 5], [0, 0, 0, 1]])


def test_the_axis_of_the_patient_is_reversed_in_every_orientation() -> None:
    image = np.random.default_rng(0).random((5, 6, 7)).astype(np.float32)
    for order in itertools.permutations(("LR", "PA", "IS")):
        for codes, axis in itertools.product(itertools.product(*order), ANATOMICAL_AXES):
            turned, affine = reorient(image, np.diag([1.0, 2.0, 3.0, 1.0]), "".join(codes))
            tensor = torch.from_numpy(turned.copy())[None]
            flip = RandAnatomicalFlipd("image", [axis], prob=1.0, pairs=[])
            flipped = flip({"image": tensor, "affine": affine})["image"]
            assert torch.equal(flipped, tensor.flip(anatomical_axis(affine, axis) + 1))


def test_left_and_right_structures_change_places_and_what_is_known_of_them() -> None:
    """In label maps and in masks of regions, and back."""
    label = torch.randint(0, 4, (1, 6, 5, 4), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    masks = torch.cat([label == value for value in (1, 2, 3)]).byte()
    flip = RandAnatomicalFlipd(["label"], ["LR"], prob=1.0, pairs=[(1, 3)])
    beside = {"affine": PSR, "known": torch.tensor([True, True, False])}
    mapped, split = flip({"label": label, **beside}), flip({"label": masks, **beside})
    for old, new in ((1, 3), (2, 2), (3, 1), (0, 0)):
        assert torch.equal(mapped["label"] == new, label.flip(3) == old)
    assert torch.equal(split["label"], masks.flip(3)[[2, 1, 0]])
    assert mapped["known"].tolist() == split["known"].tolist() == [False, True, True]
    image = RandAnatomicalFlipd(["image"], ["LR"], prob=1.0, pairs=[(1, 3)])({"image": label, "label": label, **beside})
    assert torch.equal(image["label"], label) and image["known"].tolist() == [True, True, False], (
        "of a label that stays"
    )
    still = RandAnatomicalFlipd(["label"], ["PA", "IS"], prob=1.0, pairs=[(1, 3)])({"label": label, **beside})
    assert torch.equal(still["label"], label.flip((1, 2))) and still["known"].tolist() == [True, True, False]


def test_every_second_patch_is_reversed_and_asking_for_another_axis_changes_no_draw() -> None:
    image = torch.arange(24.0).reshape(1, 2, 3, 4)
    both, one = (RandAnatomicalFlipd("image", axes).set_random_state(0) for axes in (("PA", "IS"), ("IS",)))
    seen = []
    for _ in range(200):
        first, second = (flip({"image": image, "affine": np.eye(4)})["image"] for flip in (both, one))
        seen.append(next(flips for flips in ((), (2,), (3,), (2, 3)) if torch.equal(first, image.flip(flips))))
        assert torch.equal(second, image.flip([axis for axis in seen[-1] if axis == 3]))
    assert min(seen.count(flips) for flips in ((), (2,), (3,), (2, 3))) > 30


def test_a_patch_knows_that_it_lies_the_other_way_round() -> None:
    sample = {"image": torch.zeros(1, 5, 6, 7), "affine": PSR, "window": np.array([[1, 2, 3], [5, 7, 9]])}
    flipped = RandAnatomicalFlipd("image", ["IS"], prob=1.0)(sample)
    assert flipped["window"].tolist() == [[1, 7, 3], [5, 2, 9]] and sample["window"][0, 1] == 2


def test_what_would_mislead_is_refused() -> None:
    with pytest.raises(
        ConfigError, match="a flip along LR turns a right foot into a left one; leave LR out of axes, or"
    ):
        RandAnatomicalFlipd("image", ["LR"])
    with pytest.raises(ConfigError, match="invalid axis 'AP': expected one of LR, PA, IS"):
        RandAnatomicalFlipd("image", ["AP"])
    flip = RandAnatomicalFlipd("image", ["LR"], prob=1.0, pairs=[])
    with pytest.raises(
        ConfigError, match="a flip along LR goes across the slices; leave it out of axes, or cut blocks"
    ):
        flip({"image": torch.zeros(1, 5, 6), "affine": PSR})
