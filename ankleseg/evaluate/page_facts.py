"""What the reports of all evaluations tell in the same way."""

from __future__ import annotations

import platform
import re
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

from ankleseg import __version__


def versions(*packages: str) -> str:
    """Versions of this package, of Python, and of others by name."""
    others = [f"{name} {version(name)}" for name in packages]
    return ", ".join([f"ankleseg {__version__}", f"Python {platform.python_version()}", *others])


def checkpoint_facts(checkpoints: Sequence[str]) -> list[tuple[str, str]]:
    """The end of the path of each checkpoint, enough to tell runs apart: experiment, time and file."""
    ends = [[part for part in Path(path).parts if part not in ("/", "checkpoints")][-3:] for path in checkpoints]
    return [("Checkpoint", "/".join(end)) for end in ends]


def without_folders(message: str) -> str:
    """Leave only the names of the files in a message: a report is passed on, and folders may tell who and where."""
    return re.sub(r"(?<!\S)(?:[A-Za-z]:)?[/\\](?:[^\s/\\]+[/\\])*(?=[^\s/\\])", "", message)
