"""Comparison of groups: by hand, against scipy, and by simulation."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from ankleseg.measures.motion_groups import compare_groups, hedges_g

CONTROL, EQUINUS = np.array([40.0, 44.0, 37.0, 42.0, 45.0, 39.0, 41.0]), np.array([22.0, 30.0, 18.0, 27.0, 25.0])


def rows(**groups: np.ndarray) -> list[dict[str, object]]:
    return [
        {"subject": f"{group}{n}", "group": group, "joint": "talocrural", "measure": "dorsiflexion_deg", "range": value}
        for group, values in groups.items()
        for n, value in enumerate(values)
    ]


def test_two_groups_by_hand():
    found = compare_groups(rows(control=CONTROL, equinus=EQUINUS))[0]
    assert (found.n_first, found.n_second) == (7, 5)
    assert (found.mean_first, found.mean_second) == pytest.approx((CONTROL.mean(), 24.4))
    assert found.sd_second == pytest.approx(np.sqrt(85.2 / 4))
    assert found.difference == pytest.approx(24.4 - CONTROL.mean())
    pooled = np.sqrt((((CONTROL - CONTROL.mean()) ** 2).sum() + 85.2) / 10)
    # the usual approximation of the correction, 1 − 3 / (4·10 − 1), holds to a thousandth
    assert found.hedges_g == pytest.approx(found.difference / pooled * (1 - 3 / 39), rel=1e-3)
    welch = stats.ttest_ind(EQUINUS, CONTROL, equal_var=False)
    assert found.p_welch == pytest.approx(welch.pvalue)
    assert found.difference_low == pytest.approx(welch.confidence_interval().low)
    assert found.p_mann_whitney == pytest.approx(2 / 792)  # of all 792 orders the most extreme, and its reverse


def test_exchanging_the_groups_changes_the_signs():
    there = hedges_g(CONTROL, EQUINUS)
    back = hedges_g(EQUINUS, CONTROL)
    assert back == pytest.approx((-there[0], -there[2], -there[1]), abs=1e-6)


def test_the_limits_hold_the_truth_as_often_as_they_say():
    generator = np.random.default_rng(0)
    inside = 0
    for _ in range(200):
        _, low, high = hedges_g(generator.normal(0, 2, 7), generator.normal(3, 2, 7))
        correction = 1 - 3 / (4 * 12 - 1)
        inside += low <= 1.5 * correction <= high
    assert 0.9 < inside / 200 < 0.99


def test_every_subject_counts_once():
    table = rows(control=CONTROL, equinus=EQUINUS)
    twice = table + [{**row, "range": row["range"] + 2} for row in table if row["group"] == "equinus"]
    assert compare_groups(twice)[0].n_second == 5
    assert compare_groups(twice)[0].mean_second == pytest.approx(25.4)


def test_what_is_not_known_is_left_out_and_never_made_up():
    table = rows(control=np.array([40.0, np.nan, 44.0]), equinus=np.array([20.0]), other=np.array([5.0]))
    table.append({**table[0], "subject": "x", "range": None})
    found = compare_groups(table)[0]
    assert (found.n_first, found.n_second, found.difference) == (2, 1, -22.0)
    assert (found.hedges_g, found.p_welch, found.sd_second) == (None, None, None)
    alone = compare_groups(rows(control=CONTROL))[0]
    assert (alone.n_second, alone.mean_second, alone.difference, alone.p_mann_whitney) == (0, None, None, None)
    same = compare_groups(rows(control=np.full(3, 7.0), equinus=np.full(3, 7.0)))[0]
    assert (same.difference, same.hedges_g, same.p_welch) == (0.0, None, None)
