"""How much memory this process may still take, and whether a file can hold what it declares."""

from __future__ import annotations

import math
import os
import sys
from pathlib import Path

from ankleseg.errors import FileError

SIZE_UNITS = ("kB", "MB", "GB", "TB")
CONTROL_GROUP = Path("/sys/fs/cgroup")
GZIP_LARGEST_RATIO = 1032  # deflate cannot expand a byte further
SPARE_BYTES = 1024  # that programs leave behind the voxels


def available_memory() -> int:
    """Return the bytes that can still be taken: what the machine has free, or what is left of a container's limit.

    A machine that does not tell is taken to have enough.
    """
    free = [_machine_free(), *_container_free()]
    return min(free)


def check_memory(path: Path, needed: int) -> None:
    """Refuse to read more bytes than are free, before any is allocated.

    Raises:
        FileError: naming both sizes.
    """
    free = available_memory()
    if needed > free:
        raise FileError(
            f"needs {readable_size(needed)} of memory and {readable_size(free)} are free",
            file=path,
            mend="check that its size is meant, or use a machine with more memory",
        )


def check_declared(path: Path, declared: int, held: int, *, packed: bool, start: float = 0) -> None:
    """Refuse a header that declares more voxels than its file can hold, before anything is allocated.

    Args:
        path: for the message.
        declared: bytes of voxels.
        held: bytes of the file they are in.
        packed: whether they may be compressed there.
        start: byte at which they begin.

    Raises:
        FileError: naming both sizes.
    """
    if start + declared > held * (GZIP_LARGEST_RATIO if packed else 1):
        raise FileError(
            f"is truncated or its header is wrong: it declares {readable_size(declared)} of voxels, "
            f"and a file of {readable_size(held)} cannot hold them",
            file=path,
            mend="copy the file again",
        )


def gzip_content(path: Path) -> int:
    """Return the bytes that the end of a gzip says it holds, of its last member, modulo 2³²; 0 if that cannot be."""
    size = path.stat().st_size
    with path.open("rb") as file:
        file.seek(max(size - 4, 0))
        held = int.from_bytes(file.read(4), "little")
    return held if held <= size * GZIP_LARGEST_RATIO else 0


def readable_size(size: int) -> str:
    """Return a number of bytes as people write it, e.g. ``3.2 GB``."""
    if size < 1000:
        return f"{size:.0f} bytes"
    power = min(int(math.log10(size)) // 3, len(SIZE_UNITS))
    return f"{size / 1000**power:.1f} {SIZE_UNITS[power - 1]}"


def _machine_free() -> int:
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    try:
        pages, page = os.sysconf("SC_PHYS_PAGES"), os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):  # Windows has no sysconf, others not all of its names
        return sys.maxsize
    return pages * page if pages > 0 and page > 0 else sys.maxsize


def _container_free() -> list[int]:
    """Left of the control group's limit (version 2, then 1); page cache counts as used there, so it is given back."""
    free = []
    for limit, used, statistics, cache in (
        ("memory.max", "memory.current", "memory.stat", "inactive_file"),
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes", "memory/memory.stat", "total_inactive_file"),
    ):
        try:
            lines = (CONTROL_GROUP / statistics).read_text().splitlines()
            cached = next((int(line.split()[1]) for line in lines if line.split()[0] == cache), 0)
            free.append(int((CONTROL_GROUP / limit).read_text()) - int((CONTROL_GROUP / used).read_text()) + cached)
        except (OSError, ValueError):  # no such group, or its limit reads "max"
            continue
    return free
