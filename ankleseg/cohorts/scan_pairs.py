"""Which scans of a cohort are registered with which: scans of one another, with an atlas, follow-ups. Paths only."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import permutations
from pathlib import Path
from typing import Protocol, runtime_checkable

from ankleseg.cohorts.case import Case, in_order
from ankleseg.cohorts.files import stem
from ankleseg.errors import CohortError, ConfigError
from ankleseg.volumes import missing_file

SUBJECTS = ("different", "same", "any")


@dataclass(frozen=True)
class ScanPair:
    """A scan that is moved, and the one that stays where it is."""

    moving: Case
    fixed: Case

    @property
    def name(self) -> str:
        """What the pair is called: ``sub-02_to_sub-01``."""
        return f"{self.moving.name}_to_{self.fixed.name}"


@runtime_checkable
class ScanPairs(Protocol):
    """How the scans of a cohort are paired."""

    def __call__(self, cases: Sequence[Case]) -> list[ScanPair]:
        """Pair scans; none with itself.

        Raises:
            CohortError: there is nothing to pair.
        """


@dataclass(frozen=True, kw_only=True)
class ScanToScan:
    """Every scan with every other one, either way.

    Args:
        subjects: ``different`` pairs scans of different people, ``same`` those of one, ``any`` both.
        most: pairs, drawn by the seed; None: all.
        seed: of the draw.

    Raises:
        ConfigError: another word, or a number that is not above 0.
    """

    subjects: str = "different"
    most: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if self.subjects not in SUBJECTS:
            raise ConfigError(f"invalid subjects {self.subjects!r}: expected {', '.join(SUBJECTS)}", mend="choose one")
        if self.most is not None and self.most < 1:
            raise ConfigError(f"invalid most {self.most}: expected 1 or more", mend="give null for all pairs")

    def __call__(self, cases: Sequence[Case]) -> list[ScanPair]:
        wanted = {"different": (False,), "same": (True,), "any": (False, True)}[self.subjects]
        pairs = [
            ScanPair(moving, fixed)
            for fixed, moving in permutations(cases, 2)
            if (fixed.subject == moving.subject) in wanted and fixed.images != moving.images
        ]
        if not pairs:
            whose = {"different": "of different subjects", "same": "of one subject", "any": ""}[self.subjects]
            raise _nothing(cases, f"two scans {whose}".strip())
        if self.most is None or self.most >= len(pairs):
            return pairs
        chosen = sorted(random.Random(self.seed).sample(range(len(pairs)), self.most))
        return [pairs[number] for number in chosen]


@dataclass(frozen=True, kw_only=True)
class ToAtlas:
    """Every scan to one atlas.

    Args:
        atlas: image of the atlas, or of each of its channels by name; a scan of the cohort that is the atlas itself is
            left out.

    Raises:
        FileError: it is not there.
    """

    atlas: str | dict[str, str]

    def __post_init__(self) -> None:
        for path in self._channels.values():
            if error := missing_file(path):
                raise error

    @property
    def _channels(self) -> dict[str, Path]:
        given = self.atlas if isinstance(self.atlas, dict) else {"image": self.atlas}
        return {name: Path(path) for name, path in given.items()}

    def __call__(self, cases: Sequence[Case]) -> list[ScanPair]:
        channels = self._channels
        atlas = Case(name=stem(next(iter(channels.values()))), subject="atlas", channels=channels)
        own = {path.resolve() for path in atlas.images}
        pairs = [
            ScanPair(case, in_order(atlas, tuple(case.channels)))
            for case in cases
            if not own & {path.resolve() for path in case.images}
        ]
        if not pairs:
            raise _nothing(cases, "a scan that is not the atlas")
        return pairs


@dataclass(frozen=True, kw_only=True)
class FollowUps:
    """The first scan of a subject, by the names of its sessions, to each later one: the baseline moves."""

    def __call__(self, cases: Sequence[Case]) -> list[ScanPair]:
        subjects: dict[str, list[Case]] = {}
        for case in sorted(cases, key=_by_number):
            subjects.setdefault(case.subject, []).append(case)
        pairs = [ScanPair(first, later) for first, *others in subjects.values() for later in others]
        if not pairs:
            raise _nothing(cases, "two sessions of one subject")
        return pairs


def _by_number(case: Case) -> list[tuple[int, str]]:
    """The name of a case with its numbers as such, so that ``ses-10`` comes after ``ses-2``."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", case.name)]


def _nothing(cases: Sequence[Case], needed: str) -> CohortError:
    names = ", ".join(case.name for case in cases[:5]) or "no scan"
    return CohortError(
        f"there is nothing to register among {names}: expected {needed}",
        mend="choose another split by cohort.split, or another way to pair by patches.pairs",
    )
