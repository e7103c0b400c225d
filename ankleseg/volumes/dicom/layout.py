"""How the pixels of a DICOM file are stored, where, and whether the file can hold them; none is read."""

from __future__ import annotations

import struct
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from ankleseg.volumes.dicom.elements import DamagedError, Elements, PixelElement
from ankleseg.volumes.memory import GZIP_LARGEST_RATIO, readable_size

ITEM, DELIMITER = 0xFFFEE000, 0xFFFEE0DD
LITTLE_ENDIAN, BIG_ENDIAN, RLE = "1.2.840.10008.1.2", "1.2.840.10008.1.2.2", "1.2.840.10008.1.2.5"
NATIVE = (LITTLE_ENDIAN, "1.2.840.10008.1.2.1", BIG_ENDIAN, "1.2.840.113619.5.2", "")
DECODED = tuple(f"1.2.840.10008.1.2.4.{kind}" for kind in ("50", "51", "57", "70", "80", "81", "90", "91"))
WHITE_IS_HIGH, WHITE_IS_LOW = "MONOCHROME2", "MONOCHROME1"


@dataclass(frozen=True)
class PixelLayout:
    """How the pixels of a file are stored.

    Attributes:
        syntax: UID of the transfer syntax.
        rows, columns, frames: number of each.
        allocated, stored, high: bits a pixel takes, bits that count, and the highest of these.
        signed: two's complement.
        samples: numbers a pixel, 1 for grey.
        colour: how they are meant to be shown.
        start: first byte; that of the first item where they are encapsulated.
        offsets: of the encapsulated frames after the first item, empty where the file does not say.
        spare: bytes of pixels beyond those declared, but for padding to an even number.
    """

    syntax: str
    rows: int
    columns: int
    frames: int
    allocated: int
    stored: int
    high: int
    signed: bool
    samples: int
    colour: str
    start: int
    offsets: tuple[int, ...] = ()
    spare: int = 0

    @property
    def grey(self) -> bool:
        """Whether a pixel is one intensity."""
        return self.samples == 1 and self.colour in (WHITE_IS_HIGH, WHITE_IS_LOW, "")

    @property
    def range(self) -> tuple[int, int]:
        """Lowest and highest number that can be stored."""
        if self.signed:
            return -(1 << (self.stored - 1)), (1 << (self.stored - 1)) - 1
        return 0, (1 << self.stored) - 1

    @property
    def dtype(self) -> np.dtype:
        """Of a stored number."""
        return np.dtype(f"{'i' if self.signed else 'u'}{self.allocated // 8}")


def pixel_layout(file: Path, elements: Elements, dataset: Any, pixels: PixelElement, frames: int) -> PixelLayout:
    """Read how the pixels of a file are stored, and check that the file can hold them.

    Raises:
        DamagedError: it cannot, or it says what is impossible.
    """

    def whole(keyword: str, missing: int | None = None) -> int:
        value = elements.number(keyword)
        if value is None and missing is None:
            raise DamagedError(f"does not say its {keyword}")
        return int(missing if value is None else value)  # type: ignore[arg-type]

    allocated = whole("BitsAllocated")
    stored = whole("BitsStored", allocated)
    layout = PixelLayout(
        syntax=str(getattr(dataset.file_meta, "TransferSyntaxUID", "")),
        rows=whole("Rows"), columns=whole("Columns"), frames=frames, allocated=allocated, stored=stored,
        high=whole("HighBit", stored - 1), signed=whole("PixelRepresentation", 0) == 1,
        samples=whole("SamplesPerPixel", 1), colour=elements.text("PhotometricInterpretation"), start=pixels.start,
    )  # fmt: skip
    _check_declared(layout)
    if pixels.length is None:
        return _encapsulated(file, layout, dataset)
    if layout.syntax not in NATIVE:
        raise DamagedError(f"says that its pixels are compressed ({layout.syntax}), and they are not")
    needed = frames * layout.rows * layout.columns * layout.samples * allocated // 8
    held = min(pixels.length, file.stat().st_size - pixels.start)
    if held < needed:
        raise DamagedError(f"is truncated: it holds {readable_size(held)} of {readable_size(needed)} of pixels")
    return replace(layout, spare=pixels.length - needed - needed % 2)


def _check_declared(layout: PixelLayout) -> None:
    if min(layout.rows, layout.columns, layout.frames) < 1:
        raise DamagedError(f"declares {layout.columns} × {layout.rows} pixels and {layout.frames} frames")
    sound = layout.allocated in (8, 16, 32) and 1 <= layout.stored <= layout.high + 1 <= layout.allocated
    if not sound:
        why = f"declares {layout.stored} bits in {layout.allocated} a pixel, which is not read"
        raise DamagedError(why, mend="export it with 8, 16 or 32 bits a pixel")


def _encapsulated(file: Path, layout: PixelLayout, dataset: Any) -> PixelLayout:
    """Walk over the items of compressed pixels, without reading them, and find where the frames begin."""
    if layout.syntax not in (*DECODED, RLE):
        name = getattr(getattr(dataset.file_meta, "TransferSyntaxUID", None), "name", layout.syntax)
        raise DamagedError(f"is compressed in a way that is not read ({name})", mend="export it without compression")
    declared = layout.frames * layout.rows * layout.columns * layout.allocated // 8
    if declared > file.stat().st_size * GZIP_LARGEST_RATIO:
        raise DamagedError(f"declares {readable_size(declared)} of pixels, which so small a file cannot hold")
    with file.open("rb") as stream:
        table, *items = pixel_items(stream, layout.start, file.stat().st_size)
        stream.seek(table[0])
        told = struct.unpack(f"<{table[1] // 4}L", stream.read(table[1] // 4 * 4))
    first = table[0] + table[1]
    extended = dataset.get("ExtendedOffsetTable")
    if isinstance(extended, bytes) and len(extended) == 8 * layout.frames:
        told = struct.unpack(f"<{layout.frames}Q", extended)
    begins = [start - 8 - first for start, _ in items]
    if layout.frames == 1:
        told = (0,)
    elif not told and len(items) == layout.frames:
        told = tuple(begins)
    if len(told) != layout.frames or not set(told) <= set(begins) or any(a >= b for a, b in pairwise(told)):
        raise DamagedError("does not say where each of its compressed frames begins")
    return replace(layout, offsets=told)


def pixel_items(stream: BinaryIO, start: int, size: int) -> list[tuple[int, int]]:
    """Return first byte and length of each item, the table of offsets being the first."""
    found = []
    while True:
        stream.seek(start)
        head = stream.read(8)
        if len(head) < 8:
            raise DamagedError("is truncated within its compressed pixels")
        group, element, length = struct.unpack("<HHL", head)
        tag = group << 16 | element
        if tag == DELIMITER:
            break
        if tag != ITEM or start + 8 + length > size:
            raise DamagedError("is truncated or damaged within its compressed pixels")
        found.append((start + 8, length))
        start += 8 + length
    if len(found) < 2:
        raise DamagedError("holds no pixels")
    return found
