"""Laws of the intensity scales."""

from __future__ import annotations

import numpy as np
import pytest

from ankleseg.errors import ConfigError, FileError
from ankleseg.transforms import MinMax, Percentile, ZScore

SCALINGS = [ZScore(), MinMax(), Percentile(low=2, high=98)]


@pytest.fixture
def scan() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(1)
    image = rng.normal(700, 90, (20, 18, 8)).astype(np.float32)
    foreground = rng.random(image.shape) < 0.4
    image[~foreground] *= 0.1
    return image, foreground


def test_z_score_has_mean_0_and_population_deviation_1_in_the_foreground(scan) -> None:
    image, foreground = scan
    scaled = ZScore()(image, foreground)
    inside = image[foreground].astype(np.float64)
    assert scaled[foreground].mean(dtype=np.float64) == pytest.approx(0, abs=1e-5)
    assert scaled[foreground].std(ddof=0, dtype=np.float64) == pytest.approx(1, abs=1e-5)
    assert np.allclose(scaled, (image - inside.mean()) / inside.std(), atol=1e-4), "the background is scaled too"


def test_min_max_and_percentiles_reach_from_0_to_1(scan) -> None:
    image, foreground = scan
    for scaling in SCALINGS[1:]:
        scaled = scaling(image, foreground)
        assert scaled.min() == 0 and scaled.max() == 1
    assert np.mean(Percentile(low=2, high=98)(image, foreground)[foreground] == 1) == pytest.approx(0.02, abs=0.002)
    assert np.sum(MinMax()(image, foreground)[foreground] == 1) == 1


@pytest.mark.parametrize("scaling", SCALINGS)
def test_scaling_twice_is_scaling_once(scan, scaling) -> None:
    image, foreground = scan
    once = scaling(image, foreground)
    assert once.dtype == np.float32
    assert np.allclose(scaling(once, foreground), once, atol=2e-5)


@pytest.mark.parametrize("scaling", SCALINGS)
def test_gain_and_offset_of_the_scanner_do_not_matter(scan, scaling) -> None:
    image, foreground = scan
    assert np.allclose(scaling(image, foreground), scaling(image * 3 + 50, foreground), atol=1e-4)


@pytest.mark.parametrize("scaling", SCALINGS)
def test_a_constant_foreground_is_refused(scaling) -> None:
    image = np.full((4, 4, 4), 1234.5, dtype=np.float32)
    with pytest.raises(
        FileError, match="is constant in the foreground: it cannot be scaled; check that this is the right"
    ):
        scaling(image, np.ones((4, 4, 4), dtype=bool))


def test_percentiles_have_to_be_a_range() -> None:
    with pytest.raises(ConfigError, match=r"percentiles 90 and 10 are no range; choose 0 <= low < high <= 100"):
        Percentile(low=90, high=10)
