"""Laws of pairing scans: never one with itself, the same pairs from one seed, subjects kept apart or together."""

from __future__ import annotations

from pathlib import Path

import pytest
from laws import for_all

from ankleseg.cohorts import Case, FollowUps, ScanToScan, ToAtlas
from ankleseg.errors import AnklesegError

CASES = [
    Case(name=name, subject=name[:5], channels={"t1": Path(f"{name}.nii.gz")})
    for name in ("sub-1_ses-2", "sub-1_ses-10", "sub-1_ses-1", "sub-2_ses-1", "sub-3")
]


def names(pairs) -> list[str]:
    return [pair.name for pair in pairs]


@for_all(("subjects", "count"), [("different", 14), ("same", 6), ("any", 20)])
def test_every_scan_meets_every_other_one_it_may_and_never_itself(subjects: str, count: int) -> None:
    pairs = ScanToScan(subjects=subjects)(CASES)
    assert len(set(names(pairs))) == len(pairs) == count
    assert all(pair.moving.images != pair.fixed.images for pair in pairs)
    for pair in pairs:
        assert subjects == "any" or (pair.moving.subject == pair.fixed.subject) == (subjects == "same")


def test_a_scan_under_two_names_is_not_paired_with_itself() -> None:
    twice = Case(name="copy", subject="sub-1", channels=CASES[0].channels)
    assert names(ScanToScan(subjects="same")([CASES[0], CASES[1], twice])) == [
        "sub-1_ses-10_to_sub-1_ses-2", "sub-1_ses-2_to_sub-1_ses-10", "copy_to_sub-1_ses-10", "sub-1_ses-10_to_copy",
    ]  # fmt: skip


def test_one_seed_is_one_draw() -> None:
    drawn = [names(ScanToScan(subjects="any", most=5, seed=seed)(CASES)) for seed in (1, 1, 2)]
    assert drawn[0] == drawn[1] != drawn[2] and len(drawn[0]) == 5


def test_the_first_session_moves_to_each_later_one_counted_as_numbers() -> None:
    assert names(FollowUps()(CASES)) == ["sub-1_ses-1_to_sub-1_ses-2", "sub-1_ses-1_to_sub-1_ses-10"]


def test_an_atlas_is_what_every_scan_is_moved_to_but_itself(tmp_path: Path) -> None:
    atlas = tmp_path / "atlas.nii.gz"
    atlas.touch()
    own = Case(name="atlas", subject="x", channels={"t1": atlas})
    pairs = ToAtlas(atlas=str(atlas))([*CASES, own])
    assert names(pairs) == [f"{case.name}_to_atlas" for case in CASES]
    assert pairs[0].fixed.channels == {"t1": atlas}


@for_all(
    ("make", "message"),
    [
        (lambda: ScanToScan()(CASES[:3]), "nothing to register among .*: expected two scans of different subjects"),
        (lambda: ScanToScan(subjects="same")(CASES[3:]), "expected two scans of one subject; choose another split"),
        (lambda: FollowUps()(CASES[3:]), "expected two sessions of one subject"),
        (lambda: ScanToScan(subjects="all"), "invalid subjects 'all': expected different, same, any"),
        (lambda: ScanToScan(most=0), "invalid most 0: expected 1 or more"),
        (lambda: ToAtlas(atlas="nowhere.nii.gz"), "nowhere.nii.gz: does not exist"),
    ],
)
def test_what_cannot_be_paired_is_told(make, message: str) -> None:
    with pytest.raises(AnklesegError, match=message):
        make()
