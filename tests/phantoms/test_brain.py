"""A drawn head has the anatomy it promises: a folded ribbon of cortex on white matter, left on the left."""

from __future__ import annotations

import numpy as np
import pytest
from brain_heads import labels_of_brain, upright
from scipy.ndimage import binary_dilation, distance_transform_edt, gaussian_filter, label
from skimage.measure import marching_cubes, mesh_surface_area

from ankleseg.errors import ConfigError
from ankleseg.phantoms import BrainLabels, BrainTissue, Grid, brain_labels, draw_brain
from ankleseg.phantoms.brain_folds import distance_inside, ended_sheet, grow_folds, valley_distance
from ankleseg.phantoms.brain_tissues import SIDED, brain_label, brain_structures, brain_tissue_of, hemisphere_of

MEMBERS = brain_structures()


@pytest.fixture(scope="module", params=["neonate", "child"])
def head(request: pytest.FixtureRequest):
    """A head of each age, in voxels of 0.6 mm of a newborn's head."""
    return labels_of_brain(3, request.param)


@pytest.fixture
def rough(monkeypatch: pytest.MonkeyPatch) -> None:
    """Heads evaluated on coarse grids, for tests that do not look at small things."""
    for name, spacing in (("OUTLINE_SPACING", 3.0), ("NUCLEI_SPACING", 2.4), ("CORTEX_SPACING", 1.8)):
        monkeypatch.setattr(brain_labels, name, spacing)


def test_a_label_says_tissue_and_side():
    for tissue in BrainTissue:
        for side in range(3):
            found = np.array(brain_label(tissue, side))
            assert (brain_tissue_of(found), hemisphere_of(found)) == (tissue, side)


def test_every_tissue_that_is_drawn_is_there(head):
    found = set(np.unique(brain_tissue_of(head[1])))
    assert found == set(BrainTissue) - {BrainTissue.MARROW, BrainTissue.VESSEL}


def test_volumes_are_those_of_a_newborn_and_of_a_child(head):
    """In ml, within wide limits."""
    brain, labels, grid = head
    volumes = np.bincount(labels.ravel(), minlength=256) * abs(np.linalg.det(grid.affine)) / 1000
    limits = {
        "neonate": {"intracranial": (280, 480), "cortex": (60, 170), "white_matter": (70, 190), "cerebellum": (12, 32)},
        "child": {
            "intracranial": (1150, 1700),
            "cortex": (330, 680),
            "white_matter": (300, 560),
            "cerebellum": (60, 160),
        },
    }
    for structure, (low, high) in limits[brain.age_group].items():
        assert low < volumes[MEMBERS[structure]].sum() < high, structure


def test_the_cortex_is_a_ribbon_of_the_thickness_asked_for(head):
    """Distance to the white matter from the outermost voxels of the cortex, where it is not cut by the core."""
    brain, labels, grid = head
    step = float(grid.spacing[0])
    cortex, inner = MEMBERS["cortex"][labels], (MEMBERS["left_inner"] | MEMBERS["right_inner"])[labels]
    outermost = cortex & binary_dilation(MEMBERS["csf"][labels])
    # from the middle of a voxel at one surface to the middle of one beyond the other: half a voxel more, half less
    thickness = distance_transform_edt(~inner, sampling=step)[outermost]
    asked = brain.thickness * brain.scale
    assert np.median(thickness) == pytest.approx(asked, abs=0.5 * step)
    low, high = np.percentile(thickness, [5, 90])
    assert low > 0.55 * asked and high < 1.45 * asked
    assert (1.4 < asked < 2.1) if brain.age_group == "neonate" else (2.1 < asked < 3.0)


def test_the_cortex_is_folded(head):
    """Area of the left hemisphere's surface over that of its hull, the hemisphere with its sulci closed."""
    brain, labels, grid = head
    step = float(grid.spacing[0])
    left = MEMBERS["left_hemisphere"][labels]
    box = tuple(slice(max(int(found.min()) - 18, 0), int(found.max()) + 18) for found in np.nonzero(left))
    body = np.pad(left[box], 6)
    reach = 7.0 * brain.scale
    grown = distance_transform_edt(~body, sampling=step) < reach
    hull = distance_transform_edt(grown, sampling=step) > reach
    folded, smooth = (_area(mask, step) for mask in (body, hull))
    assert 1.7 < folded / smooth < 3.2


def _area(mask: np.ndarray, step: float) -> float:
    corners, faces, _, _ = marching_cubes(gaussian_filter(mask.astype(np.float32), 0.7), 0.5, spacing=(step,) * 3)
    return mesh_surface_area(corners, faces)


def test_grey_lies_on_white_and_white_in_one_piece(head):
    _, labels, _ = head
    white = MEMBERS["left_inner"][labels]
    pieces, _ = label(white)
    sizes = np.bincount(pieces.ravel())[1:]
    assert sizes.max() > 0.98 * sizes.sum()
    touching = binary_dilation(brain_tissue_of(labels) == BrainTissue.BONE) & MEMBERS["cortex"][labels]
    assert touching.sum() < 1e-3 * MEMBERS["cortex"][labels].sum()  # fluid lies between brain and skull


def test_left_is_left_and_the_sides_differ_by_little(head):
    _, labels, grid = head
    x = grid.affine[0, 0] * np.arange(grid.shape[0]) + grid.affine[0, 3]
    places = np.broadcast_to(x[:, None, None], labels.shape)
    left, right = MEMBERS["left_hemisphere"][labels], MEMBERS["right_hemisphere"][labels]
    assert (places[left] < 0).mean() > 0.99 and (places[right] > 0).mean() > 0.99
    ratio = left.sum() / right.sum()
    assert 0.93 < ratio < 1.07 and ratio != 1
    mirrored = np.flip(left, 0)
    assert 2 * (mirrored & right).sum() / (left.sum() + right.sum()) < 0.95  # no mirror image


