"""Laws of random changes of intensities."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from ankleseg.errors import ConfigError
from ankleseg.transforms import (
    IntensityRanged,
    RandCoilFieldd,
    RandGammaInRanged,
    RandWorldBlurd,
)

DARK, BRIGHT = -2.0, 6.0
ALL = (RandGammaInRanged, RandCoilFieldd)


def sample(image: torch.Tensor) -> dict[str, Any]:
    return {
        "image": image,
        "image_range": torch.tensor([[DARK, BRIGHT]] * len(image)),
        "affine": np.diag([0.5, 0.8, 3, 1]),
    }


def patch(*shape: int) -> torch.Tensor:
    return DARK + (BRIGHT - DARK) * torch.rand((1, *shape), generator=torch.Generator().manual_seed(0))


def relative(image: torch.Tensor) -> torch.Tensor:
    return (image - DARK) / (BRIGHT - DARK)


def test_gamma_is_a_power_within_its_range() -> None:
    """The number is found again in the patch; over many seeds the numbers fill their range."""
    for shape in ((28, 26), (12, 11, 10)):
        image = patch(*shape)
        there, old = relative(image) > 0.05, relative(image)
        transform = RandGammaInRanged("image", gamma=(0.7, 1.4))
        found = []
        for seed in range(150):
            new = relative(transform.set_random_state(seed)(sample(image))["image"])
            powers = (new.log() / old.log())[there]
            assert float((powers - powers.median()).abs().median()) < 1e-3
            found.append(float(powers.median()))
        assert 0.699 <= min(found) < 0.75 and 1.33 < max(found) <= 1.401


def test_the_coil_field_is_smooth_and_leaves_the_darkest() -> None:
    """Its logarithm is a polynomial of second order of coefficients in their range."""
    for shape in ((28, 26), (12, 11, 10)):
        image = patch(*shape)
        image[0].view(-1)[0] = DARK
        changed = RandCoilFieldd("image", coefficient=0.3).set_random_state(1)(sample(image))["image"]
        assert float(changed[0].view(-1)[0]) == pytest.approx(DARK)
        axes = [axis.ravel() for axis in np.meshgrid(*(np.linspace(-1, 1, n) for n in shape), indexing="ij")]
        terms = [*axes, *(axes[a] * axes[b] for a in range(len(axes)) for b in range(a, len(axes)))]
        field = (relative(changed) / relative(image)).log().numpy().ravel()
        bright = relative(image).numpy().ravel() > 0.05
        fitted, *_ = np.linalg.lstsq(np.stack(terms, 1)[bright], field[bright], rcond=None)
        assert np.allclose(np.stack(terms, 1)[bright] @ fitted, field[bright], atol=1e-3)
        assert abs(fitted).max() <= 0.301 and abs(fitted).max() > 0.1


def test_the_blur_is_a_gaussian_of_its_width_in_mm() -> None:
    spot = torch.zeros(1, 61, 61)
    spot[0, 30, 30] = 1000
    widths = []
    for seed in range(40):
        blurred = RandWorldBlurd("image", sigma=2.0).set_random_state(seed)(sample(spot))["image"][0].double()
        assert float(blurred.sum()) == pytest.approx(1000, rel=1e-3)
        width = [
            float(((blurred.sum(1 - axis) * ((torch.arange(61) - 30) * mm) ** 2).sum() / 1000).sqrt())
            for axis, mm in ((0, 0.5), (1, 0.8))
        ]
        widths.append(width)
    wide = np.array([width for width in widths if min(width) > 0.6])
    assert len(wide) > 15 and np.allclose(wide[:, 0], wide[:, 1], rtol=0.02) and 1.7 < wide.max() < 2.01
    flat = torch.full((1, 30, 30), 7.0)
    assert torch.allclose(RandWorldBlurd("image", sigma=2.0)(sample(flat))["image"], flat)


def test_patches_of_one_scan_change_alike_and_so_do_channels() -> None:
    """A part of a patch is changed as in the whole patch; a channel of another scale as the first."""
    image = patch(30, 30)
    two = {"image": torch.cat([image, 10 * image + 3]), "affine": np.eye(4)}
    two["image_range"] = torch.tensor([[DARK, BRIGHT], [10 * DARK + 3, 10 * BRIGHT + 3]])
    whole, part = (
        RandGammaInRanged("image").set_random_state(2)(sample(one))["image"] for one in (image, image[:, :9, :9])
    )
    assert torch.allclose(whole[:, :9, :9], part)
    for kind in ALL:
        changed = kind("image").set_random_state(2)(two)["image"]
        assert torch.allclose(changed[1], 10 * changed[0] + 3, atol=1e-3)


def test_without_a_range_the_patch_is_its_own_and_without_chance_nothing_changes() -> None:
    image = patch(20, 20)
    own = {"image": image, "image_range": torch.tensor([[image.min(), image.max()]])}
    for kind in ALL:
        alone = kind("image").set_random_state(1)({"image": image})["image"]
        assert torch.equal(alone, kind("image").set_random_state(1)(own)["image"])
        assert kind("image", prob=0.0)(own)["image"] is image


def test_the_range_reaches_from_the_darkest_to_the_bright_end_of_the_foreground() -> None:
    image = torch.rand(2, 9, 8, 7, generator=torch.Generator().manual_seed(0))
    mask = torch.zeros(1, 9, 8, 7, dtype=torch.bool)
    mask[:, 2:7, 2:6] = True
    found = IntensityRanged(percentile=90)({"image": image, "foreground": mask})["image_range"]
    for channel, (dark, bright) in zip(image, found, strict=True):
        assert dark == channel.min() and float(bright) == pytest.approx(np.percentile(channel[mask[0]], 90), rel=1e-5)
    with pytest.raises(ConfigError, match="empty foreground: expected the foreground of image"):
        IntensityRanged()({"image": image, "foreground": ~mask & mask})


def test_arguments_that_mean_nothing_are_refused() -> None:
    for kind, arguments, message in [
        (RandGammaInRanged, {"gamma": (0, 1)}, r"invalid gamma \[0, 1\]: expected two factors above 0"),
        (RandCoilFieldd, {"coefficient": float("nan")}, "invalid coefficient nan"),
        (RandWorldBlurd, {"sigma": -1}, "invalid sigma -1"),
        (IntensityRanged, {"percentile": 0}, "invalid percentile 0"),
    ]:
        with pytest.raises(ConfigError, match=message):
            kind("image", **arguments)
