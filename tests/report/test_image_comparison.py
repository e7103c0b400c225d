"""Images side by side: cut across the slices whatever the orientation, turned as they are looked at, small enough."""

from __future__ import annotations

import io
from itertools import permutations, product

import numpy as np
import pytest
from laws import for_all
from PIL import Image

from ankleseg.report.acquisitions import volumes_by_acquisition
from ankleseg.report.image_comparison import edge_on_axis, image_comparison, slice_across
from ankleseg.volumes import anatomical_axis, axis_codes, reorient

PAIRS = ("LR", "PA", "IS")
ORIENTATIONS = ["".join(codes) for order in permutations(PAIRS) for codes in product(*order)]


def oriented(codes: str, shape: tuple[int, int, int] = (6, 7, 8)) -> tuple[np.ndarray, np.ndarray]:
    data = np.random.default_rng(0).random(shape)
    return reorient(data, np.diag([1.0, 1.1, 1.2, 1.0]), codes)


@for_all("codes", ORIENTATIONS)
@for_all(("slices", "cut"), [("IS", "PA"), ("LR", "PA"), ("PA", "LR")])
def test_slices_are_seen_edge_on(codes: str, slices: str, cut: str):
    _, affine = oriented(codes)
    _, thick = oriented("PSR")
    axis = edge_on_axis(affine, thick, anatomical_axis(thick, slices))
    assert axis == anatomical_axis(affine, cut)


@for_all("codes", ORIENTATIONS)
def test_a_cut_shows_the_same_whatever_the_orientation(codes: str):
    expected, _, _ = slice_across(*oriented("RAS"), 1, 2)
    data, affine = oriented(codes)
    axis = anatomical_axis(affine, "PA")
    index = 2 if "A" in axis_codes(affine) else 4
    shown, spacing, directions = slice_across(data, affine, axis, index)
    assert np.array_equal(shown, expected)
    assert spacing.tolist() == pytest.approx([1.2, 1.0])  # rows run along z, columns along x
    assert directions[:2] == "IL"  # down and to the right


def picture(limit: int = 400_000) -> bytes:
    generator = np.random.default_rng(0)
    reference = 500 * generator.random((60, 50))
    images = {"cubic spline": reference + 50, "sharp": reference - generator.random(reference.shape)}
    return image_comparison(images, reference, spacing=(1, 1), codes="ILP", centre=(30, 25), limit=limit)


def test_a_picture_has_two_rows_of_five_panels_and_keeps_its_limit():
    width, height = Image.open(io.BytesIO(picture())).size
    assert width / height == pytest.approx((5 * 50) / (2 * 60), rel=0.02)
    assert len(picture(40_000)) <= 40_000


def test_differences_are_orange_where_too_bright_and_dark_where_there_is_none():
    pixels = np.asarray(Image.open(io.BytesIO(picture())).convert("RGB")).astype(int)
    height, width = pixels.shape[:2]
    lower = pixels[height * 3 // 4]
    too_bright, alike = lower[int(width * 0.7)], lower[int(width * 0.9)]
    assert too_bright[0] > too_bright[2] + 50
    assert alike.max() < 60


def test_images_that_are_alike_can_be_drawn():
    flat = np.zeros((20, 20))
    assert image_comparison({"a": flat}, flat, spacing=(1, 1), codes="ILP", centre=(0, 19))


def test_volumes_are_drawn_with_gaps():
    table = np.array([[1.0, 2.0], [np.nan, 3.0], [np.nan, np.nan]])
    values = {name: table for name in ("a", "b", "c", "d", "e")}
    picture = Image.open(io.BytesIO(volumes_by_acquisition(values, ["te1", "te2"], label="volume (ml)")))
    assert picture.width > picture.height
