"""Sections of a cord have the area and the shape of the tube they are cut from, however it lies and is stored."""

from __future__ import annotations

from itertools import permutations, product
from pathlib import Path

import numpy as np
import pytest
from laws import for_all
from scipy.spatial.transform import Rotation

from ankleseg.errors import GeometryError
from ankleseg.measures import cord_shape
from ankleseg.measures.cord_shape import SHAPE_NAMES, points_in_slices, tangents_in_slices
from ankleseg.volumes import read_volume
from ankleseg.volumes.geometry import reorient

ORIENTATIONS = ["".join(codes) for order in permutations(("LR", "PA", "IS")) for codes in product(*order)]
WIDE, DEEP = 13.0, 8.0  # mm
AREA = np.pi / 4 * WIDE * DEEP
OBLIQUE = Rotation.from_euler("xyz", [24, -15, 0], degrees=True).as_matrix()


def tube(
    spacing: tuple[float, float, float] = (1.0, 1.0, 1.0),
    turn: np.ndarray = OBLIQUE,
    roll: float = 0.0,
    fine: int = 1,
    sides: tuple[float, float, float] = (36.0, 46.0, 48.0),
) -> tuple[np.ndarray, np.ndarray]:
    """The share of an elliptic cylinder along the third column of `turn` in each voxel, from `fine`³ points of it."""
    shape = np.round(np.array(sides) / spacing).astype(int)
    affine = np.diag([*spacing, 1.0])
    affine[:3, 3] = -(shape - 1) / 2 * spacing + [0.3, -0.2, 0.1]
    steps = (np.arange(fine) + 0.5) / fine - 0.5
    share = np.zeros(shape)
    frame = turn @ Rotation.from_euler("z", roll, degrees=True).as_matrix()
    indices = np.indices(shape).reshape(3, -1)
    for offset in product(steps, repeat=3):
        points = affine[:3, :3] @ (indices + np.array(offset)[:, None]) + affine[:3, 3:]
        across = frame.T @ points
        share += ((across[0] / WIDE * 2) ** 2 + (across[1] / DEEP * 2) ** 2 <= 1).reshape(shape)
    share /= fine**3
    return (share if fine > 1 else share > 0), affine


def inner(values: np.ndarray, margin: int) -> np.ndarray:
    return values[margin:-margin]


@for_all(
    ("spacing", "fine"),
    [((1.0, 1.0, 0.5), 1), ((1.0, 1.0, 1.0), 1), ((0.6, 0.6, 3.0), 1), ((1.0, 1.0, 3.0), 3), ((1.0, 1.0, 1.0), 3)],
)
def test_the_area_of_an_oblique_cord_is_that_of_its_section(spacing, fine):
    mask, affine = tube(spacing, fine=fine)
    shape = cord_shape(mask, affine)
    margin = round(6 / spacing[2])
    assert inner(shape.tilt_deg, margin) == pytest.approx(np.degrees(np.arccos(OBLIQUE[2, 2])), abs=1.5)
    assert np.mean(inner(shape.area_mm2, margin)) == pytest.approx(AREA, rel=0.01)
    assert np.mean(inner(shape.right_left_mm, margin)) == pytest.approx(WIDE, rel=0.015)
    assert np.mean(inner(shape.anterior_posterior_mm, margin)) == pytest.approx(DEEP, rel=0.015)
    eccentricity = np.sqrt(1 - (DEEP / WIDE) ** 2)
    assert np.mean(inner(shape.eccentricity, margin)) == pytest.approx(eccentricity, abs=0.015)
    assert inner(shape.solidity, margin).min() > 0.97
    length = (shape.slices[-1] - shape.slices[0]) * spacing[2] / OBLIQUE[2, 2]
    assert shape.along_mm[-1] == pytest.approx(length, rel=0.01)


def test_without_the_correction_the_area_would_be_wrong():
    mask, affine = tube()
    along = np.column_stack([np.zeros((48, 2)), np.arange(48) - 23.5])  # straight up, which is not where it goes
    assert np.mean(inner(cord_shape(mask, affine, along).area_mm2, 6)) > 1.1 * AREA


def test_partial_volume_makes_each_section_more_exact():
    spread = []
    for fine in (1, 3):
        mask, affine = tube(fine=fine)
        spread.append(np.abs(inner(cord_shape(mask, affine).area_mm2, 6) / AREA - 1).max())
    assert spread[1] < 0.015 < spread[0] < 0.06


