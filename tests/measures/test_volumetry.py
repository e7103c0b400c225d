"""Laws of volumetry: spreads worked out by hand, the size of the head taken out, and no subject lost unseen."""

from __future__ import annotations

import numpy as np
import pytest

from ankleseg.measures import (
    Variation,
    variation,
    variation_of_acquisitions,
    variation_within_subjects,
    volume_ratios,
)


def test_a_spread_by_hand():
    found = variation([1.0, 2.0, 3.0, 4.0])
    assert (found.n, found.mean, found.median) == (4, 2.5, 2.5)
    assert found.std == pytest.approx(np.sqrt(5 / 3))  # squares add up to 5, divided by n − 1
    assert found.std_by_mean == pytest.approx(np.sqrt(5 / 3) / 2.5)
    assert found.iqr == pytest.approx(3.25 - 1.75)
    assert found.iqr_by_median == pytest.approx(1.5 / 2.5)


def test_the_unit_does_not_matter_to_the_quotients():
    values = np.random.default_rng(0).uniform(50, 90, 43)
    ml, litres = variation(values), variation(values / 1000)
    assert litres.std_by_mean == pytest.approx(ml.std_by_mean)
    assert litres.iqr_by_median == pytest.approx(ml.iqr_by_median)


def test_one_outlier_moves_the_standard_deviation_and_not_the_quartiles():
    values = np.arange(20.0, 41.0)
    spoilt = values.copy()
    spoilt[-1] = 1000
    assert variation(spoilt).iqr_by_median == variation(values).iqr_by_median
    assert variation(spoilt).std_by_mean > 5 * variation(values).std_by_mean


def test_what_is_not_known_does_not_count():
    assert variation([1.0, None, 3.0, float("nan")]) == variation([1.0, 3.0])


def test_a_spread_needs_two_values_and_a_quotient_a_divisor():
    assert variation([None]) == Variation(0)
    assert variation([7.0]) == Variation(1, mean=7.0, median=7.0)
    assert variation([0.0, 0.0]) == Variation(2, 0.0, 0.0, None, 0.0, 0.0, None)


def test_ratios_take_out_the_size_of_the_head():
    small, large = {"cortex": 60.0, "csf": 30.0}, {"cortex": 90.0, "csf": 45.0}
    assert volume_ratios(small, 300) == volume_ratios(large, 450) == {"cortex": 0.2, "csf": 0.1}
    assert volume_ratios(small, 0) == {"cortex": None, "csf": None}


def test_heads_of_all_sizes_with_one_anatomy_have_no_spread_of_ratios():
    heads = np.random.default_rng(1).uniform(200, 500, 10)
    ratios = [volume_ratios({"cortex": 0.2 * head}, head)["cortex"] for head in heads]
    assert variation(0.2 * heads).std_by_mean > 0.1
    assert variation(ratios).std_by_mean == pytest.approx(0, abs=1e-12)


def test_an_acquisition_does_not_seem_steadier_by_failing_on_the_difficult():
    table = np.array([[60.0, 60], [62, 62], [64, 64], [90, np.nan]])
    first, second = variation_of_acquisitions(table)
    assert first == second == variation([60.0, 62, 64])
    assert variation_of_acquisitions(table[:, :1]) == [variation(table[:, 0])]


def test_within_a_subject_only_its_own_acquisitions_count():
    table = np.array([[10.0, 12, np.nan], [30, 30, 30], [np.nan, np.nan, 5]])
    assert variation_within_subjects(table) == [variation([10.0, 12]), variation([30.0] * 3), variation([5.0])]
