"""What the cells of a table say, and which of the known names somebody means."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Literal, cast

from ankleseg.errors import CohortError

Side = Literal["left", "right"]
SIDES: Mapping[str, Side] = {"left": "left", "l": "left", "right": "right", "r": "right"}
NOT_AVAILABLE = ("", "-", "n/a", "#n/a", "na", "nan", "none", "null")
SHOWN = 5  # names in a line, at most


def known_text(text: str | None) -> str | None:
    """Return what a cell of a table says, None where it says ``n/a`` or nothing."""
    text = (text or "").strip()
    return None if text.lower() in NOT_AVAILABLE else text


def parse_side(text: str | None, file: Path, subject: str) -> Side | None:
    """Return the side a cell names (left, right, L, R in any case), None where it is empty.

    Raises:
        CohortError: anything else.
    """
    known = known_text(text)
    if known is None:
        return None
    if known.lower() not in SIDES:
        raise CohortError(f"gives {subject} the side {known!r}", file=file, mend="write left or right")
    return cast(Side, SIDES[known.lower()])


def whole_number(text: str) -> int | None:
    """Return the whole number a cell holds, as ``1``, ``1.0`` or ``1,0``; None where it holds none."""
    found = re.fullmatch(r"\s*(\d+)(?:[.,]0*)?\s*", text)
    return int(found[1]) if found else None


def identifier(text: str | None) -> str:
    """Return the name a cell holds, also one that a spreadsheet took for a number: ``1.0`` is 1; empty without one."""
    text = known_text(text) or ""
    number = whole_number(text)
    return text if text.isdecimal() or number is None else str(number)


def matching(name: str, known: Iterable[str]) -> list[str]:
    """Return the known names that a name means, by the strictest rule that finds any.

    They are the same; or the same but for capitals and a ``sub-`` or ``ses-``; or the same number, as ``1`` and
    ``sub-01`` are.
    """
    known = list(known)
    for rule in (str.strip, _bare, _number):
        found = [other for other in known if rule(other) == rule(name)]
        if found:
            return found
    return []


def _bare(name: str) -> str:
    return re.sub(r"^(sub|ses)([-_]|(?=\d))", "", name.strip().casefold())


def _number(name: str) -> str:
    bare = _bare(name)
    number = whole_number(bare)
    return bare if number is None else str(number)


def known_name(name: str, known: Sequence[str], what: str, file: Path, mend: str = "") -> str:
    """Return the known name that a name means (see `matching`).

    Raises:
        CohortError: none of them, with a suggestion, or several.
    """
    found = matching(name, known)
    if not found:
        require_known(name, known, what, file, mend)
    if len(found) > 1:
        raise CohortError(
            f"has several {what}s that {name!r} may mean: {listed(found)}", file=file, mend="write the name in full"
        )
    return found[0]


def require_known(name: str, known: Sequence[str], what: str, file: Path, mend: str = "") -> None:
    """Refuse a name that is not among the known ones, suggesting the closest.

    Raises:
        CohortError: listing the known names.
    """
    if name in known:
        return
    names = ", ".join(known) or "none"
    told = f"{suggestion(name, known)}known are: {names}"
    raise CohortError(f"has no {what} {name!r}", file=file, mend=f"{told}; {mend}" if mend else told)


def suggestion(name: str, known: Sequence[str], likeness: float = 0.6) -> str:
    """Return ``did you mean …? `` for a mistyped name, or nothing."""
    close = get_close_matches(name, known, n=1, cutoff=likeness)
    return f"did you mean {close[0]!r}? " if close else ""


def counted(count: int, what: str) -> str:
    """Return a number of things, as ``1 case`` and ``2 cases``."""
    return f"{count} {what}{'' if count == 1 else 's'}"


def listed(names: Sequence[str]) -> str:
    """Return the first names of many in one line, and how many more there are."""
    more = len(names) - SHOWN
    return ", ".join(names[:SHOWN]) + (f" and {more} more" if more > 0 else "")
