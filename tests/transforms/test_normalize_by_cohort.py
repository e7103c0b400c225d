"""A z-score by constants that a cohort taught."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from laws import for_all

from ankleseg.errors import ConfigError, FileError
from ankleseg.transforms import NormalizeByCohortd

EXAMPLES = {"NormalizeByCohortd": {"keys": "image", "mean": 30.0, "std": [25.0]}}


def images(*levels: float) -> list[tuple[np.ndarray, np.ndarray]]:
    random = np.random.default_rng(0)
    made = [random.normal(level, 2, (2, 8, 9, 10)).astype(np.float32) for level in levels]
    return [
        (np.stack([image[0], 10 * image[1]]), image[0] > level - 1) for image, level in zip(made, levels, strict=True)
    ]


def test_what_is_learnt_brings_the_cohort_to_mean_0_and_deviation_1():
    cohort = images(5, 9, 6)
    taught = NormalizeByCohortd("image").learn(iter(cohort))
    normalize = NormalizeByCohortd("image", **taught)
    assert normalize.learnt and not NormalizeByCohortd("image").learnt
    inside = [
        normalize({"image": torch.from_numpy(image), "foreground": torch.from_numpy(mask)[None]})["image"].numpy()[
            :, mask
        ]
        for image, mask in cohort
    ]
    together = np.concatenate(inside, axis=1)
    assert np.allclose(together.mean(axis=1), 0, atol=1e-4) and np.allclose(together.std(axis=1), 1, atol=1e-4)


@for_all(
    ("arguments", "message"),
    [
        ({}, "NormalizeByCohortd has no mean and std; train with it, or give them"),
        ({"mean": [1, 2, 3], "std": 1}, "NormalizeByCohortd has a mean of 3 channels: expected 2; give one number"),
        ({"mean": 0, "std": 0}, "invalid std 0: expected numbers above 0; correct it, or set it to null"),
    ],
)
def test_what_is_wrong_is_told(arguments, message):
    sample = {"image": torch.rand(2, 4, 4, 4), "foreground": torch.ones(1, 4, 4, 4, dtype=torch.bool)}
    with pytest.raises(ConfigError) as caught:
        NormalizeByCohortd("image", **arguments)(sample)
    assert message in str(caught.value)


def test_a_constant_cohort_teaches_nothing():
    with pytest.raises(FileError, match="is constant in the foreground"):
        NormalizeByCohortd("image").learn([(np.full((1, 3, 3, 3), 7.0), np.ones((3, 3, 3), dtype=bool))])
