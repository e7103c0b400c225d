"""Nobody is on two sides of a split, and the same seed gives the same split."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
from laws import for_all

from ankleseg.cohorts import Explicit, HoldOutGroup, KFold, LeaveOneOut, Split
from ankleseg.config import build, compose
from ankleseg.errors import CohortError

EVERY_SPLIT = [
    *(LeaveOneOut(fold) for fold in range(14)),
    *(LeaveOneOut(fold, group="control") for fold in range(7)),
    *(KFold(folds, fold, seed) for folds in (3, 5) for fold in range(folds) for seed in (0, 1)),
    *(HoldOutGroup(fold=fold) for fold in range(7)),
]


@for_all("split", EVERY_SPLIT)
def test_no_subject_and_so_no_scan_is_on_two_sides(split, ankles):
    parts = split(ankles)
    sides = [set(parts.train), set(parts.validation), set(parts.test)]
    assert all(sides)
    assert sum(map(len, sides)) == len(set.union(*sides))
    names = [case.name for side in sides for case in ankles.select(side).cases]
    assert len(names) == len(set(names))


@for_all("split", EVERY_SPLIT)
def test_a_split_depends_on_names_and_not_on_the_order_of_files(split, ankles):
    assert split(ankles) == split(ankles)
    assert split(replace(ankles, cases=ankles.cases[::-1])) == split(ankles)


def test_leaving_one_out_tests_and_validates_everybody_once(ankles):
    parts = [LeaveOneOut(fold)(ankles) for fold in range(14)]
    assert [part.test for part in parts] == [(subject,) for subject in ankles.subjects]
    assert Counter(part.validation[0] for part in parts) == Counter(ankles.subjects)
    assert parts[13].validation == ("sub-C01",)
    assert all(len(part.train) == 12 for part in parts)


def test_folds_test_everybody_once_and_share_the_groups(ankles):
    parts = [KFold(folds=7, fold=fold)(ankles) for fold in range(7)]
    assert sorted(subject for part in parts for subject in part.test) == list(ankles.subjects)
    assert all(
        Counter(ankles.group_of(subject) for subject in part.test) == {"control": 1, "equinus": 1} for part in parts
    )
    assert [part.validation for part in parts] == [part.test for part in parts[1:] + parts[:1]]


def test_uneven_folds_differ_by_one_subject(ankles):
    sizes = [len(KFold(folds=4, fold=fold)(ankles).test) for fold in range(4)]
    assert sorted(sizes) == [3, 3, 4, 4]


def test_folds_differ_by_seed(ankles):
    assert KFold(seed=0)(ankles) != KFold(seed=1)(ankles)


def test_the_published_split_is_six_controls_one_control_seven_equinus(ankles):
    parts = [HoldOutGroup(fold=fold)(ankles) for fold in range(7)]
    assert parts[2] == Split(
        train=("sub-C01", "sub-C02", "sub-C04", "sub-C05", "sub-C06", "sub-C07"),
        validation=("sub-C03",),
        test=tuple(f"sub-E{number:02d}" for number in range(1, 8)),
    )
    assert sorted(part.validation[0] for part in parts) == sorted(parts[0].train + parts[0].validation)


def test_more_validation_subjects_follow_by_rotation(ankles):
    assert HoldOutGroup(validation=2, fold=6)(ankles).validation == ("sub-C01", "sub-C07")


def test_listed_subjects_are_taken_as_listed(ankles):
    parts = Explicit(train=["sub-E02", "sub-C01"], test=["sub-C02"])(ankles)
    assert parts == Split(train=("sub-E02", "sub-C01"), test=("sub-C02",))


@for_all(
    ("split", "message"),
    [
        (LeaveOneOut(14), "invalid fold 14: expected 0 to 13"),
        (LeaveOneOut(-1), "invalid fold -1"),
        (KFold(folds=5, fold=5), "invalid fold 5: expected 0 to 4"),
        (KFold(folds=2), "2 folds cannot give training, validation and test; use three folds or more"),
        (KFold(folds=20), "has 14 subjects to share where 20 are needed"),
        (HoldOutGroup(fold=7), "invalid fold 7: expected 0 to 6"),
        (HoldOutGroup(validation=7), "has 7 subjects to share where 8 are needed"),
        (
            HoldOutGroup(train="controls"),
            "has no group 'controls'; did you mean 'control'\\? known are: control, equinus",
        ),
        (HoldOutGroup(test="control"), "the split leaks: .*sub-C01"),
        (Explicit(train=["sub-C1"]), "has no subject 'sub-C1'; did you mean"),
        (Explicit(train=["sub-C01"], test=["sub-C01"]), "the split leaks: sub-C01 would be used twice"),
        (Explicit(train=[], test=["sub-C01"]), "the split leaves nobody for training"),
    ],
)
def test_an_impossible_split_is_told(split, message, ankles):
    with pytest.raises(CohortError, match=message):
        split(ankles)


def test_holding_out_a_group_needs_groups(ankles):
    cases = tuple(replace(case, group=None) if case.subject == "sub-C02" else case for case in ankles.cases)
    with pytest.raises(CohortError, match="gives no group for sub-C02; fill the column group"):
        HoldOutGroup()(replace(ankles, cases=cases))


def test_too_few_subjects_are_told(ankles):
    with pytest.raises(CohortError, match="has 2 subjects to share where 3 are needed"):
        LeaveOneOut()(ankles.select(["sub-C01", "sub-C02"]))


@for_all(
    ("name", "kind", "extra"),
    [
        ("leave_one_out", LeaveOneOut, []),
        ("k_fold", KFold, []),
        ("hold_out_group", HoldOutGroup, []),
        ("explicit", Explicit, ["cohort.split.train=[sub-C01]"]),
    ],
)
def test_every_split_is_a_configuration_node(name, kind, extra, ankles):
    fold = [] if kind is Explicit else ["cohort.split.fold=3"]
    config = compose("train", [f"cohort/split={name}", *fold, *extra])
    split = build(config.cohort.split)
    assert isinstance(split, kind)
    assert isinstance(split(ankles), Split)
    assert kind is Explicit or split.fold == 3
