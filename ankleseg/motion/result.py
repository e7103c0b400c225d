"""What became of a subject."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class SubjectResult:
    """What is told of a subject in the tables of the cohort; plain types only.

    Attributes:
        name: in the derivative.
        case, group, side: of the cohort.
        status: ``usable``, ``partly`` or ``excluded``; ``failed`` where something went wrong on the way.
        problem: what went wrong, else empty.
        cleaning: rows of ``cleaning.tsv``.
        quality: rows of ``status.tsv``.
        angles, ranges: rows by sequence.
    """

    name: str
    case: str
    group: str | None
    side: str | None
    status: str
    problem: str
    cleaning: list[dict[str, Any]]
    quality: list[dict[str, Any]]
    angles: dict[str, list[dict[str, Any]]]
    ranges: dict[str, list[dict[str, Any]]]
