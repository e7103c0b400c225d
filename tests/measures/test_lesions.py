"""Lesion-wise scores by the rules of BraTS 2023, on cases worked by hand and against other programs."""

from __future__ import annotations

import numpy as np
import pytest
from laws import for_all
from scipy import ndimage

from ankleseg.measures import LesionScores, lesion_scores, overlap

SHAPE = (48, 24, 24)
EMPTY = np.zeros(SHAPE, dtype=bool)
MM = (1.0, 1.0, 1.0)


def box(x: int, length: int = 5, *, sides: tuple[int, int] = (5, 5)) -> np.ndarray:
    """A box that begins at x, 5×5 voxels across."""
    mask = EMPTY.copy()
    mask[x : x + length, 8 : 8 + sides[0], 8 : 8 + sides[1]] = True
    return mask


def counts(scores: LesionScores) -> tuple[int, int, int, int]:
    return tuple(scores.count(name) for name in ("found", "missed", "invented", "left out"))  # type: ignore[arg-type]


def of_volume(voxels: int) -> np.ndarray:
    """A rod far from the other boxes: 25 voxels a slice, the last one begun."""
    mask = EMPTY.copy()
    mask[35:48, 8:13, 8:13] = (np.arange(13 * 25) < voxels).reshape(13, 5, 5)
    return mask


A, B = box(10), box(30)

# what it is, prediction, reference, found/missed/invented/left out, Dice, HD95 in mm
WORKED = [
    ("perfect", A, A, (1, 0, 0, 0), 1.0, 0.0),
    # 100 of 125 voxels shared; no voxel of a surface is farther than one step
    ("moved by a voxel", box(11), A, (1, 0, 0, 0), 0.8, 1.0),
    ("missed", EMPTY, A, (0, 1, 0, 0), 0.0, 374.0),
    ("invented", A, EMPTY, (0, 0, 1, 0), 0.0, 374.0),
    ("one of two", A, A | B, (1, 1, 0, 0), 0.5, 187.0),
    ("one more than there is, of a single voxel", A | of_volume(1), A, (1, 0, 1, 0), 0.5, 187.0),
    # six voxels between two pieces, which three steps on either side close: one lesion of 250 voxels. Of the 196 voxels
    # of its surface 98 are 0 mm away, the 25 of its near face 7, 16 each 8, 9 and 10, and the 25 of its far face 11
    ("pieces that dilation joins", A, A | box(21), (1, 0, 0, 0), 2 * 125 / 375, 11.0),
    ("pieces that dilation just leaves apart", A, A | box(22), (1, 1, 0, 0), 0.5, 187.0),
    # two voxels beside the lesion, so that it touches the dilated one: found, nothing shared. Of 98 voxels of its
    # surface 25 are 3 mm away, 16 each 4, 5 and 6, and 25 are 7
    ("beside, not on", box(17), A, (1, 0, 0, 0), 0.0, 7.0),
    # one component over two lesions and the gap: compared, whole, with each. Of its 418 voxels of surface 89 lie on a
    # lesion, 16 each at 1 to 19 mm, 25 at 20
    ("one for two", box(10, 25), A | B, (2, 0, 0, 0), 2 * 125 / 750, 20.0),
    ("two for one, both compared", A | box(17), A, (1, 0, 0, 0), 2 * 125 / 375, 7.0),
    ("50 voxels missed do not count", A, A | of_volume(50), (1, 0, 0, 1), 1.0, 0.0),
    ("51 voxels missed do", A, A | of_volume(51), (1, 1, 0, 0), 0.5, 187.0),
    ("what touches one of 50 is not invented", A | of_volume(125), A | of_volume(50), (1, 0, 0, 1), 1.0, 0.0),
    ("nothing but one of 50 is not applicable", EMPTY, of_volume(50), (0, 0, 0, 1), None, None),
    ("both empty is not applicable", EMPTY, EMPTY, (0, 0, 0, 0), None, None),
]


@for_all(("what", "prediction", "reference", "counted", "dice", "hd95_mm"), WORKED)
def test_cases_worked_by_hand(what, prediction, reference, counted, dice, hd95_mm):
    scores = lesion_scores(prediction, reference, MM)
    assert counts(scores) == counted, what
    assert scores.dice == (None if dice is None else pytest.approx(dice))
    assert scores.hd95_mm == (None if hd95_mm is None else pytest.approx(hd95_mm))


