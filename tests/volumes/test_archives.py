"""A hostile archive writes nothing."""

from __future__ import annotations

import random
import stat
import zipfile
from pathlib import Path

import pytest
from laws import for_all

from ankleseg.errors import FileError
from ankleseg.volumes import extract_archive


def archive_of(path: Path, name: str, content: bytes = b"content", mode: int | None = None) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("good.txt", "good")
        member = zipfile.ZipInfo(name)
        member.compress_type = zipfile.ZIP_DEFLATED
        if mode is not None:
            member.external_attr = mode << 16
        archive.writestr(member, content)
    return path


def test_a_good_archive_is_unpacked(tmp_path):
    files = extract_archive(archive_of(tmp_path / "a.zip", "folder/slice.dcm"), tmp_path / "out")
    assert [file.relative_to(tmp_path / "out").as_posix() for file in files] == ["good.txt", "folder/slice.dcm"]
    assert files[1].read_bytes() == b"content"


@for_all(
    ("name", "mode", "message"),
    [
        ("../evil.txt", None, "would land outside the folder"),
        ("folder/../../evil.txt", None, "would land outside the folder"),
        ("..\\evil.txt", None, "would land outside the folder"),
        ("/tmp/evil.txt", None, "has an absolute path"),
        ("C:\\evil.txt", None, "has an absolute path"),
        ("link", stat.S_IFLNK | 0o777, "is a link"),
    ],
)
def test_a_member_that_would_escape_is_refused_and_nothing_is_unpacked(name, mode, message, tmp_path):
    path = archive_of(tmp_path / "a.zip", name, b"/etc/passwd", mode)
    with pytest.raises(FileError, match=rf"a\.zip: is refused: its member .* {message}; do not trust it"):
        extract_archive(path, tmp_path / "deep" / "out")
    assert list(tmp_path.rglob("*")) == [path]


def test_an_archive_beyond_the_limit_is_refused(tmp_path):
    path = archive_of(tmp_path / "a.zip", "bomb", bytes(5_000_000))
    assert path.stat().st_size < 10_000
    with pytest.raises(FileError, match=r"a\.zip: holds 2 files of 5.0 MB, more than is unpacked unasked"):
        extract_archive(path, tmp_path / "out", largest=1_000_000)
    assert not (tmp_path / "out").exists()


def test_a_member_larger_than_it_declares_is_cut_or_refused(tmp_path):
    path = archive_of(tmp_path / "a.zip", "bomb", bytes(5_000_000))
    content = path.read_bytes().replace((5_000_000).to_bytes(4, "little"), (10).to_bytes(4, "little"))
    path.write_bytes(content)
    with pytest.raises(FileError, match="is damaged or not a zip archive"):
        extract_archive(path, tmp_path / "out", largest=1_000_000)
    assert sum(file.stat().st_size for file in (tmp_path / "out").rglob("*") if file.is_file()) < 1000


def test_a_damaged_member_is_told(tmp_path):
    noise = random.Random(0).randbytes(5000)
    path = archive_of(tmp_path / "a.zip", "noise", noise)
    content = bytearray(path.read_bytes())
    content[2000:2040] = bytes(40)
    path.write_bytes(bytes(content))
    with pytest.raises(FileError, match="is damaged or not a zip archive"):
        extract_archive(path, tmp_path / "out")


def test_members_in_each_others_way_are_told(tmp_path):
    path = archive_of(tmp_path / "a.zip", "good.txt/inside")
    with pytest.raises(FileError, match=r"a\.zip: cannot be unpacked \(.*\); check the space"):
        extract_archive(path, tmp_path / "out")


def test_what_is_no_archive_is_told(tmp_path):
    (tmp_path / "a.zip").write_text("text")
    with pytest.raises(FileError, match=r"a\.zip: is damaged or not a zip archive .*; copy the file again"):
        extract_archive(tmp_path / "a.zip", tmp_path / "out")
