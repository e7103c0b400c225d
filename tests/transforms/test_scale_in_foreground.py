"""Laws of the intensity scales."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from monai.transforms import Compose

from ankleseg.errors import ConfigError, FileError
from ankleseg.transforms import NormalizeInForegroundd, ScaleInForegroundd, scales_of

EXAMPLES = {"ScaleInForegroundd": {"clip": False}}
Z_SCORE, MIN_MAX = NormalizeInForegroundd("image"), ScaleInForegroundd("image", lower=0, upper=100)
PERCENTILE = ScaleInForegroundd("image", lower=2, upper=98)
BRIGHT_END = ScaleInForegroundd("image", lower=None, upper=99.5, clip=False)


@pytest.fixture
def scan() -> dict[str, torch.Tensor]:
    rng = np.random.default_rng(1)
    image = rng.normal(700, 90, (1, 20, 18, 8)).astype(np.float32)
    foreground = rng.random(image.shape) < 0.4
    image[~foreground] *= 0.1
    return {"image": torch.from_numpy(image), "foreground": torch.from_numpy(foreground)}


def test_z_score_has_mean_0_and_population_deviation_1_in_the_foreground(scan) -> None:
    scaled, inside = Z_SCORE(scan)["image"], scan["image"][scan["foreground"]].double()
    there = scaled[scan["foreground"]].double()
    assert float(there.mean()) == pytest.approx(0, abs=1e-5)
    assert float(there.std(correction=0)) == pytest.approx(1, abs=1e-5)
    expected = (scan["image"].double() - inside.mean()) / inside.std(correction=0)
    assert torch.allclose(scaled.double(), expected, atol=1e-4), "the background is scaled too"


def test_percentiles_reach_from_0_to_1_and_the_bright_end_leaves_the_dark(scan) -> None:
    inside = scan["foreground"]
    for scaling in (MIN_MAX, PERCENTILE):
        scaled = scaling(scan)["image"]
        assert scaled.min() == 0 and scaled.max() == 1
    assert float((PERCENTILE(scan)["image"][inside] == 1).float().mean()) == pytest.approx(0.02, abs=0.002)
    assert int((MIN_MAX(scan)["image"][inside] == 1).sum()) == 1
    bright = float(np.percentile(scan["image"][inside], 99.5, method="nearest"))
    assert torch.allclose(BRIGHT_END(scan)["image"], scan["image"] / bright)


def test_twice_is_once_and_back_is_the_scan_and_the_gain_of_the_scanner_does_not_matter(scan) -> None:
    for scaling in (Z_SCORE, MIN_MAX, PERCENTILE, BRIGHT_END):
        once = scaling(scan)
        assert once["image"].dtype == torch.float32
        assert torch.allclose(scaling(once)["image"], once["image"], atol=2e-5)
        offset = 0 if scaling is BRIGHT_END else 50
        assert torch.allclose(scaling(scan | {"image": scan["image"] * 3 + offset})["image"], once["image"], atol=1e-4)
        back, (scale,) = scaling.inverse(once), scales_of(once)
        kept = (once["image"] > 0) & (once["image"] < 1) if scale.clipped else torch.ones_like(scan["foreground"])
        assert torch.allclose(back["image"][kept], scan["image"][kept], atol=1e-3) and "image_scale" not in back


def test_several_scalings_are_undone_at_once(scan) -> None:
    scaled = Z_SCORE(BRIGHT_END(scan))
    (scale,) = scales_of(scaled)
    assert torch.allclose(scale.applied(scan["image"]), scaled["image"], atol=1e-4)
    back = Compose([BRIGHT_END, Z_SCORE]).inverse(scaled)
    assert torch.allclose(back["image"], scan["image"], atol=1e-2) and "image_scale" not in back


def test_what_cannot_be_scaled_is_refused() -> None:
    everywhere = torch.ones((1, 4, 4, 4), dtype=torch.bool)
    with pytest.raises(ConfigError, match="missing key 'foreground': expected the mask by which image is scaled; put"):
        Z_SCORE({"image": torch.zeros((1, 4, 4, 4))})
    for scaling in (Z_SCORE, MIN_MAX, PERCENTILE, BRIGHT_END):
        with pytest.raises(FileError, match="is constant in the foreground: it cannot be scaled; check that this is t"):
            scaling({"image": torch.full((1, 4, 4, 4), 1234.5), "foreground": everywhere})
    with pytest.raises(FileError, match="has no bright voxel in the foreground; choose another prepare/scaling"):
        BRIGHT_END({"image": -torch.rand(1, 4, 4, 4), "foreground": everywhere})
    for lower, upper in ((90, 10), (-1, 50), (None, 101)):
        with pytest.raises(ConfigError, match=rf"invalid percentiles {lower} and {upper}: expected 0 <= lower < upper"):
            ScaleInForegroundd("image", lower=lower, upper=upper)
