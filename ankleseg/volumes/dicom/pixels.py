"""Reading the stored numbers of DICOM frames, compressed or not."""

from __future__ import annotations

import io
import os
import struct
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory, TemporaryFile
from typing import BinaryIO

import numpy as np

from ankleseg.volumes.dicom.elements import DamagedError, quiet
from ankleseg.volumes.dicom.layout import BIG_ENDIAN, RLE, WHITE_IS_HIGH, PixelLayout, pixel_items


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
    items = pixel_items(stream, layout.start, stream.seek(0, io.SEEK_END))
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
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.encaps import encapsulate
    from pydicom.pixels import get_decoder
    from pydicom.uid import UID, MRImageStorage

    _check_picture(compressed, layout)
    frame = Dataset()
    frame.file_meta = FileMetaDataset()
    frame.file_meta.TransferSyntaxUID = UID(layout.syntax)
    frame.SOPClassUID, frame.SOPInstanceUID = MRImageStorage, UID("2.25.1")
    frame.file_meta.MediaStorageSOPClassUID = frame.SOPClassUID
    frame.file_meta.MediaStorageSOPInstanceUID = frame.SOPInstanceUID
    frame.Rows, frame.Columns, frame.SamplesPerPixel = layout.rows, layout.columns, 1
    frame.BitsAllocated, frame.BitsStored, frame.HighBit = layout.allocated, layout.stored, layout.high
    frame.PixelRepresentation, frame.PhotometricInterpretation = int(layout.signed), WHITE_IS_HIGH
    frame.PixelData = encapsulate([compressed])
    frame["PixelData"].is_undefined_length = True
    try:
        if layout.syntax == RLE:
            with quiet():
                data = get_decoder(layout.syntax).as_array(frame, raw=True)[0]
        else:
            import itk

            frame.save_as(place, enforce_file_format=True)
            with _complaints() as complaints:
                data = np.asarray(itk.array_from_image(itk.imread(str(place))))
            if complaints:
                raise ValueError(complaints[-1])
    except Exception as error:  # whatever damaged bytes do to a decoder
        raise DamagedError(f"has compressed pixels that cannot be decoded ({str(error).strip()[-80:]})") from None
    if data.size != layout.rows * layout.columns:
        raise DamagedError("has compressed pixels of another size than it declares")
    return data.reshape(layout.rows, layout.columns).astype(layout.dtype)


@contextmanager
def _complaints() -> Iterator[list[str]]:
    """Collect what the decoders' own libraries write to standard error: damage that they do not report otherwise."""
    found: list[str] = []
    sys.stderr.flush()
    with TemporaryFile() as file:
        kept = os.dup(2)
        os.dup2(file.fileno(), 2)
        try:
            yield found
        finally:
            os.dup2(kept, 2)
            os.close(kept)
        file.seek(0)
        found += file.read().decode(errors="replace").split("\n")[:-1]


def _check_picture(compressed: bytes, layout: PixelLayout) -> None:
    """Compare the size that a picture of the JPEG family declares itself, before a decoder allocates it."""
    if layout.syntax == RLE:
        return
    if compressed[:4] == b"\xff\x4f\xff\x51" and len(compressed) > 24:
        width, height, left, top = struct.unpack(">4L", compressed[8:24])
        size: tuple[int, int] | None = (height - top, width - left)
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
