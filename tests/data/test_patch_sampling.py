"""Laws of where patches are drawn."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from ankleseg.data import PatchSampler, PatchWindows, Window
from ankleseg.errors import CohortError, ConfigError


def fraction(case, window: Window) -> float:
    """Foreground of the part of a window inside the volume, counted voxel by voxel."""
    room = tuple(
        slice(max(corner, 0), min(corner + side, n))
        for corner, side, n in zip(window.corner, window.size, case.foreground.shape, strict=True)
    )
    return float(case.foreground[room].mean())


def valid_windows(case, sampler: PatchSampler) -> set[Window]:
    """Every window with enough foreground, by trying them all."""
    corners = itertools.product(
        *(
            range(n - side + 1) if side <= n else [-((side - n) // 2)]
            for n, side in zip(case.foreground.shape, sampler.sides, strict=True)
        )
    )
    windows = (Window(corner, sampler.sides) for corner in corners)
    return {window for window in windows if fraction(case, window) >= sampler.min_foreground}


SAMPLERS = [
    PatchSampler(size=(10, 12), min_foreground=0.75),
    PatchSampler(size=(9, 7, 3), min_foreground=0.8),
    PatchSampler(size=(24, 8, 9), min_foreground=0.3),  # thicker than the volume
    PatchSampler(size=(60, 11), min_foreground=0.2),  # longer than the volume
    PatchSampler(size=(16, 16), min_foreground=0.0),
]


@pytest.mark.parametrize("sampler", SAMPLERS, ids=lambda sampler: str(sampler.size))
def test_windows_are_numbered_one_to_one(prepared_case, sampler: PatchSampler) -> None:
    """With the numbers drawn evenly, every valid window has the same chance, and no other has any."""
    case = prepared_case()
    windows = PatchWindows(case, sampler)
    listed = [windows[number] for number in range(len(windows))]
    assert len(set(listed)) == len(listed)
    assert set(listed) == valid_windows(case, sampler)


def test_draws_are_even(prepared_case) -> None:
    windows = PatchWindows(prepared_case((16, 14, 2)), PatchSampler(size=(8, 8), min_foreground=0.9))
    rng = np.random.default_rng(0)
    counts: dict[Window, int] = {}
    draws = 60 * len(windows)
    for _ in range(draws):
        window = windows.draw(rng)
        counts[window] = counts.get(window, 0) + 1
    assert len(counts) == len(windows)
    chi_square = sum((count - 60) ** 2 / 60 for count in counts.values())
    assert chi_square < len(windows) + 4 * np.sqrt(2 * len(windows))


def test_three_quarters_of_every_window_are_foreground(prepared_case) -> None:
    case = prepared_case()
    windows = PatchWindows(case, PatchSampler(size=(12, 12), balance=0.5))
    rng = np.random.default_rng(0)
    assert min(fraction(case, windows.draw(rng)) for _ in range(300)) >= 0.75


@pytest.mark.parametrize("size", [(12, 12), (10, 10, 3)])
def test_balanced_windows_contain_a_structure(prepared_case, size) -> None:
    case = prepared_case()
    windows = PatchWindows(case, PatchSampler(size=size, min_foreground=0.5, balance=1.0))
    rng = np.random.default_rng(0)
    seen = {1: 0, 2: 0}
    for _ in range(200):
        window = windows.draw(rng)
        room = tuple(slice(corner, corner + side) for corner, side in zip(window.corner, window.size, strict=True))
        present = set(np.unique(case.label[room])) - {0}
        assert present
        for value in present:
            seen[value] += 1
    assert min(seen.values()) > 60


def test_balance_gives_every_reachable_voxel_of_a_structure_its_windows(prepared_case) -> None:
    """A voxel, then one of the valid windows around it: frequencies against the enumerated probabilities."""
    case = prepared_case((14, 12, 2))
    label = np.zeros_like(case.label)
    label[4, 5, 0] = label[8, 7, 1] = 1
    case = prepared_case((14, 12, 2), label=label)
    sampler = PatchSampler(size=(6, 6), min_foreground=0.9, balance=1.0)
    around = [
        [
            w
            for w in valid_windows(case, sampler)
            if all(0 <= v - c < s for v, c, s in zip(voxel, w.corner, w.size, strict=True))
        ]
        for voxel in ((4, 5, 0), (8, 7, 1))
    ]
    expected: dict[Window, float] = {}
    for windows in around:
        for window in windows:
            expected[window] = expected.get(window, 0) + 0.5 / len(windows)
    rng, drawn = np.random.default_rng(1), {}
    windows = PatchWindows(case, sampler)
    for _ in range(4000):
        window = windows.draw(rng)
        drawn[window] = drawn.get(window, 0) + 1
    assert set(drawn) == set(expected)
    assert all(abs(drawn[w] / 4000 - p) < 5 * np.sqrt(p / 4000) for w, p in expected.items())


def test_a_structure_no_window_reaches_does_not_stop_balanced_draws(prepared_case) -> None:
    label = np.zeros((48, 40, 5), dtype=np.uint8)
    label[0, 0, 0] = 1
    case = prepared_case(label=label)
    windows = PatchWindows(case, PatchSampler(size=(10, 10), balance=1.0))
    assert fraction(case, windows.draw(np.random.default_rng(0))) >= 0.75


def test_the_windows_take_a_bit_each(prepared_case) -> None:
    case = prepared_case((200, 200, 10))
    windows = PatchWindows(case, PatchSampler(size=(64, 64), min_foreground=0))
    assert sum(array.nbytes for array in vars(windows).values() if isinstance(array, np.ndarray)) < len(windows) / 4


def test_too_little_foreground_is_told_with_what_can_be_reached(prepared_case) -> None:
    case = prepared_case(name="sub-C03")
    best = max(fraction(case, Window((x, y, z), (40, 36, 1))) for x in range(9) for y in range(5) for z in range(5))
    message = (
        f"sub-C03: no patch of 40×36 voxels holds 95 % foreground, the best holds {100 * best:.0f} %; "
        r"set min_foreground=0\.\d+ or a smaller size"
    )
    with pytest.raises(CohortError, match=message):
        PatchWindows(case, PatchSampler(size=(40, 36), min_foreground=0.95))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"size": (128,)}, r"patch size \[128\] is no size; give two or three sides in voxels"),
        ({"size": (0, 12)}, r"patch size \[0, 12\] is no size"),
        ({"min_foreground": 75}, "min_foreground 75 is no fraction; choose it between 0 and 1"),
        ({"balance": -0.1}, "balance -0.1 is no fraction"),
    ],
)
def test_settings_that_mean_nothing_are_refused(settings, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        PatchSampler(**settings)
