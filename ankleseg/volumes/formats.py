"""What a file is, whatever its name says: contents never downloaded, other formats, and what makes each readable."""

from __future__ import annotations

import gzip
import os
import zlib
from pathlib import Path
from shlex import quote

from ankleseg.errors import FileError
from ankleseg.volumes.selection import without_selection

READ_ENDINGS = "give .nii, .nii.gz, .nrrd, .mha, .mgz, an .hdr with its .img, or the folder or .zip of a DICOM series"
IMAGE_ENDINGS = (".nii.gz", ".nii", ".seg.nrrd", ".nrrd", ".mha", ".nhdr", ".mhd", ".mgz", ".mgh", ".img")  # one a scan
UNKNOWN, DICOM_SLICE, ZIP_ARCHIVE = "of no format that is read", "one slice of a DICOM series", "a zip archive"
TAR_ARCHIVE = "a tar archive"
START = 1 << 10  # bytes that tell a format

# how a file starts, what it is, and what to do with it; {path} is that of the file, {beside} the same without its
# ending and {stem} its name alone, quoted for a shell
SIGNATURES: tuple[tuple[int, bytes, str, str], ...] = (
    (0, b"NRRD000", "an NRRD file", "rename it to {stem}.nrrd"),
    (0, b"ObjectType", "a MetaImage file", "rename it to {stem}.mha"),
    (0, b"\0\5\x16\7", "a companion file that macOS makes", "give the file of this name without ._"),
    (0, b"# === DATA DESCRIPTION FILE", "a Philips PAR header", "convert it by dcm2niix -z y {folder}"),
    (0, b"CDF\1", "a MINC file", "convert it by mnc2nii {path} {beside}.nii"),
    (
        0,
        b"\x89HDF",
        "an HDF5 file, as MINC 2 and MATLAB 7.3 write",
        "convert a MINC file by mnc2nii {path} {beside}.nii",
    ),
    (0, b"MATLAB 5.0", "a MATLAB file", "save the scan by niftiwrite"),
    (0, b"\x93NUMPY", "a numpy array, without voxel size or place", "save it with nibabel, with its affine"),
    (0, b"\x89PNG", "a PNG picture", READ_ENDINGS),
    (0, b"\xff\xd8\xff", "a JPEG picture", READ_ENDINGS),
    (0, b"GIF8", "a GIF picture", READ_ENDINGS),
    (0, b"II*\0", "a TIFF picture", READ_ENDINGS),
    (0, b"MM\0*", "a TIFF picture", READ_ENDINGS),
    (0, b"%PDF", "a PDF document", READ_ENDINGS),
    (0, b"PK\3\4", ZIP_ARCHIVE, "unpack it by unzip {path}"),
    (0, b"7z\xbc\xaf\x27\x1c", "a 7z archive", "unpack it by 7z x {path}"),
    (0, b"Rar!", "a RAR archive", "unpack it by unrar x {path}"),
    (0, b"BZh", "compressed by bzip2", "unpack it by bunzip2 --keep {path}"),
    (0, b"\xfd7zXZ\0", "compressed by xz", "unpack it by unxz --keep {path}"),
    (0, b"\x28\xb5\x2f\xfd", "compressed by zstd", "unpack it by unzstd {path}"),
    (257, b"ustar", TAR_ARCHIVE, "unpack it by tar xf {path}"),
    (0, b"\0\0\0\1\0\0", "an MGH file", "rename it to {stem}.mgh"),
)
NIFTI_MAGIC = {(344, b"n+1\0"), (4, b"n+2\0")}
PAIR_MAGIC = {(344, b"ni1\0"), (4, b"ni2\0")}
ANALYZE_START = (b"\x5c\x01\0\0", b"\0\0\x01\x5c")  # 348
WEB_PAGE = (b"<!doctype html", b"<html", b"<?xml")


def not_downloaded(path: str | Path) -> FileError | None:
    """Return what to say of a file of git-annex or Git LFS whose content was never fetched, else None."""
    path = Path(path)
    if path.is_symlink() and not path.exists():
        target = os.readlink(path)
        if "annex/objects" in target.replace("\\", "/"):
            return _missing_content(path, "git-annex", f"datalad get {quote(str(path))}")
        return FileError(f"is a link to {target}, which does not exist", file=path, mend="copy the file itself")
    if not path.is_file():
        return None
    with path.open("rb") as file:
        start = file.read(START)
    if start.startswith((b"/annex/objects/", b"\\annex\\objects\\", b"../.git/annex/objects")):
        return _missing_content(path, "git-annex", f"datalad get {quote(str(path))}")
    if start.startswith(b"version https://git-lfs.github.com"):
        return _missing_content(path, "Git LFS", "git lfs pull")
    return None


def _missing_content(path: Path, keeper: str, command: str) -> FileError:
    return FileError(f"was not downloaded: it is a pointer of {keeper}", file=path, mend=f"run {command}")


