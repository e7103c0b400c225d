"""The stored numbers of DICOM frames: where they are, whether a file can hold them, and reading them."""

from __future__ import annotations

import io
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
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
    return layout


def _check_declared(layout: PixelLayout) -> None:
    if min(layout.rows, layout.columns, layout.frames) < 1:
        raise DamagedError(f"declares {layout.columns} × {layout.rows} pixels and {layout.frames} frames")
    sound = layout.allocated in (8, 16, 32) and 1 <= layout.stored <= layout.high + 1 <= layout.allocated
    if not sound:
        raise DamagedError(f"declares {layout.stored} bits in {layout.allocated} a pixel, which is not read")


def _encapsulated(file: Path, layout: PixelLayout, dataset: Any) -> PixelLayout:
    """Walk over the items of compressed pixels, without reading them, and find where the frames begin."""
    if layout.syntax not in (*DECODED, RLE):
        name = getattr(getattr(dataset.file_meta, "TransferSyntaxUID", None), "name", layout.syntax)
        raise DamagedError(f"is compressed in a way that is not read ({name})")
    declared = layout.frames * layout.rows * layout.columns * layout.allocated // 8
    if declared > file.stat().st_size * GZIP_LARGEST_RATIO:
        raise DamagedError(f"declares {readable_size(declared)} of pixels, which so small a file cannot hold")
    with file.open("rb") as stream:
        table, *items = _items(stream, layout.start, file.stat().st_size)
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


def _items(stream: BinaryIO, start: int, size: int) -> list[tuple[int, int]]:
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


def read_frames(file: Path, layout: PixelLayout, indices: list[int]) -> Iterator[np.ndarray]:
    """Read frames of a file as stored numbers (rows, columns), in the order of their indices.

    Raises:
        DamagedError: truncated, damaged or not decodable.
    """
    try:
        with file.open("rb") as stream, _decoder(stream, layout) as decode:
            for index in indices:
                yield _stored(layout, decode(index))
    except OSError as error:
        raise DamagedError(f"cannot be read ({error.strerror or error})") from None


@contextmanager
def _decoder(stream: BinaryIO, layout: PixelLayout) -> Iterator[Callable[[int], np.ndarray]]:
    if not layout.offsets:
        yield lambda index: _native(stream, layout, index)
        return
    items = _items(stream, layout.start, stream.seek(0, io.SEEK_END))
    with TemporaryDirectory(prefix="ankleseg-") as folder:
        place = Path(folder) / "frame.dcm"
        yield lambda index: _decoded(_compressed(stream, layout, items, index), layout, place)


def _native(stream: BinaryIO, layout: PixelLayout, index: int) -> np.ndarray:
    count = layout.rows * layout.columns
    dtype = layout.dtype.newbyteorder(">" if layout.syntax == BIG_ENDIAN else "<")
    stream.seek(layout.start + index * count * dtype.itemsize)
    data = np.fromfile(stream, dtype, count)
    if len(data) < count:
        raise DamagedError("is truncated within its pixels")
    return data.reshape(layout.rows, layout.columns).astype(layout.dtype, copy=False)


def _stored(layout: PixelLayout, data: np.ndarray) -> np.ndarray:
    """Keep the bits that count: others may hold overlays."""
    unused, below = layout.allocated - 1 - layout.high, layout.high + 1 - layout.stored
    if not unused and not below:
        return data
    return (data << unused) >> (unused + below)


def _compressed(stream: BinaryIO, layout: PixelLayout, items: list[tuple[int, int]], index: int) -> bytes:
    first, ends = sum(items[0]), (*layout.offsets[1:], None)
    begin, end = layout.offsets[index], ends[index]
    parts = []
    for start, length in items[1:]:
        if begin <= start - 8 - first and (end is None or start - 8 - first < end):
            stream.seek(start)
            parts.append(stream.read(length))
    return b"".join(parts)


def _decoded(compressed: bytes, layout: PixelLayout, place: Path) -> np.ndarray:
    """Decode one frame: run lengths by pydicom, the JPEG family by GDCM, from a file of this frame alone."""
    import itk
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.encaps import encapsulate
    from pydicom.pixels import get_decoder

    _check_picture(compressed, layout)
    frame = Dataset()
    frame.file_meta = FileMetaDataset()
    frame.file_meta.TransferSyntaxUID = layout.syntax
    frame.SOPClassUID, frame.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.4", "2.25.1"
    frame.file_meta.MediaStorageSOPClassUID = frame.SOPClassUID
    frame.file_meta.MediaStorageSOPInstanceUID = frame.SOPInstanceUID
    frame.Rows, frame.Columns, frame.SamplesPerPixel = layout.rows, layout.columns, 1
    frame.BitsAllocated, frame.BitsStored, frame.HighBit = layout.allocated, layout.stored, layout.high
    frame.PixelRepresentation, frame.PhotometricInterpretation = int(layout.signed), WHITE_IS_HIGH
    frame.PixelData = encapsulate([compressed])
    frame["PixelData"].is_undefined_length = True
    try:
        if layout.syntax == RLE:
            data = get_decoder(layout.syntax).as_array(frame, raw=True)[0]
        else:
            frame.save_as(place, enforce_file_format=True)
            data = np.asarray(itk.array_from_image(itk.imread(str(place)))).squeeze()
    except Exception as error:  # whatever damaged bytes do to a decoder
        raise DamagedError(f"has compressed pixels that cannot be decoded ({str(error).strip()[-80:]})") from None
    if data.shape != (layout.rows, layout.columns):
        raise DamagedError("has compressed pixels of another size than it declares")
    return data.astype(layout.dtype)


def _check_picture(compressed: bytes, layout: PixelLayout) -> None:
    """Compare the size that a picture of the JPEG family declares itself, before a decoder allocates it."""
    if layout.syntax == RLE:
        return
    if compressed[:4] == b"\xff\x4f\xff\x51" and len(compressed) > 24:
        width, height, left, top = struct.unpack(">4L", compressed[8:24])
        size = (height - top, width - left)
    else:
        size = _jpeg_size(compressed)
    if size != (layout.rows, layout.columns):
        raise DamagedError("has compressed pixels of another size than it declares, or damaged ones")


def _jpeg_size(compressed: bytes) -> tuple[int, int] | None:
    place = 2
    while place + 9 <= len(compressed) and compressed[place] == 0xFF:
        marker, length = compressed[place + 1], int.from_bytes(compressed[place + 2 : place + 4], "big")
        if marker in (0xC0, 0xC1, 0xC2, 0xC3, 0xF7):
            height, width = struct.unpack(">2H", compressed[place + 5 : place + 9])
            return height, width
        place += 2 + length
    return None
