"""The pictures of a cord follow it from end to end, and do not depend on how it is stored."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

from ankleseg.report.cord import areas_along, sagittal_overlay
from ankleseg.volumes.geometry import reorient

AFFINE = np.diag([1.0, 1.5, 2.0, 1.0])


def bent() -> np.ndarray:
    """A cord that bends sideways out of any sagittal plane."""
    mask = np.zeros((40, 20, 30), bool)
    for z in range(2, 28):
        middle = 8 + round(24 * (z / 30) ** 2)
        mask[middle - 3 : middle + 4, 8:13, z] = True
    return mask


def decoded(png: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB")).astype(int)


def coloured(picture: np.ndarray) -> np.ndarray:
    return picture.max(axis=-1) - picture.min(axis=-1) > 40


def test_a_cord_that_bends_sideways_is_seen_whole_and_empty_ones_not():
    picture = decoded(sagittal_overlay(None, {"found": bent()}, bent(), AFFINE))
    rows = np.flatnonzero(coloured(picture).any(axis=1))
    assert coloured(picture)[rows[0] : rows[-1] + 1].any(axis=1).all()
    assert rows[-1] - rows[0] > 0.65 * len(picture)  # 52 of 60 mm, and what is shown above and below
    nothing = np.zeros_like(bent())
    assert not coloured(decoded(sagittal_overlay(None, {"found": nothing}, nothing, AFFINE))).any()


def test_the_picture_does_not_depend_on_how_the_scan_is_stored():
    image = np.random.default_rng(0).random(bent().shape)
    expected = sagittal_overlay(image, {"found": bent()}, bent(), AFFINE)
    for codes in ("LPS", "PSR", "IAL"):
        (scan, grid), (mask, _) = reorient(image, AFFINE, codes), reorient(bent(), AFFINE, codes)
        assert sagittal_overlay(scan, {"found": mask}, mask, grid) == expected


def test_each_prediction_has_its_curve():
    along, areas = np.arange(50.0), np.full(50, 70.0)
    alone = decoded(areas_along((along, areas), {}))
    both = decoded(areas_along((along, areas), {"a": (along, areas - 20), "b": (along, np.full(50, np.nan))}))
    assert coloured(both).sum() > coloured(alone).sum() + 200