def missing_file(path: str | Path) -> FileError | None:
    """Return what to say of a path that leads to no content, whatever is chosen at its end; None if there is some."""
    file = without_selection(path)
    if file.exists() or file.is_symlink():
        return not_downloaded(file)
    return FileError("does not exist", file=path, mend="correct the path, or copy the file")


def require_file(path: str | Path) -> Path:
    """Return a path that is there and can be opened.

    Raises:
        FileError: missing, never downloaded, empty, or not to be opened.
    """
    path = Path(path)
    file = without_selection(path)
    try:
        if error := missing_file(path):
            raise error
        if file.is_file() and file.stat().st_size == 0:
            raise FileError("is empty (0 bytes)", file=path, mend="copy the file again")
    except OSError as error:
        raise FileError(f"cannot be opened ({error.strerror})", file=path, mend="check its rights") from None
    return path


def foreign_format(path: Path) -> FileError:
    """Return what to say of a file that is not what its name says: its true format, and a command that mends it."""
    start, packed = _start(path)
    names = {
        "path": quote(str(path)),
        "beside": quote(str(path.with_name(stem(path)))),
        "stem": quote(stem(path)),
        "folder": quote(str(path.parent)),
    }
    kind, mend = _kind(start, packed)
    belied = ", whatever its name says" if path.name.lower().endswith((*IMAGE_ENDINGS, ".hdr")) else ""
    return FileError(f"is {kind}{belied}", file=path, mend=mend.format(**names))


def recognised(path: Path) -> FileError | None:
    """Return what `foreign_format` says of a file, if it is sure what it is, and that it holds no DICOM slices."""
    start, packed = _start(path)
    kind, _ = _kind(start, packed)
    return None if kind in (UNKNOWN, DICOM_SLICE, ZIP_ARCHIVE) else foreign_format(path)


def is_nifti_content(start: bytes) -> bool:
    """Tell whether the first bytes of a file, unpacked, are those of a NIfTI file, its header and voxels in one."""
    return _has(start, NIFTI_MAGIC)


def is_pair_content(start: bytes) -> bool:
    """Tell whether the first bytes of a file, unpacked, are those of the header of a NIfTI or Analyze pair."""
    return _has(start, PAIR_MAGIC) or (start[:4] in ANALYZE_START and not is_nifti_content(start))


def _has(start: bytes, magic: set[tuple[int, bytes]]) -> bool:
    return any(start[place : place + len(mark)] == mark for place, mark in magic)


def _start(path: Path) -> tuple[bytes, int]:
    """The first bytes of a file, unpacked if it is a gzip, and how often it was compressed."""
    with path.open("rb") as file:
        start = file.read(START)
    if not start.startswith(b"\x1f\x8b"):
        return start, 0
    try:
        with gzip.open(path) as stream:
            inner = stream.read(START)
        if not inner.startswith(b"\x1f\x8b"):
            return inner, 1
        with gzip.open(path) as stream, gzip.open(stream) as again:
            return again.read(START), 2
    except (OSError, EOFError, zlib.error):
        return b"", 1


def _kind(start: bytes, packed: int) -> tuple[str, str]:
    """What a file is, from its unpacked start, and the mend."""
    if packed > 1:
        return "compressed twice", "unpack it once: gunzip < {path} > {beside}-once.nii.gz"
    zipped = ".gz" if packed else ""
    if is_nifti_content(start):
        kind = "a compressed NIfTI file" if packed else "a NIfTI file that is not compressed"
        return kind, f"rename it to {{stem}}.nii{zipped}"
    if is_pair_content(start):
        return (
            "the header of a NIfTI or Analyze pair",
            f"rename it to {{stem}}.hdr{zipped}, with its .img{zipped} beside",
        )
    for place, mark, kind, mend in SIGNATURES:
        if start[place : place + len(mark)] == mark:
            if kind == "an MGH file" and packed:
                return "a compressed MGH file", "rename it to {stem}.mgz"
            if packed and kind == TAR_ARCHIVE:
                return f"{kind} in gzip", mend
            return (f"{kind} in gzip", f"unpack it by gunzip --keep {{path}}, then {mend}") if packed else (kind, mend)
    if start[128:132] == b"DICM":
        return DICOM_SLICE, "give the folder of the series"
    if start.lstrip().lower().startswith(WEB_PAGE):
        return "a web page or XML", "download the scan itself"
    if start and all(32 <= byte < 127 or byte in b"\t\r\n\f" for byte in start):
        return "a text file", READ_ENDINGS
    return UNKNOWN, READ_ENDINGS


def stem(path: Path) -> str:
    """Return the name of an image without its ending."""
    name = path.name
    return next((name[: -len(ending)] for ending in IMAGE_ENDINGS if name.lower().endswith(ending)), path.stem)
