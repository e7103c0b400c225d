"""Files as people bring them: hidden companions, contents never downloaded, text in any encoding."""

from __future__ import annotations

import codecs
import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ankleseg.errors import AnklesegError, CohortError
from ankleseg.volumes import IMAGE_ENDINGS, not_downloaded, without_selection
from ankleseg.volumes.formats import stem as stem

WORKBOOK_STARTS = (b"PK\x03\x04", b"\xd0\xcf\x11\xe0")  # how .xlsx and .ods, and .xls begin


def visible(paths: Iterable[Path]) -> list[Path]:
    """Sort files or folders, without those that file systems hide: ``._name`` and ``.DS_Store`` of a Mac, ``.git``."""
    return sorted(path for path in paths if not path.name.startswith("."))


def files_at(path: Path) -> list[Path]:
    """Return the file that a path names, there or not, or all files of a folder, whatever is chosen of it."""
    file = without_selection(path)
    return visible(below for below in file.rglob("*") if below.is_file()) if file.is_dir() else [file]


def digest_of(path: Path) -> str | None:
    """Hash of a file, or of all files of a folder; None where there is nothing to read."""
    digest = hashlib.sha256()
    try:
        for file in files_at(path):
            with file.open("rb") as stream:
                digest.update(hashlib.file_digest(stream, "sha256").digest())
    except OSError:
        return None
    return digest.hexdigest()


def images_in(folder: Path) -> list[Path]:
    """Return the images of a folder, sorted; none where there is no folder."""
    if not folder.is_dir():
        return []
    return [path for path in visible(folder.iterdir()) if path.name.lower().endswith(IMAGE_ENDINGS)]


def folders_in(folder: Path, prefix: str = "") -> list[Path]:
    """Return the folders of a folder whose names begin so, in any case."""
    if not folder.is_dir():
        return []
    return [path for path in visible(folder.iterdir()) if path.name.lower().startswith(prefix) and path.is_dir()]


def named(folder: Path, name: str) -> Path:
    """Return a folder in another, whatever the capitals of its name."""
    found = [path for path in folders_in(folder, name) if path.name.lower() == name]
    return found[0] if found else folder / name


def decoded(raw: bytes) -> str:
    """Return the text of a file in UTF-8, UTF-16 or, where it is neither, in the Windows code page 1252.

    Raises:
        ValueError: it is no text.
    """
    if raw.startswith(WORKBOOK_STARTS):
        raise ValueError("it is a workbook, not text")
    if raw.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        text = raw.decode("utf-16")
    elif raw[1:2] == b"\0" and raw[3:4] == b"\0":
        text = raw.decode("utf-16-le")
    elif raw[:1] == b"\0" and raw[2:3] == b"\0":
        text = raw.decode("utf-16-be")
    else:
        try:
            text = raw.decode("utf-8-sig")
        except UnicodeDecodeError:
            text = raw.decode("cp1252", errors="replace")
    if any(ord(letter) < 32 and letter not in "\t\n\r\v\f" for letter in text):
        raise ValueError("it holds control characters")
    return text


def is_given(file: Path) -> bool:
    """Tell whether there is a file, or a link where the content of one was never fetched."""
    return file.is_file() or (file.is_symlink() and not file.exists())


def read_text(file: Path, kind: type[AnklesegError] = CohortError) -> str:
    """Return the text of a file as `decoded` understands it.

    Raises:
        AnklesegError: of the given kind, where its content was never downloaded.
        OSError, ValueError: it cannot be read, or is no text.
    """
    if error := not_downloaded(file):
        raise kind(error.problem, file=file, mend=error.mend)
    return decoded(file.read_bytes())


def read_json(file: Path, kind: type[AnklesegError] = CohortError, mend: str = "correct the file") -> Any:
    """Read a JSON file in any encoding of `decoded`.

    Raises:
        AnklesegError: of the given kind, where it cannot be read.
    """
    try:
        return json.loads(read_text(file, kind))
    except (OSError, ValueError) as error:
        raise kind(f"cannot be read as JSON ({error})", file=file, mend=mend) from None
