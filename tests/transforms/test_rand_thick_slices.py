"""Laws of thick and sharp patches."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from monai.data import MetaTensor

from ankleseg.errors import ConfigError
from ankleseg.transforms import (
    IntensityRanged,
    RandAnatomicalFlipd,
    RandForegroundCropd,
    RandThickSlicesd,
    ThickSlicesd,
    thick_scan,
)
from ankleseg.transforms.axis_splines import along

EXAMPLES = {
    "RandThickSlicesd": {"finest": (None, None, 1.2), "coarsest": (None, None, 2.0), "size": (8, 9, 7), "noise": 0.02},
}
SHAPE, SIZE, MM = (24, 26, 96), (10, 12, 30), (0.5, 0.5, 0.5)
FIXED = {"finest": (None, None, 3.0), "noise": 0.0}
DRAWN = {"finest": (None, 1.0, 2.0), "coarsest": (None, 1.5, 4.0), "noise": 0.0}


def volume(shape: tuple[int, ...] = SHAPE) -> dict[str, Any]:
    image = torch.rand((1, *shape), generator=torch.Generator().manual_seed(3))
    everywhere = torch.ones((1, *shape), dtype=torch.bool)
    sample = {"image": image, "label": (3 * image).to(torch.uint8), "foreground": everywhere}
    return IntensityRanged()(sample | {"affine": np.diag([*MM, 1.0])})


def cropped(thick: RandThickSlicesd, **more: Any) -> RandForegroundCropd:
    margin = [(n - side) // 2 for n, side in zip(thick.reach(SIZE, MM), SIZE, strict=True)]
    return RandForegroundCropd(["image", "label"], SIZE, 0, margin=margin, padding_mode="edge", **more)


def part(array: torch.Tensor, window: Any) -> torch.Tensor:
    return array[(slice(None), *(slice(a, b + 1) for a, b in np.asarray(window).T))]


def test_a_patch_is_a_part_of_the_whole_thick_scan_wherever_it_is_cut() -> None:
    """And the target and the label are the sharp voxels there."""
    sample, thick = volume(), RandThickSlicesd(size=SIZE, **DRAWN)
    crop, whole = cropped(thick), RandThickSlicesd(**DRAWN)
    for seed in range(20):
        given = thick.set_random_state(seed)(crop.set_random_state(seed)(sample))
        expected = whole.set_random_state(seed)(sample)
        assert given["image"].shape == (1, *SIZE) and given["slice_thickness"] == expected["slice_thickness"]
        assert (given["image"] - part(expected["image"], given["window"])).abs().max() < 4e-3
        assert (given["image"] - given["target"]).abs().mean() > 0.1, "slices of six voxels of noise are smooth"
        assert torch.equal(given["target"], part(sample["image"], given["window"]))
        assert torch.equal(given["label"], part(sample["label"], given["window"]))


def test_the_whole_thick_scan_is_that_of_the_file_simulator() -> None:
    sample, thick = volume(), ThickSlicesd(**FIXED)
    given = thick(sample)
    low = thick.typical().low
    scan, _ = thick_scan(sample["image"][0].numpy(), sample["affine"], low)
    expected = along(scan, low.axis(2, SHAPE[2], 0.5).fine_from_thick, 2)
    assert np.allclose(given["image"][0], expected, atol=1e-5)
    assert torch.equal(given["target"], sample["image"]) and given["slice_thickness"] == 3


def test_a_patch_flipped_before_is_the_patch_flipped_after() -> None:
    sample, thick = volume(), RandThickSlicesd(size=SIZE, **DRAWN)
    crop = cropped(thick).set_random_state(4)
    flip = RandAnatomicalFlipd(["image", "label"], ["LR", "IS"], prob=1.0, pairs=[])
    after_flip = RandAnatomicalFlipd(["image", "target", "label"], ["LR", "IS"], prob=1.0, pairs=[])
    patch = crop(sample)
    before = thick.set_random_state(1)(flip(patch))
    after = after_flip(thick.set_random_state(1)(patch))
    for key in ("image", "target", "label"):
        assert torch.allclose(before[key].float(), after[key].float(), atol=1e-5), key
    assert np.array_equal(before["window"], after["window"])


def test_noise_is_of_the_thick_scan_alone_and_never_darker_than_the_scan() -> None:
    sample = volume()
    clean = ThickSlicesd(finest=(None, None, 3.0), noise=0.0)(sample)
    noisy = ThickSlicesd(finest=(None, None, 3.0), noise=0.1)(sample)
    extent = float(sample["image_range"][0, 1] - sample["image_range"][0, 0])
    assert 0.5 * 0.075 < float((noisy["image"] - clean["image"]).std()) / extent < 0.075, "the spline smooths a little"
    assert torch.equal(noisy["target"], sample["image"])


def test_a_patch_longer_than_the_volume_is_filled_up_as_in_prediction() -> None:
    sample, thick = volume((24, 26, 20)), RandThickSlicesd(size=SIZE, **FIXED)
    given = thick(cropped(thick).set_random_state(1)(sample))
    assert given["window"][:, 2].tolist() == [-5, 24]
    for key in ("image", "target", "label"):
        assert torch.equal(given[key][..., :5], given[key][..., 5:6].expand(1, *SIZE[:2], 5)), key
        assert torch.equal(given[key][..., 25:], given[key][..., 24:25].expand(1, *SIZE[:2], 5)), key


def test_draws_use_the_range_and_the_published_one_has_no_phase() -> None:
    sample = volume((4, 5, 96))
    drawn = RandThickSlicesd(finest=(None, None, 2.0), coarsest=(None, None, 4.0), published=True)
    values = [float(drawn.set_random_state(seed)(sample)["slice_thickness"]) for seed in range(60)]
    assert 2 <= min(values) < 2.2 and 3.8 < max(values) <= 4
    assert drawn.taken(0.3, 0.7, 0.2, 0).low.phase == 0 and drawn.taken(0.3, 0.7, 0.2, 0).noise == 0.03


def test_the_slice_axis_is_the_thickest_and_the_target_the_first_channel() -> None:
    for coarsest, axis in [((None, None, 3.0), 2), ((None, 4.0, 3.0), 1), ((None,) * 3, 2)]:
        assert ThickSlicesd(finest=coarsest).slice_axis == axis
    sample = volume() | {"image": volume()["image"].repeat(2, 1, 1, 1), "image_range": torch.tensor([[0.0, 1], [0, 1]])}
    for transform in (ThickSlicesd(**FIXED), RandThickSlicesd(**FIXED)):
        given = transform(sample)
        assert given["image"].shape == (2, *SHAPE) and given["target"].shape == (1, *SHAPE)


def test_what_cannot_be_taken_is_refused() -> None:
    for finest, coarsest, message in [
        (
            (None, None, 4.0),
            (None, None, 3.0),
            "expected a range; give the finer one first, and null for the same axes",
        ),
        ((None, None, 4.0), (None, 4.0, 4.0), "expected a range"),
        ((None, 4.0), (None, None, 4.0), "invalid finest and coarsest of 2 and 3 spacings: expected three"),
    ]:
        with pytest.raises(ConfigError, match=message):
            RandThickSlicesd(finest=finest, coarsest=coarsest)
    for finest, coarsest, message in [
        (3.0, 20.0, "48 mm, holds fewer than 3 slices of 20 mm; choose a smaller coarsest"),
        (0.3, 3.0, "finest 0.3 mm is finer than s1 with 0.5 mm"),
    ]:
        thick = RandThickSlicesd(finest=(None, None, finest), coarsest=(None, None, coarsest))
        with pytest.raises(ConfigError, match=message):
            thick.check("s1", SHAPE, np.diag([*MM, 1.0]))
    with pytest.raises(ConfigError, match=r"invalid size \[8, 8\]: expected three sides"):
        RandThickSlicesd(size=(8, 8))
    with pytest.raises(ConfigError, match="invalid image of 2 axes: expected three; cut blocks"):
        RandThickSlicesd()(volume() | {"image": torch.zeros(1, 5, 5)})


def test_the_inverse_gives_the_window_of_the_surroundings_back() -> None:
    thick = RandThickSlicesd(size=SIZE, **DRAWN)
    cut = cropped(thick)(volume())
    placed = cut | {key: MetaTensor(cut[key], affine=torch.from_numpy(cut["affine"])) for key in ("image", "label")}
    given = thick(placed)
    assert not np.array_equal(given["window"], cut["window"])
    assert np.array_equal(thick.inverse(given)["window"], cut["window"])
