"""Overlays are oriented as radiologists look, in true proportions, small, and show what is given."""

from __future__ import annotations

import io
from itertools import permutations, product

import numpy as np
import pytest
from laws import for_all
from PIL import Image

from ankleseg.report import as_slices, mosaic, overlay
from ankleseg.report.overlays import _panels_across, _slices_through
from ankleseg.volumes import reorient

# Spacing of the world axes (left–right, posterior–anterior, inferior–superior) with the slices across each of them, and
# the directions that rows and columns then run to.
VIEWS = {
    "sagittal": ((3.0, 1.0, 1.5), "IP"),
    "coronal": ((1.0, 3.0, 1.5), "IL"),
    "axial": ((1.0, 1.5, 3.0), "PL"),
}
DIRECTIONS = {"L": (0, -1), "R": (0, 1), "P": (1, -1), "A": (1, 1), "I": (2, -1), "S": (2, 1)}
ALL_CODES = [
    "".join(pair[side] for pair, side in zip(order, sides, strict=True))
    for order in permutations(("LR", "PA", "IS"))
    for sides in product((0, 1), repeat=3)
]


def decoded(png: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB")).astype(int)


def coloured(rgb: np.ndarray) -> np.ndarray:
    rgb = rgb.astype(int)
    return rgb.max(axis=-1) - rgb.min(axis=-1) > 40


@for_all("view", VIEWS)
@for_all("codes", ALL_CODES)
def test_slices_are_turned_as_radiologists_look_at_them(view: str, codes: str):
    world_spacing, runs = VIEWS[view]
    affine = np.diag([*world_spacing, 1.0])
    world = np.stack(np.meshgrid(*map(np.arange, (4, 5, 6)), indexing="ij"), -1)
    places, stored_affine = zip(*(reorient(world[..., k], affine, codes) for k in range(3)), strict=True)
    for number, letter in enumerate(runs):
        axis, sign = DIRECTIONS[letter]
        shown, grid = as_slices(places[axis], stored_affine[axis])
        assert (np.diff(shown, axis=number) == sign).all()
        assert np.linalg.norm(grid[:3, 2]) == pytest.approx(3.0)


def test_an_overlay_has_the_proportions_of_the_body_not_of_the_array():
    picture = overlay(np.zeros((20, 40)), spacing=(2.0, 0.5), width=200)
    assert picture.shape == (400, 200, 3)
    assert picture.dtype == np.uint8


def test_a_prediction_is_filled_and_a_reference_outlined():
    image = np.full((50, 50), 100.0)
    image[0, 0] = 300
    square = np.zeros((50, 50), dtype=np.int64)
    square[10:40, 10:40] = 1
    filled = coloured(overlay(image, square, width=300))
    outlined = coloured(overlay(image, reference=square, width=300))
    assert filled[150, 150] and not outlined[150, 150]
    assert outlined[60, 150] and outlined[150, 60]
    assert not filled[20, 20] and not outlined[20, 20]
    assert not coloured(overlay(image, width=300)).any()


def test_structures_have_colours_of_their_own_and_a_legend_below():
    labels = np.zeros((40, 40), dtype=np.uint8)
    labels[5:15, 5:35], labels[25:35, 5:35] = 1, 2
    plain = overlay(np.zeros((40, 40)), labels, width=400)
    named = overlay(np.zeros((40, 40)), labels, structures=("talus", "tibia"), width=400)
    assert np.abs(plain[100, 200].astype(int) - plain[300, 200]).max() > 60
    assert named.shape[0] > plain.shape[0]
    np.testing.assert_array_equal(named[:400], plain)


def test_an_image_without_contrast_or_labels_is_drawn():
    flat = overlay(np.full((8, 8), 5, dtype=np.int16), np.zeros((8, 8), dtype=np.int64), structures=("talus",))
    assert not coloured(flat[:480]).any()


@pytest.fixture
def bone() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A noisy PSR scan, a mask in it and the affine."""
    affine = np.array([[0, 0, 2.4, 0], [-0.5, 0, 0, 0], [0, 0.5, 0, 0], [0, 0, 0, 1]])
    mask = np.zeros((70, 80, 12), dtype=bool)
    mask[15:60, 20:65, 2:10] = True
    return np.random.default_rng(0).normal(0, 100, mask.shape).astype(np.float32), mask, affine


def test_a_mosaic_keeps_its_limit_even_of_pure_noise():
    image = np.random.default_rng(0).normal(0, 100, (200, 180, 8)).astype(np.float32)
    mask = np.zeros(image.shape, dtype=bool)
    mask[20:180, 20:150] = True
    png = mosaic(image, {"talus": mask}, {"talus": mask}, np.diag([0.5, 0.5, 2.4, 1.0]))
    assert 100_000 < len(png) <= 250_000
    assert decoded(png).shape[1] > 500


def test_a_mosaic_shows_a_reference_that_was_missed_and_a_prediction_that_was_invented(bone):
    image, mask, affine = bone
    empty = np.zeros_like(mask)
    missed = coloured(decoded(mosaic(np.zeros_like(image), {"talus": empty}, {"talus": mask}, affine)))
    invented = coloured(decoded(mosaic(np.zeros_like(image), {"talus": mask}, {"talus": empty}, affine)))
    assert 0 < missed.mean() < 0.1 < invented.mean()


def test_a_mosaic_needs_neither_image_nor_structures(bone):
    _, mask, affine = bone
    assert coloured(decoded(mosaic(None, {"talus": mask}, {}, affine))).mean() > 0.1
    nothing = decoded(mosaic(None, {"talus": np.zeros_like(mask)}, {}, affine))
    assert coloured(nothing[:-60]).sum() == 0


def test_a_mosaic_does_not_depend_on_how_the_scan_is_stored(bone):
    image, mask, affine = bone
    expected = mosaic(image, {"talus": mask}, {}, affine)
    for codes in ("RAS", "PSR"):
        turned, turned_affine = reorient(image, affine, codes)
        assert mosaic(turned, {"talus": reorient(mask, affine, codes)[0]}, {}, turned_affine) == expected


def test_the_number_in_a_slice_is_its_index_in_the_file(bone):
    image, mask, affine = bone
    flipped, flipped_affine = reorient(image, affine, "PSL")
    other = mosaic(flipped, {"talus": reorient(mask, affine, "PSL")[0]}, {}, flipped_affine)
    assert other != mosaic(image, {"talus": mask}, {}, affine)  # the same slices under other numbers


def test_slices_are_spread_over_the_structures():
    anywhere = np.zeros((5, 5, 100), dtype=bool)
    anywhere[2, 2, 20:60] = True
    anywhere[0, 0, 99] = True  # one stray voxel draws no slice to itself
    chosen = _slices_through(anywhere)
    assert len(chosen) == 8
    assert min(chosen) >= 20 and max(chosen) < 60
    assert len(_slices_through(np.zeros((4, 4, 3), dtype=bool))) == 3


@for_all(("mm", "across"), [((100.0, 100.0), 4), ((300.0, 90.0), 8), ((60.0, 200.0), 2)])
def test_a_mosaic_fills_a_page_whatever_the_shape_of_the_slices(mm: tuple[float, float], across: int):
    assert _panels_across(8, np.array(mm)) == across