def test_corners_connect_and_distances_and_volumes_are_in_mm():
    corner = EMPTY.copy()
    corner[15:20, 13:18, 13:18] = True  # shares a corner with A
    scores = lesion_scores(A | corner, A, MM)
    assert counts(scores) == (1, 0, 0, 0) and scores.dice == pytest.approx(2 * 125 / 375)
    thick = lesion_scores(box(11), A, (3.0, 1.0, 1.0))
    assert (thick.lesions[0].volume_mm3, thick.hd95_mm) == (375.0, pytest.approx(3.0))
    small = box(30, 1, sides=(2, 5))
    assert counts(lesion_scores(A, A | small, MM)) == (1, 0, 0, 1), "10 mm³"
    assert counts(lesion_scores(A, A | small, (6.0, 1.0, 1.0))) == (1, 1, 0, 0), "60 mm³"


def test_rules_of_metastases_are_a_setting():
    rules = {"dilation": 1, "least_mm3": 2}
    assert counts(lesion_scores(A, A | box(17), MM, **rules)) == (1, 0, 0, 0), "two voxels between them"
    assert counts(lesion_scores(A, A | box(18), MM, **rules)) == (1, 1, 0, 0), "three"
    assert counts(lesion_scores(A, A | of_volume(3), MM, **rules)) == (1, 1, 0, 0)


def as_published(prediction: np.ndarray, reference: np.ndarray) -> list[float]:
    """Dice of each lesion and a 0 of each invention, by the published steps as they are told, on the whole grid."""
    step, touching = ndimage.generate_binary_structure(3, 2), np.ones((3, 3, 3))
    components, count = ndimage.label(prediction, touching)
    zones, lesions = ndimage.label(ndimage.binary_dilation(reference, step, iterations=3), touching)
    dice, used = [], set()
    for number in range(1, lesions + 1):
        lesion = (zones == number) & reference
        near = ndimage.binary_dilation(lesion, step, iterations=3)
        partners = set(np.unique(components[near])) - {0}
        used |= partners
        if lesion.sum() > 50:
            dice.append(overlap(np.isin(components, list(partners)), lesion).dice or 0.0)
    return sorted([*dice, *[0.0] * (count - len(used))])


@for_all("seed", range(12))
def test_the_published_steps_on_random_lesions(seed: int):
    generator = np.random.default_rng(seed)
    noise = [ndimage.gaussian_filter(generator.normal(size=(40, 36, 30)), 2.0) for _ in range(2)]
    reference = noise[0] > np.percentile(noise[0], 95)
    prediction = noise[0] + 0.7 * noise[1] > np.percentile(noise[0], 95)
    scores = lesion_scores(prediction, reference, MM)
    assert len(scores.counted) > 2
    assert sorted(lesion.dice for lesion in scores.counted) == pytest.approx(as_published(prediction, reference))


def test_panoptica_agrees_where_the_rules_are_the_same():
    """Lesions that are whole, far apart, and each half covered at least: the packages match them alike."""
    panoptica = pytest.importorskip("panoptica", reason="panoptica is not installed: compared in an environment of one")
    missed = EMPTY.copy()
    missed[10:15, 20:24, 20:24] = True
    prediction, reference = box(11) | B | box(43, 4), A | B | missed
    evaluator = panoptica.Panoptica_Evaluator(
        expected_input=panoptica.InputType.SEMANTIC,
        instance_approximator=panoptica.ConnectedComponentsInstanceApproximator(),
        instance_matcher=panoptica.NaiveThresholdMatching(),
    )
    result = evaluator.evaluate(prediction.astype(np.uint8), reference.astype(np.uint8), verbose=False)
    result = next(iter(result.values()))
    result = result[0] if isinstance(result, tuple) else result
    scores = lesion_scores(prediction, reference, MM)
    assert counts(scores) == (2, 1, 1, 0)
    assert (result.tp, result.fn, result.fp) == (2, 1, 1)
    dice = [lesion.dice for lesion in scores.lesions if lesion.finding == "found"]
    assert result.sq_dsc == pytest.approx(np.mean(dice))
