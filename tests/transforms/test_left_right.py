"""Whichever transform reverses left and right is found."""

from __future__ import annotations

import numpy as np
import pytest
from monai import transforms as monai

from ankleseg.errors import ConfigError
from ankleseg.labels import Labels
from ankleseg.transforms import (
    RandAnatomicalFlipd,
    RandCoilFieldd,
    RandGammaInRanged,
    RandWorldAffined,
    refuse_left_right,
    reverses_left_right,
)

KEYS = ["image", "label"]
PSR = np.array([[0, 0, 3.0, -20], [-0.9, 0, 0, 10], [0, 0.7, 0, 5], [0, 0, 0, 1]])
RAS = np.diag([0.9, 0.7, 3.0, 1])
HARMLESS = (
    monai.RandAffined(KEYS, prob=0.3, rotate_range=[0.5] * 3, scale_range=[0.2] * 3),
    monai.Rand3DElasticd(KEYS, sigma_range=(4, 6), magnitude_range=(50, 100), prob=0.5),
    monai.RandScaleIntensityd("image", factors=(-3, -2), prob=0.5),
    monai.RandAdjustContrastd("image", prob=1.0, invert_image=True),
    monai.RandCoarseDropoutd(KEYS, holes=3, spatial_size=5, prob=1.0),
    monai.RandGibbsNoised("image", prob=1.0),
    monai.RandSpatialCropd(KEYS, roi_size=(12, 12, 12), random_size=False),
    RandWorldAffined(KEYS, rotate=180, zoom=(0.8, 1.2), shift=2),
    RandGammaInRanged("image"),
    RandCoilFieldd("image"),
    RandAnatomicalFlipd(KEYS, ["PA", "IS"]),
)
ALONG_FIRST = (
    monai.RandFlipd(KEYS, prob=0.1, spatial_axis=0),
    monai.OneOf([RandGammaInRanged("image"), monai.Compose([monai.RandFlipd("image", prob=0.5, spatial_axis=0)])]),
    monai.RandAffined(KEYS, prob=0.3, scale_range=[(-2.1, -1.9), (0, 0), (0, 0)]),
    monai.Transposed(KEYS, (0, 2, 1, 3)),
    lambda sample: {key: value.flip(1) if key in KEYS else value for key, value in sample.items()},
)


def test_what_leaves_the_sides_is_allowed_whatever_else_it_does() -> None:
    for transform in HARMLESS:
        assert not reverses_left_right(transform, RAS, 3), type(transform).__name__


def test_what_reverses_them_is_found_where_they_are() -> None:
    """Along the first axis left–right lies in RAS scans, the last one in PSR scans; patches in slices lack the last."""
    for transform in ALONG_FIRST:
        assert reverses_left_right(transform, RAS, 3) and not reverses_left_right(transform, PSR, 3)
    across = monai.RandFlipd(KEYS, prob=0.1, spatial_axis=2)
    assert reverses_left_right(across, PSR, 3) and not reverses_left_right(across, RAS, 3)
    assert reverses_left_right(monai.RandAxisFlipd(KEYS, prob=0.1), PSR, 3)
    in_plane = monai.RandAxisFlipd(KEYS, prob=0.1)
    assert reverses_left_right(in_plane, RAS, 2) and not reverses_left_right(in_plane, PSR, 2)


def test_labels_say_which_may_stay() -> None:
    flips = monai.RandFlipd(KEYS, spatial_axis=0), RandAnatomicalFlipd(KEYS, ["LR"], pairs=[(2, 1)])
    names = ("left", "right", "middle")
    refuse_left_right(HARMLESS[-3:], Labels(structures=names), [PSR, RAS], 3)
    refuse_left_right(flips[:1], Labels(structures=names, pairs=()), [PSR, RAS], 3)
    refuse_left_right(flips[1:], Labels(structures=names, pairs=(("left", "right"),)), [PSR, RAS], 3)
    for flip in flips:
        with pytest.raises(
            ConfigError, match="reverses left and right, which turns a right foot into a left one; leave"
        ):
            refuse_left_right([flip], Labels(structures=names), [PSR, RAS], 3)
    with pytest.raises(
        ConfigError, match=r"RandFlipd reverses left and right without swapping .*RandAnatomicalFlipd .* \[\[1, 2\]\]"
    ):
        refuse_left_right(flips[:1], Labels(structures=names, pairs=(("left", "right"),)), [PSR, RAS], 3)
    with pytest.raises(ConfigError, match="without swapping the labels"):
        refuse_left_right(flips[1:], Labels(structures=names, pairs=(("left", "middle"),)), [PSR, RAS], 3)
