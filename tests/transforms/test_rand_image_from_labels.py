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


def test_labels_that_look_alike_and_air_that_is_black() -> None:
    label = torch.arange(12, dtype=torch.uint8).reshape(1, 3, 4)
    for seed in range(8):
        transform = RandImageFromLabelsd("image", noise=0.0, black=1.0, alike=[[2, 8, 10], [4, 7]], likeness=1.0)
        given = transform.set_random_state(seed)({"image": torch.zeros(1, 3, 4), "label": label})["image"].ravel()
        assert given[0] == 0
        assert given[[2, 8, 10]].max() - given[[2, 8, 10]].min() <= 0.16 + 1e-6
        assert (given[4] - given[7]).abs() <= 0.16 + 1e-6
    with pytest.raises(ConfigError, match="invalid black 2: expected a probability"):
        RandImageFromLabelsd("image", black=2)
