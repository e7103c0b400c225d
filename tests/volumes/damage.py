"""Good files and what may happen to them: cut, bytes of the header changed, fields swapped.

What nothing can tell is left out: a digit in a text header that is another digit, and two lengths of axes swapped.
"""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
from numpy.random import Generator

from ankleseg.errors import AnklesegError
from ankleseg.volumes import Header, header_remarks, read_volume, same_grid, write_volume

SHAPE = (16, 14, 10)
AFFINE = np.array([[-1.0, 0.1, 0, 16], [0.1, 1.0, 0, -18], [0, 0, 1.5, -15], [0, 0, 0, 1]])
AFFINE[:3, :2] /= np.linalg.norm(AFFINE[:3, :2], axis=0)
VOXELS = np.random.default_rng(0).integers(0, 400, SHAPE).astype(np.int16)
NIFTI_HEADER, TEXT_HEADER = 352, 400
NUMERIC_BYTES = b"0123456789+-.,eE() \t\n\r"
KINDS = ("nii", "nii.gz", "nrrd", "mha", "img")


def write_good(folder: Path, kind: str) -> Path:
    """Write the scan in a format; the first of several files is the one that is damaged."""
    path = folder / f"scan.{kind}"
    if kind.startswith("nii"):
        return write_volume(path, VOXELS, AFFINE)
    if kind == "img":
        nib.save(nib.Nifti1Pair(VOXELS, AFFINE), path)
        return folder / "scan.hdr"
    import itk

    image = itk.image_from_array(np.ascontiguousarray(VOXELS.T))
    size, lps = np.linalg.norm(AFFINE[:3, :3], axis=0), np.diag([-1.0, -1, 1])
    image.SetSpacing(size.tolist())
    image.SetDirection(itk.matrix_from_array(lps @ AFFINE[:3, :3] / size))
    image.SetOrigin((lps @ AFFINE[:3, 3]).tolist())
    itk.imwrite(image, str(path))
    return path


def cut(data: bytearray, random: Generator, kind: str) -> bytes:
    """Lose the end of a file."""
    return bytes(data[: int(random.integers(1, len(data)))])


def flip(data: bytearray, random: Generator, kind: str) -> bytes:
    """Change one to four bytes of the header; in a text, to what is no part of a number."""
    text = kind in ("nrrd", "mha")
    for place in random.integers(0, min(TEXT_HEADER if text else NIFTI_HEADER, len(data)), int(random.integers(1, 5))):
        byte = int(random.integers(0, 256))
        while text and byte in NUMERIC_BYTES:
            byte = int(random.integers(0, 256))
        data[place] = byte
    return bytes(data)


def swap(data: bytearray, random: Generator, kind: str) -> bytes:
    """Exchange two fields: neighbours of four bytes beyond the lengths of axes, or two lines of a text."""
    if kind in ("nrrd", "mha"):
        lines = bytes(data).split(b"\n")
        first, second = random.choice(min(10, len(lines) - 1), 2, replace=False)
        lines[first], lines[second] = lines[second], lines[first]
        return b"\n".join(lines)
    first, second = (4 * int(place) for place in random.choice(np.arange(14, 86), 2, replace=False))
    data[first : first + 4], data[second : second + 4] = data[second : second + 4], data[first : first + 4]
    return bytes(data)


DAMAGES: tuple[Callable[[bytearray, Generator, str], bytes], ...] = (cut, flip, flip, swap)


def damage(path: Path, kind: str, seed: int) -> str:
    """Damage a good file in its place, and say how."""
    random = np.random.default_rng(seed)
    packed = kind == "nii.gz"
    content = path.read_bytes()
    if packed and random.random() < 0.7:  # of the content, under a checksum that is right
        how = DAMAGES[int(random.integers(len(DAMAGES)))]
        path.write_bytes(gzip.compress(how(bytearray(gzip.decompress(content)), random, kind)))
    else:
        how = DAMAGES[int(random.integers(len(DAMAGES)))]
        path.write_bytes(how(bytearray(content), random, kind))
    return f"{kind}, seed {seed}: {how.__name__}"


def silent_change(path: Path, good: Header) -> str | None:
    """Return what is wrong with how a damaged file is read: a geometry that changed without a word; None if nothing."""
    try:
        volume = read_volume(path, dtype=None, finite=False)
    except AnklesegError as error:
        line = str(error)
        return None if "\n" not in line and line.startswith(str(path.parent)) else f"says {line!r}"
    assert volume.header is not None
    if same_grid(good.shape, good.affine, volume.data.shape, volume.affine) or header_remarks(volume.header):
        return None
    return f"is read as {volume.data.shape} at {volume.affine.tolist()} without a word"
