"""One frame of a dynamic sequence, read like a scan."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import DTypeLike

from ankleseg.errors import FileError
from ankleseg.volumes.files import header_of_frame, read_header, read_volume
from ankleseg.volumes.formats import require_file
from ankleseg.volumes.selection import without_selection
from ankleseg.volumes.volume import Header, Volume

KEPT = 4  # sequences: the image and the masks of three bones


def read_grid(path: str | Path) -> Header:
    """Read the header of a scan, or that of one frame of a sequence: its shape is (X, Y, Z)."""
    header = read_header(path)
    return replace(header, shape=header.shape[:3])


def read_frame(path: str | Path, frame: int, *, dtype: DTypeLike | None = np.float32, finite: bool = True) -> Volume:
    """Read one frame of a 4-D file.

    A compressed file cannot be read in parts; the ones read last stay in memory, as its next frame is asked for next.

    Args:
        path: of the sequence.
        frame: from 0.
        dtype: of the voxels; None keeps the stored one.
        finite: refuse NaN and infinite voxels.

    Raises:
        FileError: what `read_volume` refuses, no such frame, or NaN or infinite voxels in it.
    """
    path = Path(path)
    sequence = _sequence(path, without_selection(require_file(path)).stat().st_mtime_ns)
    assert sequence.header is not None
    header = header_of_frame(sequence.header, frame)
    data = np.array(sequence.data[..., frame], dtype=dtype, order="F")
    if finite and np.issubdtype(data.dtype, np.floating) and not np.isfinite(data).all():
        raise FileError(f"holds NaN or infinite voxels in frame {frame}", file=path, mend="leave this frame out")
    return Volume(data, sequence.affine, header)


@lru_cache(maxsize=KEPT)
def _sequence(path: Path, stamp: int) -> Volume:
    """A whole sequence; `stamp`, the time the file was changed, keeps an old one from being taken for a new one."""
    return read_volume(path, dtype=None, dimensions=4, finite=False)
