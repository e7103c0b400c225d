"""Laws of moving patches in millimetres."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from monai.data import MetaTensor

from ankleseg.errors import ConfigError
from ankleseg.transforms import RandWorldAffined

EXAMPLES = {
    "RandWorldAffined": {
        "keys": ("image", "label"),
        "rotate": 8,
        "zoom": (0.9, 1.1),
        "shift": 1.0,
        "size": (13, 14, 12),
    },
}


def sample(image: np.ndarray, mm: tuple[float, ...], label: np.ndarray | None = None) -> dict[str, Any]:
    given: dict[str, Any] = {"image": torch.from_numpy(image.astype(np.float32))[None]}
    given["affine"] = np.diag([*mm, *[3.0] * (3 - len(mm)), 1.0])
    return given if label is None else given | {"label": torch.from_numpy(label.astype(np.uint8))[None]}


def drawn(transform: RandWorldAffined, numbers: list[float]) -> RandWorldAffined:
    """The transform with given numbers for angles (3), zoom and shifts (3); 0.5 is the middle of a range."""

    class Fixed:
        def rand(self) -> float:
            return 0.0

        def random_sample(self, count: int) -> np.ndarray:
            return np.array(numbers)

    transform.R = Fixed()  # type: ignore[assignment]
    return transform


def test_rotation_zoom_and_shift_happen_in_mm() -> None:
    """An ellipse on a grid of unequal spacing turns, grows and moves as in the world."""
    x, y = np.meshgrid((np.arange(161) - 80) * 0.25, (np.arange(121) - 60) * 0.4, indexing="ij")
    blob = ((x - 3) / 4) ** 2 + ((y + 4) / 2.5) ** 2 < 1
    points = np.argwhere(blob) * [0.25, 0.4] - [20, 24]
    for angle, zoom, shift in [(90.0, 1.0, 0.0), (30.0, 1.0, 0.0), (-45.0, 1.2, 1.0), (0.0, 0.8, -2.0)]:
        transform = RandWorldAffined(["image", "label"], rotate=90, zoom=(0.5, 2.0), shift=4)
        numbers = [0.5 + angle / 180, 0.5, 0.5, np.log(zoom / 0.5) / np.log(4), 0.5 + shift / 8, 0.5, 0.5]
        moved = drawn(transform, numbers)(sample(blob, (0.25, 0.4), blob))
        there = np.argwhere(moved["label"][0].numpy()) * [0.25, 0.4] - [20, 24]
        turn = np.deg2rad(angle)
        linear = zoom * np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
        shifted = points + np.array([shift, 0])
        assert np.allclose(there.mean(0), linear @ shifted.mean(0), atol=0.1)
        assert np.allclose(np.cov(there.T), linear @ np.cov(points.T) @ linear.T, atol=0.3)
        assert ((moved["image"] > 0.5) != (moved["label"] > 0)).float().mean() < 0.01, "image and label stay together"


def test_draws_fill_their_ranges_and_no_more() -> None:
    """Read off the trace: the voxel of the input for a voxel of the output."""
    transform = RandWorldAffined("image", rotate=30, zoom=(0.8, 1.25), shift=4)
    image, found = MetaTensor(torch.zeros(1, 21, 21), affine=torch.eye(4, dtype=torch.float64)), []
    for seed in range(300):
        moved = transform.set_random_state(seed)({"image": image})["image"]
        told = moved.applied_operations[-1]["extra_info"]["matrix"]
        matrix = np.array([float(value) for value in told]).reshape(3, 3)
        linear, middle = matrix[:2, :2], np.array([10.0, 10.0])
        angle = np.rad2deg(np.arctan2(linear[0, 1], linear[0, 0]))
        found.append([angle, 1 / np.sqrt(np.linalg.det(linear)), *(middle - linear @ middle - matrix[:2, 2])])
    for values, low, high in zip(np.array(found).T, (-30, 0.8, -4, -4), (30, 1.25, 4, 4), strict=True):
        tenth = (high - low) / 10
        assert low - 1e-6 <= values.min() < low + tenth and high - tenth < values.max() <= high + 1e-6


def test_a_quarter_turn_about_one_axis_leaves_that_axis_alone() -> None:
    image = np.random.default_rng(0).random((21, 21, 21))
    turned = drawn(RandWorldAffined("image", rotate=90), [0.5, 0.5, 1.0, 0.5, 0.5, 0.5, 0.5])(
        sample(image, (1.0, 1.0, 1.0))
    )
    assert torch.allclose(turned["image"][0], torch.rot90(torch.from_numpy(image).float(), 1, (0, 1)), atol=1e-3)


def test_with_the_reach_of_all_draws_no_patch_has_an_empty_corner_and_with_less_some_have() -> None:
    """In planes and blocks of unequal spacing; outside lies the darkest of the scan, and no structure."""
    for size, mm in [((24, 20), (0.5, 0.9)), ((12, 10, 8), (0.5, 0.9, 1.4))]:
        transform = RandWorldAffined(["image", "label"], rotate=40, zoom=(0.8, 1.3), shift=2, size=size)
        wide = np.array(transform.reach(size, mm))
        assert ((wide - size) % 2 == 0).all()
        for shape, some_empty in ((wide, False), (wide - 2 * np.array([3, 3, 2][: len(size)]), True)):
            ones = sample(np.full(shape, 5.0), mm, np.ones(shape)) | {"image_range": torch.tensor([[-1.0, 6.0]])}
            empty = 0
            for seed in range(300):
                moved = transform.set_random_state(seed)(ones)
                outside = moved["label"] == 0
                assert moved["image"].shape[1:] == size
                assert (moved["image"][outside] == -1).all() or not some_empty
                empty += bool(outside.any()) or bool((moved["image"] < 5 - 1e-4).any())
            assert bool(empty) == some_empty, (size, empty)


def test_ranges_of_nothing_and_a_probability_of_nothing_give_the_central_voxels() -> None:
    image = np.random.default_rng(0).random((11, 9))
    for transform in (RandWorldAffined("image", size=(7, 5)), RandWorldAffined("image", 0.0, rotate=30, size=(7, 5))):
        assert np.array_equal(transform(sample(image, (1, 2)))["image"][0], image[2:-2, 2:-2].astype(np.float32))


def test_one_range_does_not_disturb_the_other_draws() -> None:
    image = sample(np.random.default_rng(0).random((20, 20)), (1, 1))
    alone = RandWorldAffined("image", shift=3).set_random_state(2)(image)["image"]
    barely = RandWorldAffined("image", rotate=1e-6, zoom=(1, 1 + 1e-9), shift=3).set_random_state(2)(image)["image"]
    assert torch.allclose(alone, barely, atol=1e-4)


def test_a_patch_of_a_patch_tells_where_it_lies() -> None:
    given = sample(np.zeros((9, 9, 5)), (1, 1, 1)) | {"window": np.array([[10, 18, 3], [18, 10, 7]])}
    moved = RandWorldAffined("image", size=(5, 7, 5))(given)
    assert moved["window"].tolist() == [[12, 17, 3], [16, 11, 7]]


def test_arguments_that_mean_nothing_are_refused() -> None:
    for arguments, message in [
        ({"zoom": (1.2, 0.8)}, r"invalid zoom \[1.2, 0.8\]: expected two factors above 0; give the smaller one first"),
        ({"rotate": -1}, "invalid rotate -1"),
        ({"mode": "cubic"}, "invalid mode 'cubic': expected one of bilinear, nearest"),
        ({"size": (30, 30)}, r"invalid size \[30, 30\] of RandWorldAffined: expected at most \[9, 9\] of its input"),
    ]:
        with pytest.raises(ConfigError, match=message):
            RandWorldAffined("image", **arguments)(sample(np.zeros((9, 9)), (1, 1)))
    with pytest.raises(ConfigError, match="missing key 'affine'"):
        RandWorldAffined("image", rotate=9)({"image": torch.zeros(1, 9, 9)})


def test_the_inverse_gives_the_window_back_that_it_took_the_middle_of() -> None:
    for sides, size in (((13, 14), (8, 9)), ((12, 15), (7, 9)), ((9, 9), (9, 9))):
        for step in (1, -1):
            window = np.array([[3, -2, 5], [3 + step * (sides[0] - 1), sides[1] - 3, 5]])
            given = {"image": MetaTensor(torch.rand(1, *sides)), "window": window}
            transform = RandWorldAffined("image", size=size)
            moved = transform(given)
            assert (abs(np.diff(moved["window"], axis=0)[0, :2]) + 1 == size).all()
            assert np.array_equal(transform.inverse(moved)["window"], window)
