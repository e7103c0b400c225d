"""Random fields have the variance they promise, whatever grid looks at them."""

from __future__ import annotations

import numpy as np
import pytest
from laws import for_all

from ankleseg.phantoms.noise import LatticeNoise, bumps, cubic_weights, interpolation_weights, spline_weights


def test_lattice_noise_has_zero_mean_and_unit_variance():
    noise = LatticeNoise(np.random.default_rng(0), np.array([100.0, 100, 20]), 0.7)
    # Off the nodes, where the variance is that of the whole field.
    positions = np.random.default_rng(1).uniform(1, 99, 400)
    read = noise.across(np.sort(positions), np.sort(positions))
    values = np.concatenate([read(depth) for depth in np.linspace(1, 19, 23)])
    assert values.mean() == pytest.approx(0, abs=0.02)
    assert values.std() == pytest.approx(1, abs=0.03)


def test_lattice_noise_is_the_same_texture_on_every_grid():
    noise = LatticeNoise(np.random.default_rng(0), np.array([30.0, 30, 30]), 2.0)
    fine, coarse = np.arange(0, 30, 0.5), np.arange(0, 30, 1.5)
    np.testing.assert_allclose(noise.across(fine, fine)(7.3)[::3, ::3], noise.across(coarse, coarse)(7.3), atol=1e-5)


def test_bumps_have_the_amplitude_asked_for():
    points = np.random.default_rng(2).uniform(-200, 200, (3, 20000)).astype(np.float32)
    deviations = [bumps(np.random.default_rng(seed), 0.6, (10.0, 30.0))(points).std() for seed in range(5)]
    np.testing.assert_allclose(deviations, 0.6, rtol=0.1)


@for_all("kernel", [spline_weights, cubic_weights])
def test_interpolation_keeps_constants_and_straight_lines(kernel):
    places = np.linspace(2, 7, 31)
    weights = interpolation_weights(places, 10, kernel)
    np.testing.assert_allclose(weights @ np.ones(10), 1, atol=1e-6)
    np.testing.assert_allclose(weights @ np.arange(10.0), places, atol=1e-5)


def test_cubic_interpolation_passes_through_the_nodes():
    values = np.random.default_rng(3).normal(size=9)
    np.testing.assert_allclose(
        interpolation_weights(np.arange(1.0, 7), 9, cubic_weights) @ values, values[1:7], atol=1e-6
    )
