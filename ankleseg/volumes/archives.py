"""Unpacking an archive that may be hostile."""

from __future__ import annotations

import shutil
import stat
import zipfile
import zlib
from pathlib import Path, PurePosixPath, PureWindowsPath

from ankleseg.errors import FileError
from ankleseg.volumes.memory import readable_size

LARGEST_CONTENT = 8 * 10**9  # bytes: an uncompressed dynamic study fits, a bomb does not
MOST_MEMBERS = 50_000


def extract_archive(path: str | Path, folder: str | Path, *, largest: int = LARGEST_CONTENT) -> list[Path]:
    """Unpack a .zip into a folder and return its files; nothing is unpacked if any member is refused.

    Args:
        largest: bytes that the members may have together, uncompressed.

    Raises:
        FileError: not a zip, damaged, encrypted, with more content than ``largest`` or than fits on the disk, or with a
            member that is a link or would land outside the folder.
    """
    path, folder = Path(path), Path(folder)
    try:
        with zipfile.ZipFile(path) as archive:
            members = [member for member in archive.infolist() if not member.is_dir()]
            _check_members(path, members, largest)
            return [_extract(archive, member, folder) for member in members]
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
        raise FileError(f"is damaged or not a zip archive ({error})", file=path, mend="copy the file again") from None
    except OSError as error:
        raise FileError(
            f"cannot be unpacked ({error.strerror or error})", file=path, mend="check the space on the disk"
        ) from None


def _check_members(path: Path, members: list[zipfile.ZipInfo], largest: int) -> None:
    content = sum(member.file_size for member in members)
    if content > largest or len(members) > MOST_MEMBERS:
        raise FileError(
            f"holds {len(members)} files of {readable_size(content)}, more than is unpacked unasked",
            file=path,
            mend="unpack it by hand if you trust it",
        )
    for member in members:
        refusal = _refusal(member)
        if refusal:
            raise FileError(f"is refused: its member {member.filename!r} {refusal}", file=path, mend="do not trust it")


def _refusal(member: zipfile.ZipInfo) -> str | None:
    name = member.orig_filename.replace("\\", "/")
    if ".." in PurePosixPath(name).parts or "\0" in name:
        return "would land outside the folder"
    if PurePosixPath(name).is_absolute() or PureWindowsPath(name).drive:
        return "has an absolute path"
    if stat.S_ISLNK(member.external_attr >> 16):
        return "is a link"
    if member.flag_bits & 0x1:
        return "is encrypted"
    return None


def _extract(archive: zipfile.ZipFile, member: zipfile.ZipInfo, folder: Path) -> Path:
    target = folder / member.filename
    target.parent.mkdir(parents=True, exist_ok=True)
    with archive.open(member) as source, target.open("wb") as copy:
        shutil.copyfileobj(source, copy)
    return target
