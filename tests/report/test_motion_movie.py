"""Pictures and outlines of a sequence show the same voxels, in the same place, whichever way the file is stored."""

from __future__ import annotations

import base64
import io
import re

import numpy as np
import pytest
from laws import for_all
from PIL import Image
from skimage.draw import disk, polygon

from ankleseg.errors import GeometryError
from ankleseg.report.motion import MotionSequence
from ankleseg.report.movie import MARGIN_MM, jpeg, movie, outline, static_slices
from ankleseg.volumes import reorient

CODES = ("RAS", "LPS", "PSR", "AIL", "SLA", "IRP")
FRAMES = 3


def points(path: str) -> list[np.ndarray]:
    """The closed lines of an SVG path, each (n, 2) of x and y."""
    return [
        np.array([[float(value) for value in pair.split()] for pair in part.rstrip("Z").split("L")])
        for part in path.split("M")[1:]
    ]


def enclosed(path: str) -> float:
    return sum(abs(np.sum(p[:, 0] * np.roll(p[:, 1], -1) - p[:, 1] * np.roll(p[:, 0], -1))) / 2 for p in points(path))


def filled(path: str, shape: tuple[int, int]) -> np.ndarray:
    mask = np.zeros(shape, bool)
    for line in points(path):
        mask[polygon(line[:, 1] - 0.5, line[:, 0] - 0.5, shape)] = True
    return mask


def decoded(uri: str) -> np.ndarray:
    kind, data = uri.split(",")
    assert kind == "data:image/jpeg;base64"
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(data))))


def ball(shape: tuple[int, int, int], centre: tuple[float, float, float], radius: float, size) -> np.ndarray:
    place = np.moveaxis(np.indices(shape), 0, -1)
    return np.linalg.norm((place - centre) * size, axis=-1) <= radius


@pytest.fixture(scope="module")
def stored() -> MotionSequence:
    """Sagittal frames: a talus in slice 2, a calcaneus in slice 4, and a foot whose pose throws both far off."""
    affine, shape = np.diag([8.0, 1.0, 1.0, 1.0]), (7, 90, 80)
    own = {bone: np.zeros((*shape, FRAMES), bool) for bone in ("calcaneus", "talus")}
    for t in range(FRAMES):
        own["talus"][..., t] = ball(shape, (2, 40 + 4 * t, 50), 9, (8, 1, 1))
        own["calcaneus"][..., t] = ball(shape, (4, 42, 30 - 3 * t), 7, (8, 1, 1))
    off = {bone: np.roll(mask, 35, axis=1) for bone, mask in own.items()}
    return MotionSequence("sub-1_task-a", 900.0 * (own["talus"] | own["calcaneus"]), affine, own, off, ())


@for_all("radius", [5, 20])
def test_an_outline_encloses_what_it_outlines(radius: int):
    mask = np.zeros((60, 70), bool)
    mask[disk((30, 40), radius)] = True
    path = outline(mask)
    assert enclosed(path) == pytest.approx(mask.sum(), rel=0.06)
    ends = np.stack([points(path)[0].min(axis=0), points(path)[0].max(axis=0)])
    assert ends.mean(axis=0) == pytest.approx([40.5, 30.5], abs=0.06)


def test_an_outline_of_fractions_runs_between_pixels():
    ramp = np.clip(np.linspace(2, -2, 41)[None], 0, 1) * np.ones((30, 1))
    right = points(outline(ramp))[0][:, 0].max()
    assert right == pytest.approx(15.5, abs=0.06)  # the middle of the pixel that is half full


def test_an_outline_at_the_border_is_closed_and_nothing_has_none():
    assert enclosed(outline(np.ones((10, 12), bool))) == pytest.approx(120, rel=0.01)
    assert outline(np.zeros((10, 12), bool)) == ""


@for_all("codes", CODES)
def test_pictures_and_outlines_fit_whichever_way_the_file_is_stored(stored: MotionSequence, codes: str):
    frames, affine = reorient(stored.frames, stored.affine, codes)
    masks = {bone: reorient(mask, stored.affine, codes)[0] for bone, mask in stored.masks.items()}
    shown = movie(MotionSequence("s", frames, affine, masks, {}, ()))
    size = (shown["height"], shown["width"])
    for number, picture in enumerate(shown["shown"]):
        for t in range(FRAMES):
            bright = decoded(picture["frames"][t]) > 127
            assert bright.shape == size
            inside = sum((filled(shown["own"][bone][number][t], size) for bone in masks), np.zeros(size, bool))
            assert (bright != inside).sum() <= 0.06 * bright.sum() + 2


@for_all("codes", ["RAS", "LAS"])
def test_the_movie_shows_the_talus_and_names_the_slice_of_the_file(stored: MotionSequence, codes: str):
    frames, affine = reorient(stored.frames, stored.affine, codes)
    masks = {bone: reorient(mask, stored.affine, codes)[0] for bone, mask in stored.masks.items()}
    shown = movie(MotionSequence("s", frames, affine, masks, {}, ()))
    numbers = [picture["number"] for picture in shown["shown"]]
    assert numbers[shown["movie"]] == {"RAS": 2, "LAS": 4}[codes]
    assert numbers[shown["slice"]["calcaneus"]] == {"RAS": 4, "LAS": 2}[codes]


def test_the_picture_holds_the_bones_of_all_frames_and_heeds_no_foot_that_lies_far_off(stored: MotionSequence):
    shown = movie(stored)
    assert shown["width"] == pytest.approx(27 + 2 * MARGIN_MM, abs=2)
    for bone, (left, top, right, bottom) in shown["close"].items():
        assert 0 <= left < right <= shown["width"] and 0 <= top < bottom <= shown["height"]
        place = shown["slice"][bone]
        for path in shown["own"][bone][place]:
            line = np.concatenate(points(path))
            assert (line >= [left, top]).all() and (line <= [right, bottom]).all()


def test_a_sequence_without_any_pose_still_has_a_movie(stored: MotionSequence):
    nothing = {bone: np.zeros_like(mask) for bone, mask in stored.masks.items()}
    shown = movie(MotionSequence("s", stored.frames, stored.affine, nothing, nothing, ()))
    assert (shown["height"], shown["width"]) == (80, 90)
    assert len(shown["shown"][shown["movie"]]["frames"]) == FRAMES


def test_ninety_pictures_of_noise_weigh_less_than_eight_megabytes():
    noise = np.random.default_rng(0).normal(size=(288, 288))
    assert 90 * len(jpeg(noise, (-2.0, 2.0))) < 8e6


def test_static_slices_are_outlined_where_the_bones_are(stored: MotionSequence):
    masks = {bone: mask[..., 0] for bone, mask in stored.masks.items()}
    shown = static_slices(stored.frames[..., 0], stored.affine, masks, 6)
    size = (shown["height"], shown["width"])
    assert {2, 4} <= {picture["number"] for picture in shown["shown"]} <= {1, 2, 3, 4, 5}
    for picture in shown["shown"]:
        inside = sum((filled(path, size) for path in picture["own"].values()), np.zeros(size, bool))
        assert ((decoded(picture["image"]) > 127) != inside).sum() <= 0.06 * inside.sum() + 2


def test_masks_on_another_grid_are_refused(stored: MotionSequence):
    wrong = {"talus": stored.masks["talus"][..., :2]}
    with pytest.raises(GeometryError, match=re.escape("sub-1: talus has the shape (7, 90, 80, 2), the frames (7, 90,")):
        MotionSequence("sub-1", stored.frames, stored.affine, wrong, {}, ())