@for_all("roll", [0.0, 25.0, -40.0, 80.0])
def test_the_orientation_is_the_angle_of_the_long_axis(roll):
    mask, affine = tube(turn=np.eye(3), roll=roll, fine=2)
    shape = cord_shape(mask, affine)
    assert shape.orientation_deg == pytest.approx(roll, abs=1.5)
    assert shape.eccentricity == pytest.approx(np.sqrt(1 - (DEEP / WIDE) ** 2), abs=0.01)
    across = np.hypot(WIDE * np.cos(np.radians(roll)), DEEP * np.sin(np.radians(roll)))
    assert shape.right_left_mm == pytest.approx(across, rel=0.02)


def test_the_order_and_directions_of_the_axes_change_nothing():
    mask, affine = tube((1.0, 1.2, 2.0), sides=(28.0, 28.0, 24.0))
    expected = cord_shape(mask, affine)
    for codes in ORIENTATIONS:
        shape = cord_shape(*reorient(mask, affine, codes))
        for name in ("along_mm", *SHAPE_NAMES):
            np.testing.assert_allclose(getattr(shape, name), getattr(expected, name), atol=1e-8, err_msg=codes)


def test_a_turned_patient_has_the_same_cord():
    mask, affine = tube((1.0, 1.0, 2.0))
    shape = cord_shape(mask, affine)
    for angles in ((20, 0, 0), (0, -15, 0), (10, 10, 0)):
        turned = affine.copy()
        turned[:3] = Rotation.from_euler("xyz", angles, degrees=True).as_matrix() @ affine[:3]
        np.testing.assert_allclose(cord_shape(mask, turned).area_mm2, shape.area_mm2, rtol=1e-6)
        np.testing.assert_allclose(cord_shape(mask, turned).along_mm, shape.along_mm, rtol=1e-6)


def test_a_slice_without_cord_between_others_has_no_area_and_no_shape():
    mask, affine = tube(turn=np.eye(3))
    mask[..., 20] = False
    shape = cord_shape(mask, affine)
    assert shape.area_mm2[20] == 0 and np.isnan([getattr(shape, name)[20] for name in SHAPE_NAMES[1:-1]]).all()
    assert shape.area_mm2[[19, 21]] == pytest.approx(AREA, rel=0.02)
    assert not np.isnan(shape.each_mm().right_left_mm).any()


def test_each_millimetre_of_thick_oblique_slices_is_each_millimetre_of_the_cord():
    shape = cord_shape(*tube((1.0, 1.0, 3.0), fine=2)).each_mm()
    np.testing.assert_allclose(np.diff(shape.along_mm), 1)
    assert np.mean(inner(shape.area_mm2, 6)) == pytest.approx(AREA, rel=0.01)


def test_a_mask_of_one_slice_has_the_area_in_it_and_an_empty_one_none():
    mask, affine = tube(turn=np.eye(3))
    mask[..., :10], mask[..., 11:] = False, False
    assert cord_shape(mask, affine).area_mm2 == pytest.approx([AREA], rel=0.02)
    with pytest.raises(GeometryError, match="the mask of the cord is empty"):
        cord_shape(np.zeros_like(mask), affine)


def test_a_bent_centreline_is_crossed_where_it_lies_and_in_its_direction():
    z = np.linspace(0, 60, 200)
    points = np.column_stack([2 + 0 * z, 10 * np.sin(z / 30), z])
    affine = np.diag([1.0, 1.0, 2.0, 1.0])
    rows = np.arange(0, 33)
    crossed = points_in_slices(points, affine, rows)
    assert crossed[:31] == pytest.approx(
        np.column_stack([np.full(31, 2), 10 * np.sin(np.arange(31) / 15), 2 * np.arange(31)]), abs=0.01
    )
    assert np.isnan(crossed[31:]).all()
    slope = 10 / 30 * np.cos(np.arange(31) / 15)
    directions = np.column_stack([0 * slope, slope, 1 + 0 * slope]) / np.hypot(slope, 1)[:, None]
    assert tangents_in_slices(points, affine, rows)[:31] == pytest.approx(directions, abs=0.02)


def test_real_cords_have_the_size_of_cords(shared_data: Path):
    for name in ("sct11", "sct18", "sct21"):
        volume = read_volume(shared_data / f"cord/{name}_t2_cord.nii.gz")
        shape = cord_shape(volume.data, volume.affine)
        assert 45 < np.median(shape.area_mm2) < 95
        assert np.median(shape.right_left_mm) > 1.2 * np.median(shape.anterior_posterior_mm)
