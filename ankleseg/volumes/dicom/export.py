"""Finding the DICOM files of an export: a folder of any depth, a .zip, or one file."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from ankleseg.errors import FileError
from ankleseg.volumes.archives import extract_archive
from ankleseg.volumes.dicom.objects import Damaged, Foreign, Frame, read_object
from ankleseg.volumes.formats import not_downloaded

ENDINGS = (".dcm", ".dicom", ".ima")
INDEX = "DICOMDIR"
MOST_FILES = 50_000
STARTS = {b"\x02\0", b"\x08\0"}  # group of the first element where there is no preamble
EXPLICIT = {b"UL", b"CS", b"UI", b"OB", b"DA"}  # its possible types


@dataclass(frozen=True)
class Export:
    """What the files below a path are; all files relative to it."""

    frames: tuple[Frame, ...]
    foreign: tuple[Foreign, ...]
    damaged: tuple[Damaged, ...]


@contextmanager
def opened_export(path: Path) -> Iterator[Path]:
    """Give the folder to which the files of an export are relative; an archive is unpacked for as long as it is used.

    Raises:
        FileError: an archive that is damaged or not trusted.
    """
    if path.is_file() and path.suffix.lower() == ".zip":
        with TemporaryDirectory(prefix="ankleseg-") as folder:
            extract_archive(path, folder)
            yield Path(folder)
    else:
        yield path if path.is_dir() else path.parent


def files_below(path: Path, folder: Path) -> list[Path]:
    """List the files of an export, relative to its folder, in a fixed order.

    Raises:
        FileError: more than any export has.
    """
    if path.is_file() and folder == path.parent:
        return [Path(path.name)]
    found: list[Path] = []
    seen = {os.path.realpath(folder)}
    for place, folders, names in os.walk(folder, followlinks=True):
        inner = {name: os.path.realpath(os.path.join(place, name)) for name in folders if not name.startswith(".")}
        folders[:] = sorted(name for name, real in inner.items() if real not in seen)
        seen.update(inner.values())
        found += [Path(place, name).relative_to(folder) for name in names]
        if len(found) > MOST_FILES:
            raise FileError(f"holds more than {MOST_FILES} files", file=path, mend="give the folder of one series")
    return sorted(found)


def read_export(folder: Path, files: list[Path]) -> Export:
    """Read what each file is, without a pixel."""
    frames: list[Frame] = []
    foreign: list[Foreign] = []
    damaged: list[Damaged] = []
    others: list[Path] = []
    for file in (file for file in files if file.name.upper() != INDEX):
        dangling = not_downloaded(folder / file) if (folder / file).is_symlink() else None
        try:
            found = read_object(folder, file) if not dangling and is_dicom(folder / file) else None
        except OSError as error:
            found = Damaged(file, f"cannot be opened ({error.strerror or error})")
        if file.name.startswith("."):
            foreign.append(Foreign(file, "other file"))
        elif found is None:
            others.append(file)
        elif isinstance(found, Damaged):
            damaged.append(found)
        elif isinstance(found, Foreign):
            foreign.append(found)
        else:
            frames += found
    patterns = {_pattern(frame.file) for frame in frames}
    for file in others:
        pointer = not_downloaded(folder / file)
        alike = file.suffix.lower() in ENDINGS or _pattern(file) in patterns
        if pointer and (alike or not frames):
            damaged.append(Damaged(file, pointer.problem, mend=pointer.mend or ""))
        elif alike:
            is_empty = (folder / file).stat().st_size == 0
            why = "is empty (0 bytes)" if is_empty else "is not a DICOM file, whatever its name says"
            damaged.append(Damaged(file, why))
        else:
            foreign.append(Foreign(file, "other file"))
    return Export(tuple(frames), tuple(foreign), tuple(damaged))


def is_dicom(file: Path) -> bool:
    """Tell whether a file begins as one of DICOM does, with its preamble or without."""
    with file.open("rb") as stream:
        start = stream.read(132)
    if start[128:] == b"DICM":
        return True
    if start[:2] not in STARTS or len(start) < 132:
        return False
    implicit = int.from_bytes(start[4:8], "little") <= 64 and start[3:4] == b"\0"
    return start[4:6] in EXPLICIT or implicit


def _pattern(file: Path) -> Path:
    """Name of a file with its numbers taken out, as the slices of a series share it."""
    return file.with_name(re.sub(r"\d+", "0", file.name))
