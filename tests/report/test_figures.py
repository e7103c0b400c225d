"""Figures are PNG, the same for the same numbers, and leave matplotlib's global state alone."""

from __future__ import annotations

import io
import sys

import numpy as np
import pytest
from laws import for_all
from PIL import Image

from ankleseg.report import agreement, distribution, training_curves
from ankleseg.report.figures import _mean_curve, _of_structure

STRUCTURES = ["talus", "tibia"] * 4
GROUPS = ["control"] * 4 + ["equinus"] * 4
DICE = [0.9, 0.95, 0.92, 0.94, 0.8, 0.0, 0.85, 0.9]
REFERENCE = [20.0, 30.0, 22.0, 33.0, 18.0, 28.0, 19.0, 0.0]
PREDICTED = [21.0, 29.0, 22.5, 33.0, 15.0, 0.0, 19.5, 2.0]
HISTORY = {
    "epoch": [0, 1, 2],
    "train/loss": [0.8, 0.1, 0.02],
    "val/dice": [0.2, 0.9, 0.7],
    "val/dice_talus": [0.3, 0.9, 0.6],
    "val/dice_tibia": [0.1, 0.9, 0.8],
    "lr": [1e-3, 1e-3, 1e-3],
}


def picture(png: bytes) -> np.ndarray:
    image = Image.open(io.BytesIO(png))
    assert image.format == "PNG"
    return np.asarray(image.convert("RGB"))


def test_a_figure_has_the_same_bytes_for_the_same_numbers_and_others_for_others():
    first = distribution(STRUCTURES, GROUPS, DICE, label="Dice")
    assert picture(first).shape[1] > 600
    assert distribution(STRUCTURES, GROUPS, DICE, label="Dice") == first
    assert distribution(STRUCTURES, GROUPS, [0.5, *DICE[1:]], label="Dice") != first


def test_a_figure_in_rows_grows_downwards_alone():
    few, many = (
        picture(
            distribution(
                [f"setting {n}" for n in range(count)], ["test"] * count, [0.9] * count, label="Dice", rows=True
            )
        )
        for count in (2, 30)
    )
    assert few.shape[1] == many.shape[1] and many.shape[0] > 5 * few.shape[0]


def test_agreement_shows_both_panels_also_where_structures_were_missed_or_invented():
    drawn = picture(agreement(STRUCTURES, GROUPS, REFERENCE, PREDICTED))
    left, right = np.array_split(drawn, 2, axis=1)
    coloured = [(half.max(axis=2).astype(int) - half.min(axis=2) > 60).sum() for half in (left, right)]
    assert min(coloured) > 100


@for_all("count", [1, 2])
def test_few_numbers_suffice(count: int):
    shown = picture(distribution(STRUCTURES[:count], GROUPS[:count], DICE[:count], label="Dice"))
    assert shown.std() > 0
    assert picture(agreement(STRUCTURES[:count], GROUPS[:count], REFERENCE[:count], PREDICTED[:count])).std() > 0


@for_all(
    "history",
    [
        HISTORY,
        {},
        {"train/loss": [0.5]},
        {"epoch": [0], "val/dice_talus": [0.4]},
        {"epoch": [0, 1, 2], "train/loss": [1, 0, -1], "val/dice": [np.nan, 0.5, np.nan]},
        {"epoch": [0, 1], "val/dice": [np.nan, np.nan]},
    ],
)
def test_progress_is_drawn_at_any_moment_of_a_training(history: dict[str, list[float]]):
    assert picture(training_curves(history)).shape == (510, 1260, 3)


def test_progress_tells_another_best_epoch_when_another_is_best():
    later = HISTORY | {"val/dice": [0.2, 0.7, 0.9]}
    top = slice(0, 40)
    assert not np.array_equal(picture(training_curves(HISTORY))[top], picture(training_curves(later))[top])


@for_all(
    ("name", "structure"),
    [
        ("val/dice_talus", "talus"),
        ("val/dice", ""),
        ("validation/dice/tibia", "tibia"),
        ("Dice cord", "cord"),
    ],
)
def test_a_curve_is_named_by_its_structure(name: str, structure: str):
    assert _of_structure(name) == structure


def test_the_mean_of_curves_passes_over_what_is_not_known():
    mean = _mean_curve([np.array([1.0, np.nan, np.nan]), np.array([0.0, 0.5, np.nan])])
    np.testing.assert_array_equal(mean, [0.5, 0.5, np.nan])


def test_no_global_figure_is_made(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)  # its import fails
    monkeypatch.delattr("matplotlib.pyplot", raising=False)
    assert training_curves({"train/loss": [1, 2]})


def test_an_epoch_at_which_something_begins_is_marked():
    plain, marked = (picture(training_curves(HISTORY, marks)) for marks in ((), [(1, "expansion at 0.001")]))
    assert plain.shape == marked.shape and not np.array_equal(plain, marked)
