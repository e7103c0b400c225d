"""Laws of where random patches are cut, and of what is cut there."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import torch

from ankleseg.errors import CohortError, ConfigError
from ankleseg.transforms import ForegroundWindowsd, PatchWindows, RandForegroundCropd, Window

EXAMPLES = {
    "RandForegroundCropd": {
        "keys": ("image", "label", "foreground"),
        "size": (8, 7),
        "min_foreground": 0.5,
        "margin": 1,
    },
}
KEYS = ("image", "label", "foreground")
SHAPE = (24, 20, 5)


def case(shape: tuple[int, int, int] = SHAPE, **more: Any) -> dict[str, Any]:
    """A round body with two structures; every voxel of the image has a value of its own."""
    x, y, _ = np.meshgrid(*(np.linspace(-1, 1, n) for n in shape), indexing="ij")
    label = 1 * (np.hypot(x - 0.3, y) < 0.3) + 2 * (np.hypot(x + 0.4, y - 0.2) < 0.2)
    arrays = {
        "image": np.random.default_rng(0).permutation(np.prod(shape)).reshape(shape).astype(np.float32),
        "label": label.astype(np.uint8),
        "foreground": np.hypot(x, y) < 0.9,
    } | more
    return {key: torch.from_numpy(array)[None] for key, array in arrays.items()}


def inside(window: Window, shape: tuple[int, ...]) -> tuple[slice, ...]:
    return tuple(slice(max(a, 0), min(a + n, m)) for a, n, m in zip(window.start, window.size, shape, strict=True))


def valid_windows(mask: np.ndarray, size: tuple[int, ...], least: float) -> set[Window]:
    """Every window with enough foreground, by trying them all."""
    sides = (*size, 1)[:3]
    starts = itertools.product(
        *(range(n - s + 1) if s <= n else [-((s - n) // 2)] for n, s in zip(mask.shape, sides, strict=True))
    )
    windows = (Window(start, sides) for start in starts)
    return {window for window in windows if mask[inside(window, mask.shape)].mean() >= least}


def test_windows_are_numbered_one_to_one() -> None:
    """With the numbers drawn evenly, every valid window has the same chance, and no other has any."""
    mask = case()["foreground"][0].numpy()
    for size, least in [
        ((10, 12), 0.75), ((9, 7, 3), 0.8), ((12, 8, 9), 0.3), ((40, 11), 0.2), ((16, 16), 0.0),
    ]:  # fmt: skip
        windows = PatchWindows(mask, size, least)
        listed = [windows[number] for number in range(len(windows))]
        assert len(set(listed)) == len(listed)
        assert set(listed) == valid_windows(mask, size, least)


def test_draws_are_even() -> None:
    windows = PatchWindows(case((16, 14, 2))["foreground"][0].numpy(), (8, 8), 0.9)
    random, counts = np.random.RandomState(0), {}
    for _ in range(60 * len(windows)):
        window = windows.draw(random)
        counts[window] = counts.get(window, 0) + 1
    assert len(counts) == len(windows)
    chi_square = sum((count - 60) ** 2 / 60 for count in counts.values())
    assert chi_square < len(windows) + 4 * np.sqrt(2 * len(windows))


def test_balance_gives_every_reachable_voxel_of_a_structure_its_windows() -> None:
    """A structure, a voxel of it, one of the valid windows around it: against the enumerated probabilities.

    A label map and masks of regions are drawn alike, and a structure that no window reaches stops nothing.
    """
    mask = case((14, 12, 2))["foreground"][0].numpy()
    label = np.zeros(mask.shape, dtype=np.uint8)
    label[4, 5, 0], label[8, 7, 1], label[0, 0, 0] = 1, 2, 3
    expected: dict[Window, float] = {}
    for voxel in ((4, 5, 0), (8, 7, 1)):
        around = [
            w
            for w in valid_windows(mask, (6, 6), 0.9)
            if all(0 <= v - c < s for v, c, s in zip(voxel, w.start, w.size, strict=True))
        ]
        for window in around:
            expected[window] = expected.get(window, 0) + 0.5 / len(around)
    for given in (label[None], np.stack([label == value for value in (1, 2, 3)])):
        windows, random, drawn = PatchWindows(mask, (6, 6), 0.9, given), np.random.RandomState(1), {}
        for _ in range(3000):
            window = windows.draw(random, balance=1.0)
            drawn[window] = drawn.get(window, 0) + 1
        assert set(drawn) == set(expected)
        assert all(abs(drawn[w] / 3000 - p) < 5 * np.sqrt(p / 3000) for w, p in expected.items())


def test_the_windows_take_a_bit_each() -> None:
    windows = PatchWindows(np.ones((200, 200, 10), dtype=bool), (64, 64), 0)
    assert sum(array.nbytes for array in vars(windows).values() if isinstance(array, np.ndarray)) < len(windows) / 4


def test_a_patch_is_the_voxels_at_its_window_and_what_is_outside_is_dark_or_repeated() -> None:
    """In planes and blocks, with margins, in volumes that are shorter than the patch."""
    for size, margin, padding in itertools.product(
        ((9, 8), (9, 8, 3), (30, 8), (12, 8, 9)), (0, 2), ("darkest", "edge")
    ):
        sample = case()
        crop = RandForegroundCropd(KEYS, size, 0.2, margin=margin, padding_mode=padding)
        for seed in range(4):
            given = crop.set_random_state(seed)(sample)
            first, last = given["window"]
            wanted = tuple(side + 2 * margin for side in size)
            assert given["image"].shape[1:] == wanted
            places = [np.arange(a, b + 1) for a, b in zip(first, last, strict=True)]
            clipped = np.ix_(*(np.clip(place, 0, n - 1) for place, n in zip(places, SHAPE, strict=True)))
            outside = ~np.all(
                np.meshgrid(
                    *((place >= 0) & (place < n) for place, n in zip(places, SHAPE, strict=True)), indexing="ij"
                ),
                axis=0,
            )
            for key, empty in (("image", 0.0), ("label", 0), ("foreground", False)):
                expected = sample[key][0].numpy()[clipped]
                if padding == "darkest":
                    expected = np.where(outside, empty, expected)
                assert np.array_equal(given[key][0].numpy(), expected.reshape(wanted)), key
            assert tuple(given["volume_shape"]) == SHAPE


def test_what_was_counted_before_the_cache_is_what_is_drawn() -> None:
    """Of several sizes the right one; and the patch takes none of it along."""
    sample = case()
    counted = ForegroundWindowsd(size=(12, 12), min_foreground=0.4)(sample)
    counted = ForegroundWindowsd(size=(8, 8), min_foreground=0.5, balance=0.5)(counted)
    for size, least, balance in (((12, 12), 0.4, 0.0), ((8, 8), 0.5, 0.0), ((8, 8), 0.5, 0.7)):
        crop = RandForegroundCropd(KEYS, size, least, balance)
        one, other = (crop.set_random_state(3)(s) for s in (sample, counted))
        assert torch.equal(one["image"], other["image"]) and "windows" not in other
    with pytest.raises(
        ConfigError, match=r"invalid windows: expected windows of size \[9, 9\].* give ForegroundWindows"
    ):
        RandForegroundCropd(KEYS, (9, 9), 0.5)(counted)


def test_the_cached_volume_is_never_given_away() -> None:
    sample = case()
    before = sample["image"].clone()
    patch = RandForegroundCropd("image", SHAPE, 0.0)(sample)["image"]
    patch.add_(1)
    assert torch.equal(sample["image"], before)


def test_what_cannot_be_cut_is_told() -> None:
    sample = case() | {"case": "sub-C03"}
    best = max(sample["foreground"][0, x : x + 20, y : y + 18].float().mean() for x in range(5) for y in range(3))
    message = (
        f"sub-C03: no patch of 20×18 voxels holds 100 % foreground, the best holds {100 * best:.0f} %; "
        r"set min_foreground=0\.\d+ or a smaller size"
    )
    with pytest.raises(CohortError, match=message):
        ForegroundWindowsd(size=(20, 18), min_foreground=1.0)(sample)
    for arguments, message in [
        ({"size": (128,)}, r"invalid patch size \(128,\): expected 2 or 3 sides"),
        ({"size": (0, 12)}, r"invalid patch size \(0, 12\)"),
        ({"size": (8, 8), "min_foreground": 75}, "invalid min_foreground 75: expected a fraction"),
        ({"size": (8, 8), "balance": -0.1}, "invalid balance -0.1"),
        ({"size": (8, 8), "margin": (1, 2, 3)}, r"invalid margin \(1, 2, 3\): expected 2 numbers"),
        ({"size": (8, 8), "padding_mode": "zeros"}, "invalid padding_mode 'zeros': expected one of darkest, edge"),
        ({"size": (8, 8), "mask_key": "body"}, "missing key 'body': expected a mask"),
        ({"size": (8, 8), "balance": 0.5, "label_key": "bones"}, "missing key 'bones': expected a label"),
    ]:
        with pytest.raises(ConfigError, match=message):
            RandForegroundCropd("image", **arguments)(sample)
    with pytest.raises(ConfigError, match="invalid shape of image"):
        RandForegroundCropd("image", (8, 8))(sample | {"image": sample["image"][:, 1:]})
