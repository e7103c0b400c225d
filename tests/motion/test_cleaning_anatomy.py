"""Which foot it is, whether it lies as one, and whether a mask was drawn on the scan."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from laws import for_all

from ankleseg.cohorts import load_cohort
from ankleseg.motion.cleaning.agreement import check_bones, edge_alignment
from ankleseg.motion.cleaning.anatomy import Points, bone_points, foot_of
from ankleseg.motion.cleaning.sides import check_lie, flipped_axis, judge_side, lies_elsewhere
from ankleseg.volumes import Verdict, Volume, read_mask, read_volume, resample, with_header_of
from ankleseg.volumes.poses import rotation_about, transform

BONES = ("calcaneus", "talus", "tibia")


def mirrored(points: dict[str, Points], axis: int = 0) -> dict[str, Points]:
    signs = np.ones(3)
    signs[axis] = -1
    return {bone: places * signs for bone, places in points.items()}


@pytest.fixture(scope="module")
def drawn(phantom_cohort: Path) -> list[tuple[str, dict[str, Points]]]:
    """Side and bones of the children of a phantom cohort."""
    feet = []
    for case in load_cohort(phantom_cohort).cases:
        points = {}
        for bone, reference in case.references.items():
            mask = read_mask(reference.path)
            points |= bone_points({bone: mask.data}, mask.affine)
        feet.append((str(case.side), points))
    assert {side for side, _ in feet} == {"left", "right"}
    return feet


@pytest.fixture(scope="module")
def real(shared_data: Path) -> dict[str, Points]:
    """The bones of the left ankle of a child."""
    points = {}
    for bone in BONES:
        mask = read_mask(shared_data / "ankle" / f"child_ankle_{bone}.nii.gz")
        points |= bone_points({bone: mask.data}, mask.affine)
    return points


def test_the_side_of_drawn_feet_is_told_with_a_wide_margin_mirrored_or_not(drawn) -> None:
    for side, points in drawn:
        other = {"left": "right", "right": "left"}[side]
        foot, image = foot_of(points), foot_of(mirrored(points))
        assert (foot.side, image.side) == (side, other)
        assert abs(foot.cue_mm) > 15
        assert foot.cue_mm == pytest.approx(-image.cue_mm)


def test_the_side_of_a_real_foot_is_told_mirrored_or_not(real) -> None:
    foot, image = foot_of(real), foot_of(mirrored(real))
    assert (foot.side, image.side) == ("left", "right")
    assert abs(foot.cue_mm) > 15


def test_the_side_does_not_depend_on_how_the_foot_lies(real, drawn) -> None:
    generator = np.random.default_rng(4)
    for points in (real, drawn[0][1]):
        still = foot_of(points)
        for _ in range(5):
            turned = rotation_about(generator.normal(size=3), generator.uniform(-180, 180), generator.normal(size=3))
            foot = foot_of({bone: transform(turned, places) for bone, places in points.items()})
            assert foot.side == still.side
            np.testing.assert_allclose(foot.up, turned[:3, :3] @ still.up, atol=1e-6)
            np.testing.assert_allclose(foot.forward, turned[:3, :3] @ still.forward, atol=1e-6)


def test_two_bones_are_enough_and_one_is_not(real, drawn) -> None:
    for side, points in (("left", real), *drawn):
        assert foot_of({bone: points[bone] for bone in ("calcaneus", "talus")}).side == side
    assert foot_of({bone: real[bone] for bone in ("talus", "tibia")}) is None


def test_a_foot_lies_with_the_shin_to_the_head_and_the_toes_up(real, drawn) -> None:
    for points in (real, *(points for _, points in drawn)):
        foot = foot_of(points)
        assert foot.up[2] > 0.8 and foot.forward[1] > 0.8
        assert check_lie(Path("a.nii"), foot) == []
    turned = {bone: places[:, [1, 2, 0]] for bone, places in drawn[0][1].items()}
    assert [finding.problem for finding in check_lie(Path("a.nii"), foot_of(turned))] == [
        "by its header the shin points to A, not to S (IS)",
        "by its header the toes point to R, not to A (PA)",
    ]


@for_all(("axis", "array_axis"), [(0, 2), (1, 0), (2, 1)])
def test_the_axis_that_was_reversed_is_found(axis: int, array_axis: int, real) -> None:
    sagittal = np.array([[0, 0, 1.0, 0], [-1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0, 1]])
    assert flipped_axis(foot_of(mirrored(real, axis)), sagittal) == array_axis


def test_a_side_is_judged_by_table_bones_and_place(real) -> None:
    file, left = Path("a.nii"), foot_of(real)

    def judged(given, shown, elsewhere=False, mend=False):
        side, flipped, findings = judge_side(file, given, shown, elsewhere=elsewhere, mend_flipped=mend)
        return side, flipped, [finding.verdict for finding in findings]

    assert judged("left", left) == ("left", False, [])
    assert judged(None, left) == ("left", False, [Verdict.OK])
    assert judged(None, None) == (None, False, [Verdict.SUSPECT])
    assert judged("right", None) == ("right", False, [Verdict.OK])
    assert judged("right", left) == ("right", True, [Verdict.MIRRORED])
    assert judged("right", left, mend=True) == ("right", True, [Verdict.MIRRORED])
    assert judged("right", left, elsewhere=True, mend=True) == ("right", True, [Verdict.DIFFERENT])


def test_bones_lie_elsewhere_where_no_sequence_sees_them() -> None:
    points = np.random.default_rng(0).uniform(0, 20, (50, 3))
    there = Volume(np.zeros((22, 22, 22, 2)), np.eye(4))
    apart = Volume(np.zeros((22, 22, 22, 2)), np.array([[1.0, 0, 0, 90], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]))
    assert not lies_elsewhere(points, [])
    assert not lies_elsewhere(points, [apart, there])
    assert lies_elsewhere(points, [apart])


def ball(centre: float, radius: float) -> np.ndarray:
    return sum((axis - centre) ** 2 for axis in np.indices((40, 40, 40))) < radius**2


def test_an_outline_on_an_edge_is_aligned_whatever_the_contrast_and_one_by_chance_is_by_a_third() -> None:
    generator = np.random.default_rng(2)
    noise = generator.normal(0, 1, (40, 40, 40))
    shading = np.linspace(1, 2, 40)
    for sign in (1, -1):
        image = (200 + sign * 100 * ball(20, 9)) * shading + noise
        assert edge_alignment(image, np.eye(4), ball(20, 9)) > 0.9
    assert edge_alignment(noise, np.eye(4), ball(20, 9)) == pytest.approx(1 / 3, abs=0.05)
    assert edge_alignment(np.zeros((40, 40, 40)), np.eye(4), ball(20, 9)) == 0


def test_real_masks_fit_their_scan_with_its_header_and_not_with_their_own(shared_data: Path) -> None:
    folder = shared_data / "super_resolution"
    image, labels = read_volume(folder / "monkey1010_t1.nii.gz"), read_volume(folder / "monkey1010_seg.nii.gz")
    copied = with_header_of(labels, image.header).data
    own = resample(labels.data, labels.affine, image.data.shape, image.affine, order=0)
    for value in (1, 3):
        assert edge_alignment(image.data, image.affine, copied == value) > 0.8
        assert edge_alignment(image.data, image.affine, own == value) < 0.45


def test_masks_are_judged_by_size_and_overlap(phantom_cohort: Path) -> None:
    case = load_cohort(phantom_cohort).cases[0]
    scan = read_volume(case.images[0])
    masks = {bone: read_mask(case.references[bone].path).data for bone in BONES}
    files = {bone: Path(case.references[bone].path) for bone in BONES}
    everywhere = np.ones(scan.data.shape, bool)
    assert check_bones(files, scan, everywhere, masks) == (masks, [], {})

    left, findings, _ = check_bones(files, scan, ~(masks["talus"] | masks["tibia"]), masks)
    assert list(left) == ["calcaneus"]
    assert findings[0].problem == f"100% of it lie outside the foot of {case.images[0].name}"

    part = masks["talus"].copy()
    part.flat[np.flatnonzero(part)[np.count_nonzero(part) // 20 :]] = False
    left, findings, _ = check_bones(files, scan, everywhere, {**masks, "calcaneus": masks["calcaneus"] | part})
    assert set(left) == set(BONES)
    assert [(f.verdict, f.problem) for f in findings] == [
        (Verdict.SUSPECT, "shares 5.0% of its voxels with the calcaneus")
    ]

    larger = Volume(scan.data, scan.affine @ np.diag([2, 2, 2, 1]), scan.header)
    _, findings, _ = check_bones(files, larger, everywhere, {"calcaneus": masks["calcaneus"]})
    assert "ml, and a calcaneus has 10 to 100 ml" in findings[0].problem


def test_an_outline_beside_the_edges_is_a_doubt_about_a_network_and_no_mark_against_the_drawn_ones(
    phantom_cohort: Path,
) -> None:
    case = load_cohort(phantom_cohort).cases[0]
    scan = read_volume(case.images[0])
    everywhere = np.ones(scan.data.shape, bool)
    masks = {bone: read_mask(case.references[bone].path).data for bone in BONES}
    files = {bone: Path(case.references[bone].path) for bone in BONES}
    moved = masks | {bone: np.roll(masks[bone], 6, 0) for bone in ("talus", "tibia")}
    assert set(check_bones(files, scan, everywhere, moved)[0]) < set(BONES)
    left, findings, doubts = check_bones(files, scan, everywhere, moved, ["talus", "tibia"])
    assert set(left) == set(BONES) and set(doubts) == {"talus", "tibia"}
    assert all("does not follow the edges" in reason for reason in doubts.values())
    assert all(finding.verdict is Verdict.SUSPECT for finding in findings)