def test_structures_are_disjoint_and_nested_as_promised():
    drawn = [brain_label(tissue) for tissue in BrainTissue] + [
        brain_label(tissue, n) for tissue in SIDED for n in (1, 2)
    ]
    member = {name: chosen[drawn].astype(int) for name, chosen in MEMBERS.items()}
    for side in ("left", "right"):
        assert np.array_equal(member[f"{side}_cortex"] + member[f"{side}_inner"], member[f"{side}_hemisphere"])
    parts = ("left_cortex", "right_cortex", "left_inner", "right_inner")
    assert sum(member[part] for part in parts).max() == 1
    tissues = ("cortex", "white_matter", "ventricles", "deep_grey", "cerebellum", "brainstem", "csf")
    assert sum(member[tissue] for tissue in tissues).max() == 1
    for name, chosen in member.items():
        assert np.all(chosen <= member["intracranial"]), name


def test_the_same_generator_gives_the_same_head_and_another_another(rough):
    first, again, other = (labels_of_brain(seed, spacing=3.0)[1] for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    cortex, others = MEMBERS["cortex"][first], MEMBERS["cortex"][other]
    assert 2 * (cortex & others).sum() / (cortex.sum() + others.sum()) < 0.75


def test_one_head_is_the_same_on_any_grid_in_its_field_of_view(rough):
    brain = draw_brain(np.random.default_rng(4))
    fine, coarse = upright(1.0), upright(4.0)
    source = BrainLabels(brain, fine)
    step = np.diag([3.0, 3.0, 3.0, 1.0])
    step[:3, 3] = 1.0
    every_third = Grid((20, 20, 20), fine.affine @ step)
    assert np.array_equal(source(every_third), source(fine)[1:60:3, 1:60:3, 1:60:3])
    assert (BrainLabels(brain, coarse)(every_third) == source(every_third)).mean() > 0.999


def test_a_head_is_read_along_other_axes(rough):
    field_of_view = upright(2.0)
    source = BrainLabels(draw_brain(np.random.default_rng(4)), field_of_view)
    labels = source(field_of_view)
    rows, columns, planes = labels.shape
    flipped = np.diag([-1.0, 1.0, 1.0, 1.0])
    flipped[0, 3] = rows - 1
    turned = Grid((planes, rows, columns), (field_of_view.affine @ flipped)[:, [2, 0, 1, 3]])
    assert np.array_equal(source(turned), np.moveaxis(labels[::-1], 2, 0))
    tilt = np.eye(4)
    tilt[:2, :2] = np.array([[np.cos(0.01), -np.sin(0.01)], [np.sin(0.01), np.cos(0.01)]])
    oblique = source(Grid(labels.shape, tilt @ field_of_view.affine))
    assert (oblique == labels).mean() > 0.95
    beyond = np.diag([2.0, 2.0, 2.0, 1.0])
    beyond[:3, 3] = 500
    assert not source(Grid((4, 4, 4), beyond)).any()


def test_an_unknown_age_is_refused():
    with pytest.raises(ConfigError, match="invalid age 'adult': expected neonate or child"):
        draw_brain(np.random.default_rng(0), age="adult")


def ball(radius: float, side: int = 40) -> np.ndarray:
    grid = np.indices((side,) * 3) - (side - 1) / 2
    return (np.sqrt((grid**2).sum(0)) - radius).astype(np.float32)


def test_the_distance_inside_a_ball_is_finer_than_its_voxels():
    level = ball(14.3)
    found = distance_inside(level, 1.0)
    inside = (level < 0) & (level > -10)
    assert np.abs(found + level)[inside].max() < 0.5
    assert np.abs(found + level)[inside].mean() < 0.1
    assert np.all(found[level >= 0] == 0)


def test_folds_repeat_after_a_wavelength_and_stand_on_the_surface():
    rng = np.random.default_rng(0)
    depth = np.broadcast_to(np.arange(14.0, dtype=np.float32), (80, 80, 14)).copy()
    noise = rng.standard_normal(depth.shape, dtype=np.float32)
    pattern = grow_folds(noise, depth, 8.0, 1.0, np.zeros_like(noise))
    surface = pattern[8:-8, 8:-8, 3]
    power = np.abs(np.fft.fft2(surface)) ** 2
    frequency = np.hypot(*np.meshgrid(*(np.fft.fftfreq(side) for side in surface.shape), indexing="ij"))
    assert 1 / (frequency * power).sum() * power.sum() == pytest.approx(8.0, rel=0.15)
    assert np.corrcoef(pattern[..., 3].ravel(), pattern[..., 10].ravel())[0, 1] > 0.8


def test_the_distance_to_the_valleys_of_stripes_is_right():
    x = np.arange(96.0)
    stripes = np.broadcast_to(-np.cos(2 * np.pi * x / 24)[:, None, None], (96, 6, 8)).astype(np.float32)
    depth = np.broadcast_to(np.arange(8.0, dtype=np.float32), stripes.shape)
    found = valley_distance(stripes, depth, 24.0, 1.0)[2:-2, 3, 4]
    np.testing.assert_allclose(found, np.abs((x[2:-2] + 12) % 24 - 12), atol=0.15)


def test_a_sheet_ends_in_a_round_edge():
    beside, below = np.array([3.0, -1.0, 3.0, -1.0]), np.array([4.0, 2.0, -5.0, -0.5])
    np.testing.assert_allclose(ended_sheet(beside, below), [5.0, 2.0, 3.0, -0.5])
