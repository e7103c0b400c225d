"""Records: written beside and renamed, so that a killed run leaves the old file or the new one, never half."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from ankleseg.errors import FileError


@contextmanager
def replace_file(path: str | Path) -> Iterator[Path]:
    """Give a temporary path in the same folder that takes the place of ``path`` when the block ends well.

    Missing folders are made. If the block fails, the temporary file is removed and ``path`` stays as it was. The
    temporary name ends in ``.part-<process>``, so that nothing takes a left-over for a result; a library that reads the
    format from the ending has to be told it.

    Raises:
        FileError: the folder cannot be written, or the disk is full.
    """
    path = Path(path)
    part = path.with_name(f"{path.name}.part-{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield part
        os.replace(part, path)
    except OSError as error:
        if error.filename is not None and str(error.filename) not in {str(part), str(path), str(path.parent)}:
            raise
        raise FileError(
            f"cannot be written ({error.strerror or error})",
            file=path,
            mend="check the folder, its rights and its space",
        ) from error
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)


def read_json(path: Path) -> dict[str, Any]:
    """The object that a JSON file holds; an empty one where there is none that can be read."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
