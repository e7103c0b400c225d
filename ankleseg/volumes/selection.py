"""What of a file or DICOM folder is wanted, said at its end: ``FOLDER#series=301&echo=80``, ``FILE#frame=1``."""

from __future__ import annotations

import os
import re
from pathlib import Path

from ankleseg.errors import FileError

FRAME = "frame"  # a volume of any 4-D file, from 0; the others are of DICOM alone
CHOICES = ("series", "part", "echo", FRAME)
FRAGMENT = re.compile(r"(?P<path>.*)#(?P<wanted>[A-Za-z]+=.*)", re.DOTALL)


def without_selection(path: str | Path) -> Path:
    """Return the file or folder that a path names, without the selection at its end; nothing is read."""
    return _split(path)[0]


def split_selection(path: str | Path) -> tuple[Path, dict[str, str]]:
    """Split a path into the file or folder and what is wanted of it: any of `CHOICES`, or nothing.

    A path that exists as it is written has no selection, whatever its name.

    Raises:
        FileError: an unknown choice, or one made twice or without a value.
    """
    bare, fragment = _split(path)
    wanted: dict[str, str] = {}
    for item in fragment.split("&") if fragment else ():
        name, _, value = (part.strip() for part in item.partition("="))
        if name.lower() not in CHOICES or not value or name.lower() in wanted:
            raise FileError(
                f"invalid selection {item!r}: expected each of {', '.join(CHOICES)} at most once, with a value",
                file=bare,
                mend="write it like #series=301 or #series=301&echo=80",
            )
        wanted[name.lower()] = value
    return bare, wanted


def split_frame(path: str | Path) -> tuple[Path, int | None]:
    """Split the frame off a path that chooses one of a 4-D file; None where it does not.

    Raises:
        FileError: as `split_selection`, or the frame is no number.
    """
    path = Path(path)
    if f"{FRAME}=" not in path.name:
        return path, None
    bare, wanted = split_selection(path)
    frame = wanted.pop(FRAME, None)
    if frame is None:
        return path, None
    if not frame.isdecimal():
        raise FileError(f"invalid frame {frame!r}: expected a whole number", file=bare, mend="count frames from 0")
    return Path(with_selection(bare, wanted)), int(frame)


def selection_suffix(path: str | Path) -> str:
    """Return the selection as the end of a file name, such as ``_series-301-echo-80``, empty where there is none."""
    _, fragment = _split(path)
    letters = re.sub(r"[^A-Za-z0-9]+", "-", fragment).strip("-")
    return f"_{letters}" if letters else ""


def with_selection(path: Path, wanted: dict[str, str]) -> str:
    """Return the path as a user writes it to get a selection."""
    return f"{path}#{'&'.join(f'{name}={value}' for name, value in wanted.items())}" if wanted else str(path)


def _split(path: str | Path) -> tuple[Path, str]:
    path = Path(path)
    match = None if os.path.lexists(path) else FRAGMENT.fullmatch(str(path))
    return (path, "") if match is None else (Path(match["path"] or "."), match["wanted"])
