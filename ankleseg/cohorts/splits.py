"""Splits of a cohort into training, validation and test, always by subject.

Each split is a plain object called on a cohort, so that it can be a configuration node. They depend on the names of the
subjects, never on the order of files.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from ankleseg.cohorts.case import Cohort
from ankleseg.cohorts.names import counted, known_name
from ankleseg.errors import CohortError


@dataclass(frozen=True)
class Split:
    """Names of the subjects for training, validation and test.

    Raises:
        CohortError: a subject is in two of them or twice in one, or nobody is left for training.
    """

    train: tuple[str, ...]
    validation: tuple[str, ...] = ()
    test: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.train:
            raise CohortError("the split leaves nobody for training", mend="use more subjects or fewer folds")
        everybody = [*self.train, *self.validation, *self.test]
        twice = sorted({subject for subject in everybody if everybody.count(subject) > 1})
        if twice:
            raise CohortError(
                f"the split leaks: {', '.join(twice)} would be used twice", mend="name every subject once, in one part"
            )


@dataclass(frozen=True)
class LeaveOneOut:
    """One subject for the test, the next for validation, all others for training.

    Args:
        fold: number of the test subject, from 0.
        group: only subjects of this group take part; None for all.
    """

    fold: int = 0
    group: str | int | None = None

    def __call__(self, cohort: Cohort) -> Split:
        """Split a cohort.

        Raises:
            CohortError: fewer than three subjects, no such fold, or no such group.
        """
        subjects = cohort.subjects if self.group is None else _members(cohort, self.group)
        _require_fold(self.fold, len(subjects), cohort)
        _require_at_least(3, subjects, cohort)
        rotated = subjects[self.fold :] + subjects[: self.fold]
        return Split(train=tuple(sorted(rotated[2:])), validation=rotated[1:2], test=rotated[:1])


@dataclass(frozen=True)
class KFold:
    """Equal parts with their share of every group: one for the test, the next for validation, the rest for training.

    Args:
        folds: number of parts.
        fold: number of the part for the test, from 0.
        seed: of the draw.
    """

    folds: int = 5
    fold: int = 0
    seed: int = 0

    def __call__(self, cohort: Cohort) -> Split:
        """Split a cohort.

        Raises:
            CohortError: fewer than three folds, fewer subjects than folds, or no such fold.
        """
        if self.folds < 3:
            raise CohortError(
                f"{self.folds} folds cannot give training, validation and test", mend="use three folds or more"
            )
        _require_fold(self.fold, self.folds, cohort)
        _require_at_least(self.folds, cohort.subjects, cohort)
        parts = self._parts(cohort)
        following = (self.fold + 1) % self.folds
        train = [subject for index, part in enumerate(parts) if index not in (self.fold, following) for subject in part]
        return Split(tuple(sorted(train)), tuple(sorted(parts[following])), tuple(sorted(parts[self.fold])))

    def _parts(self, cohort: Cohort) -> list[list[str]]:
        """Shuffle each group (of subjects in several groups, each set of them) and deal the subjects like cards."""
        random = Random(self.seed)
        dealt: list[str] = []
        groups = {name: tuple(sorted(group or "" for group in cohort.groups_of(name))) for name in cohort.subjects}
        for group in sorted(set(groups.values())):
            members = [subject for subject in cohort.subjects if groups[subject] == group]
            random.shuffle(members)
            dealt += members
        return [dealt[index :: self.folds] for index in range(self.folds)]


@dataclass(frozen=True)
class HoldOutGroup:
    """One group for training and validation, another, never seen, for the test.

    The published ankle study (Coupeau 2020) trains on six controls, validates on the seventh, and tests on all subjects
    with equinus.

    Args:
        train: group for training and validation.
        test: group for the test.
        validation: number of subjects of the training group that are set apart for validation.
        fold: number of the first of them, from 0; the next follow by rotation.
    """

    train: str | int = "control"
    test: str | int = "equinus"
    validation: int = 1
    fold: int = 0

    def __call__(self, cohort: Cohort) -> Split:
        """Split a cohort.

        Raises:
            CohortError: subjects without a group or in several, no such group, too few subjects, or no such fold.
        """
        _require_at_least(self.validation + 2, cohort.subjects, cohort)
        members, held_out = _members(cohort, self.train), _members(cohort, self.test)
        _require_fold(self.fold, len(members), cohort)
        _require_at_least(self.validation + 1, members, cohort)
        rotated = members[self.fold :] + members[: self.fold]
        validation, train = rotated[: self.validation], rotated[self.validation :]
        return Split(tuple(sorted(train)), tuple(sorted(validation)), held_out)


@dataclass(frozen=True)
class Explicit:
    """The subjects as listed; ``1`` means ``sub-01`` where there is no other."""

    train: Sequence[str | int]
    validation: Sequence[str | int] = ()
    test: Sequence[str | int] = ()

    def __call__(self, cohort: Cohort) -> Split:
        """Split a cohort.

        Raises:
            CohortError: a subject is unknown, or listed twice.
        """
        return Split(*(_listed(cohort, part) for part in (self.train, self.validation, self.test)))


def _listed(cohort: Cohort, names: Sequence[str | int]) -> tuple[str, ...]:
    """The subjects of a cohort that are meant."""
    mend = "list yours by cohort.split.train=[…] cohort.split.validation=[…] cohort.split.test=[…]"
    return tuple(known_name(str(name), cohort.subjects, "subject", cohort.root, mend) for name in names)


def _members(cohort: Cohort, group: str | int) -> tuple[str, ...]:
    without = [subject for subject in cohort.subjects if cohort.group_of(subject) is None]
    if without:
        raise CohortError(
            f"gives no group for {', '.join(without)}",
            file=cohort.root,
            mend="fill the column group (of participants.tsv in a BIDS folder), "
            "or choose another split, e.g. cohort/split=leave_one_out",
        )
    mend = "name the groups by cohort.split.train=… and cohort.split.test=…, or choose cohort/split=leave_one_out"
    group = known_name(str(group), cohort.groups, "group", cohort.root, mend)
    return tuple(subject for subject in cohort.subjects if cohort.group_of(subject) == group)


def _require_fold(fold: int, folds: int, cohort: Cohort) -> None:
    if not 0 <= fold < folds:
        raise CohortError(f"invalid fold {fold}: expected 0 to {folds - 1}", file=cohort.root)


def _require_at_least(needed: int, subjects: Sequence[str], cohort: Cohort) -> None:
    if len(subjects) < needed:
        listed = ",".join(cohort.subjects)
        raise CohortError(
            f"has {counted(len(subjects), 'subject')} to share where {needed} are needed",
            file=cohort.root,
            mend="add subjects, or train without validation or test by cohort/split=explicit "
            f"'cohort.split.train=[{listed}]'",
        )
