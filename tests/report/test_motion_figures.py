"""Curves lie where their numbers are, break where there are none, and follow the movie."""

from __future__ import annotations

import re

import numpy as np
import pytest

from ankleseg.report.motion_figures import group_curves, motion_curves

MEASURES = ("dorsiflexion_deg", "inversion_deg", "internal_rotation_deg")


def angle_rows(values, *, joint: str = "talocrural", status=None, **more) -> list[dict[str, object]]:
    """One row a frame, all three angles alike; None where it is not known."""
    states = status or ["ok"] * len(values)
    return [
        {"frame": k, "joint": joint, **dict.fromkeys(MEASURES, value), "status": state, **more}
        for k, (value, state) in enumerate(zip(values, states, strict=True))
    ]


def lines(svg: str, kind: str) -> list[np.ndarray]:
    found = re.findall(rf'class="{kind}" d="([^"]*)"', svg)
    return [np.array([[float(v) for v in pair.split()] for pair in re.split("[MLZ]", path) if pair]) for path in found]


def scale(svg: str) -> tuple[float, float]:
    """Slope and offset of the first panel: pixels down = offset + slope × degrees."""
    ticks = re.findall(r'text-anchor="end" x="[\d.]+" y="([\d.]+)">(−?[\d.]+)</text>', svg)
    known = [(float(y) - 4, float(value.replace("−", "-"))) for y, value in ticks]
    panel = next(k for k in range(1, len(known) + 1) if k == len(known) or known[k][1] < known[k - 1][1])
    (y0, v0), (y1, v1) = known[0], known[panel - 1]
    slope = (y1 - y0) / (v1 - v0)
    return slope, y0 - slope * v0


def test_a_curve_lies_where_its_numbers_are():
    values = [0.0, 8.0, -12.0, 3.5]
    svg = motion_curves(angle_rows(values), 4)
    slope, offset = scale(svg)
    curve = lines(svg, "line")[0]
    assert curve[:, 1] == pytest.approx(offset + slope * np.array(values), abs=0.2)
    assert np.diff(curve[:, 0]) == pytest.approx(np.diff(curve[:, 0])[0], abs=0.15)


def test_the_cursor_goes_from_the_first_frame_to_the_last():
    svg = motion_curves(angle_rows([1.0, 2.0, 3.0]), 3)
    left, right, count = re.search(r'data-left="([\d.]+)" data-right="([\d.]+)" data-count="(\d+)"', svg).groups()
    curve = lines(svg, "line")[0]
    assert (float(left), float(right)) == pytest.approx((curve[0, 0], curve[-1, 0]))
    assert count == "3" and svg.count('class="cursor"') == 1


def test_a_curve_breaks_where_a_pose_is_missing_and_is_hollow_where_it_is_suspect():
    states = ["ok", "suspect", "failed", "ok", "ok"]
    svg = motion_curves(angle_rows([1.0, 2.0, None, 3.0, 4.0], status=states), 5)
    paths = re.findall(r'class="line" d="([^"]*)"', svg)
    assert [path.count("M") for path in paths] == [2, 2, 2]
    assert svg.count('class="open"') == 3 and svg.count('class="dot"') == 9  # in three panels


def test_little_motion_does_not_fill_a_panel():
    svg = motion_curves(angle_rows([0.0, 0.1, -0.1]), 3)
    slope, _ = scale(svg)
    assert np.ptp(lines(svg, "line")[0][:, 1]) == pytest.approx(abs(slope) * 0.2, abs=0.2)
    assert 4 * abs(slope) < 160  # a panel of 160 pixels shows more than 4 degrees


def test_a_band_is_one_standard_deviation_to_each_side_of_the_mean():
    curves = np.array([[1.0, 5.0, 9.0], [3.0, 7.0, 5.0], [8.0, 0.0, 4.0]])
    rows = [row for n, c in enumerate(curves) for row in angle_rows(c, subject=f"s{n}", group="control")]
    svg = group_curves(rows)
    slope, offset = scale(svg)
    band, mean = lines(svg, "band")[0], lines(svg, "line")[0]
    assert (mean[:, 1] - offset) / slope == pytest.approx(curves.mean(axis=0), abs=0.05)
    assert (band[:3, 1] - offset) / slope == pytest.approx(curves.mean(axis=0) + curves.std(axis=0, ddof=1), abs=0.05)
    assert (band[:2:-1, 1] - offset) / slope == pytest.approx(
        curves.mean(axis=0) - curves.std(axis=0, ddof=1), abs=0.05
    )
    assert len(lines(svg, "thin")) == 3 * 3


def test_a_group_of_one_has_no_band_and_a_subject_without_a_group_is_shown():
    svg = group_curves(angle_rows([1.0, 2.0], subject="s", group=None))
    assert not lines(svg, "band") and len(lines(svg, "line")) == 3
    assert "<title>no group</title>" in svg


def test_names_are_escaped():
    assert "<i>" not in motion_curves(angle_rows([1.0, 2.0], joint="<i>x"), 2)
    assert "<i>" not in group_curves(angle_rows([1.0, 2.0], joint="<i>x", subject="s", group="<i>g"))
