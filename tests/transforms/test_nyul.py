"""Scans of one tissue and many scales come to one scale."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ankleseg.errors import ConfigError
from ankleseg.transforms import NyulStandardized

EXAMPLES = {"NyulStandardized": {"keys": "image", "landmarks": [0, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8, 0.9, 1]}}


def scan(seed: int, factor: float, offset: float, gamma: float = 1.0) -> np.ndarray:
    return offset + factor * np.random.default_rng(seed).random((1, 12, 13, 14)) ** gamma


def standardized(image: np.ndarray, landmarks: list[float]) -> np.ndarray:
    sample = {"image": torch.from_numpy(image).float(), "foreground": torch.ones(image.shape, dtype=torch.bool)}
    return NyulStandardized("image", landmarks)(sample)["image"].numpy()


def test_scans_that_differ_in_scale_become_the_same_and_their_order_stays():
    everywhere = np.ones((12, 13, 14), dtype=bool)
    cohort = [(scan(0, 100, 20), everywhere), (scan(1, 7, -3, gamma=1.3), everywhere)]
    landmarks = NyulStandardized("image").learn(iter(cohort))["landmarks"]
    assert landmarks[0] == 0 and landmarks[-1] == 1 and (np.diff(landmarks) > 0).all()
    one, other = standardized(scan(5, 100, 20), landmarks), standardized(scan(5, 3, 1000), landmarks)
    assert np.allclose(one, other, atol=1e-3)
    for seed, gamma in ((6, 0.7), (7, 2.0)):
        image = scan(seed, 50, 0, gamma)
        result = standardized(image, landmarks)
        assert np.allclose(np.percentile(result, [1, 50, 99]), [0, landmarks[5], 1], atol=0.01)
        assert (np.diff(result.ravel()[np.argsort(image.ravel())]) >= 0).all()
        assert result.min() < 0 and result.max() > 1, "the tails go on"


def test_equal_percentiles_are_one_landmark():
    image = scan(2, 1, 0)
    image[:, :8] = 0
    assert np.isfinite(standardized(image, EXAMPLES["NyulStandardized"]["landmarks"])).all()


def test_what_is_wrong_is_told():
    sample = {"image": torch.rand(1, 4, 4, 4), "foreground": torch.ones(1, 4, 4, 4, dtype=torch.bool)}
    with pytest.raises(ConfigError, match="NyulStandardized has no landmarks; train with it, or give them"):
        NyulStandardized("image")(sample)
    with pytest.raises(ConfigError, match=r"invalid landmarks \[0, 1\]: expected 11 rising intensities"):
        NyulStandardized("image", [0, 1])
