"""Laws of images made of labels: a brightness a label, another in each image, the label as it was."""

from __future__ import annotations

import pytest
import torch

from ankleseg.errors import ConfigError
from ankleseg.transforms import RandGammaInRanged, RandImageFromLabelsd


def sample() -> dict:
    label = torch.zeros(1, 6, 6, 6, dtype=torch.uint8)
    label[:, 2:4], label[:, 4:] = 3, 7
    return {
        "image": torch.zeros(1, 6, 6, 6), "moving": torch.zeros(2, 6, 6, 6),
        "label": label, "moving_label": label.flip(1), "image_range": torch.tensor([[-4.0, 4.0]]),
    }  # fmt: skip


def test_each_label_has_a_brightness_and_each_channel_of_each_image_its_own() -> None:
    transform = RandImageFromLabelsd(["image", "moving"], noise=0.0).set_random_state(2)
    given = transform(sample())
    seen = []
    for key, label in (("image", "label"), ("moving", "moving_label")):
        for channel in given[key]:
            shades = [channel[given[label][0] == value] for value in (0, 3, 7)]
            assert all(shade.unique().numel() == 1 for shade in shades)
            seen.append(tuple(float(shade[0]) for shade in shades))
    assert len(set(seen)) == 3 and all(len(set(shades)) == 3 for shades in seen)
    assert torch.equal(given["label"], sample()["label"])
    assert all(0 <= shade <= 1 for shades in seen for shade in shades)


def test_what_changes_intensities_afterwards_counts_in_the_new_range() -> None:
    given = RandImageFromLabelsd(["image", "moving"], noise=0.0).set_random_state(2)(sample())
    assert given["image_range"].tolist() == [[0, 1]] and given["moving_range"].tolist() == [[0, 1], [0, 1]]
    squared = RandGammaInRanged("image", gamma=(2, 2)).set_random_state(0)(given)["image"]
    torch.testing.assert_close(squared, given["image"].square())


def test_regions_inside_each_other_are_told_apart() -> None:
    masks = torch.zeros(2, 4, 4, 4, dtype=torch.uint8)
    masks[0, 1:], masks[1, 2:] = 1, 1
    given = RandImageFromLabelsd("image", noise=0.0).set_random_state(0)(
        {"image": torch.zeros(1, 4, 4, 4), "label": masks}
    )
    assert given["image"].unique().numel() == 3


def test_labels_that_are_not_there_are_told() -> None:
    with pytest.raises(ConfigError, match="missing key 'moving_label': expected the labels that moving is made of"):
        RandImageFromLabelsd("moving")({"moving": torch.zeros(1, 4, 4, 4)})
