"""What the reports of all evaluations tell in the same way."""

from __future__ import annotations

import platform
import re
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

from ankleseg import __version__

FOLDERS = (
    r"(?:^|(?<=[:;] ))(?:[A-Za-z]:)?[/\\][^:;]*[/\\](?=[^/\\:;]+: )",  # of the file that has a problem
    r"(?<![^\s('\"\[])(?:[A-Za-z]:)?[/\\](?:[^\s/\\]+[/\\])*(?=[^\s/\\])",  # any that begin at the root
    r"(?<![^\s('\"\[])(?:[^\s/\\:('\"]+[/\\])+(?=[^\s/\\:]+\.[a-z])",  # relative ones of a file with an ending
)


def versions(*packages: str) -> str:
    """Versions of this package, of Python, and of others by name."""
    others = [f"{name} {version(name)}" for name in packages]
    return ", ".join([f"ankleseg {__version__}", f"Python {platform.python_version()}", *others])


def checkpoint_facts(checkpoints: Sequence[str]) -> list[tuple[str, str]]:
    """The end of the path of each checkpoint of a run, enough to tell runs apart: experiment, time and file."""
    return [("Checkpoint", _end_of(Path(path))) for path in checkpoints]


def _end_of(path: Path) -> str:
    if path.parent.name != "checkpoints":
        return path.name
    return "/".join([part for part in path.parts if part not in ("/", "checkpoints")][-3:])


def without_folders(message: str) -> str:
    """Leave only the names of the files in a message: a report is passed on, and folders may tell who and where."""
    for folders in FOLDERS:
        message = re.sub(folders, "", message)
    return message
