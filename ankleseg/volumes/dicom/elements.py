"""The elements of a DICOM file up to its pixels, read so that no damage costs more than one line."""

from __future__ import annotations

import io
import logging
import math
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any, BinaryIO

PIXEL_DATA = 0x7FE00010
PIXELS = (0x7FE00008, 0x7FE00009, PIXEL_DATA)  # float, double, whole numbers
UNDEFINED = 0xFFFFFFFF
DEFLATED, START = b"1.2.840.10008.1.2.1.99", 1024  # a transfer syntax, and the bytes that name it
PHILIPS_BLOCK, PHILIPS_CREATOR = 0x20050010, "Philips MR Imaging DD 001"
PHILIPS_BEGIN = 0x200510A0  # seconds at which a dynamic scan began
GE_BLOCK, GE_CREATOR = 0x00430010, "GEMS_PARM_01"
GE_PART = 0x0043102F  # 0 magnitude, 1 phase, 2 real, 3 imaginary
MEND = "copy the file again, or take it out"  # of a damaged file
PER_FRAME, SHARED = "PerFrameFunctionalGroupsSequence", "SharedFunctionalGroupsSequence"
WANTED = (
    "SOPClassUID", "SOPInstanceUID", "Modality", "ImageType", "ComplexImageComponent", "PatientID", "SeriesInstanceUID",
    "SeriesNumber", "SeriesDescription", "ProtocolName", "InstanceNumber", "AcquisitionNumber", "AcquisitionDate",
    "AcquisitionTime", "AcquisitionDateTime", "ContentDate", "ContentTime", "TriggerTime", "TemporalPositionIdentifier",
    "TemporalResolution", "EchoTime", "EchoNumbers", "InversionTime", "FlipAngle", "DiffusionBValue", "SliceThickness",
    "SpacingBetweenSlices", "ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "Rows", "Columns",
    "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation", "SamplesPerPixel", "PhotometricInterpretation",
    "NumberOfFrames", "RescaleSlope", "RescaleIntercept", "ModalityLUTSequence", "DimensionIndexSequence",
    PER_FRAME, SHARED, "ExtendedOffsetTable", "ExtendedOffsetTableLengths",
)  # fmt: skip


class DamagedError(Exception):
    """A DICOM file that cannot be read: why, its series where that can still be read, and the mend."""

    def __init__(self, why: str, series: str | None = None, mend: str = MEND) -> None:
        self.why, self.series, self.mend = why, series, mend
        super().__init__(why)


@dataclass(frozen=True)
class PixelElement:
    """Where the pixels of a file are: tag, first byte, and length in bytes (None where they are encapsulated)."""

    tag: int
    start: int
    length: int | None


class Elements:
    """Elements looked up by keyword in several places, the first that has it counting."""

    def __init__(self, *places: Any) -> None:
        self._places = places

    def value(self, keyword: str | int) -> Any:
        """Return a value as pydicom gives it, None where it is absent or empty.

        Raises:
            DamagedError: it cannot be decoded.
        """
        tag = _tag(keyword)
        for place in self._places:
            try:
                found = place[tag].value if tag in place else None
            except Exception:  # whatever damaged bytes do to pydicom
                raise DamagedError(f"holds an unreadable {keyword}") from None
            if found is not None and found != "":
                return found
        return None

    def text(self, keyword: str) -> str:
        """Return a value as text, empty where it is absent."""
        found = self.value(keyword)
        return "" if found is None else str(found).strip("\0 ")

    def texts(self, keyword: str) -> tuple[str, ...]:
        """Return the values of an element as texts."""
        found = self.value(keyword)
        if found is None:
            return ()
        return tuple(str(part).strip("\0 ") for part in ([found] if isinstance(found, str) else found))

    def numbers(self, keyword: str | int) -> tuple[float, ...]:
        """Return the values of an element as finite numbers.

        Raises:
            DamagedError: one is no finite number.
        """
        found = self.value(keyword)
        if found is None:
            return ()
        try:
            single = isinstance(found, (str, bytes)) or not isinstance(found, Sequence)
            values = tuple(float(part) for part in ([found] if single else found))
        except (TypeError, ValueError, OverflowError):
            values = (math.nan,)
        if not all(map(math.isfinite, values)):
            raise DamagedError(f"holds {found!s:.40} as {keyword}")
        return values

    def number(self, keyword: str | int) -> float | None:
        """Return the first value of an element as a finite number, None where it is absent."""
        return next(iter(self.numbers(keyword)), None)

    def items(self, keyword: str) -> Sequence[Any]:
        """Return the items of a sequence, none where it is absent."""
        found = self.value(keyword)
        if found is not None and isinstance(found, (str, bytes, int, float)):
            raise DamagedError(f"holds an unreadable {keyword}")
        return () if found is None else found

    def seconds(self, combined: str, date: str, time: str) -> float | None:
        """Return a point of time in seconds, of a date and time in one element or in two."""
        day, _, _ = self.text(date).partition(".")
        for text in (self.text(combined), f"{day or '20000101'}{self.text(time)}"):
            whole, _, fraction = text.split("+")[0].split("-")[0].partition(".")
            try:
                began = datetime.strptime(whole, "%Y%m%d%H%M%S") - datetime(2000, 1, 1)
                return began.total_seconds() + (float(f"0.{fraction}") if fraction else 0.0)
            except ValueError:
                continue
        return None


@cache
def _tag(keyword: str | int) -> Any:
    from pydicom.tag import Tag

    return Tag(keyword)


class BoundedReader:
    """A file that is never asked for more bytes than it has: a damaged length must not reserve memory."""

    def __init__(self, stream: BinaryIO, size: int) -> None:
        self._stream, self._size = stream, size
        self.seek, self.tell = stream.seek, stream.tell

    def read(self, count: int = -1) -> bytes:
        """Read at most so many bytes."""
        left = max(self._size - self.tell(), 0)
        return self._stream.read(left if count < 0 else min(count, left))


def read_elements(file: Path) -> tuple[Any, PixelElement | None, bool]:
    """Read the elements that are wanted, and where the pixels begin, without reading a pixel.

    Returns:
        pydicom's dataset; the pixels, None where there are none; whether the file ends where its elements end.

    Raises:
        DamagedError: it cannot be read.
    """
    from pydicom.filereader import read_partial

    found: list[PixelElement] = []
    tags = [_tag(keyword) for keyword in (*WANTED, PHILIPS_BLOCK, PHILIPS_BEGIN, GE_BLOCK, GE_PART)]
    try:
        with file.open("rb") as stream, quiet():
            size = stream.seek(0, io.SEEK_END)
            stream.seek(0)
            if DEFLATED in stream.read(START):  # which unpacks to any size
                raise DamagedError("is compressed as a whole (deflated)", mend="export it without compression")
            stream.seek(0)
            reader = BoundedReader(stream, size)

            def at_pixels(tag: int, vr: str | None, length: int) -> bool:
                plain = int(tag)  # pydicom's own comparison is slow
                if plain in PIXELS:
                    found.append(PixelElement(plain, reader.tell(), None if length == UNDEFINED else length))
                return plain in PIXELS

            dataset = read_partial(reader, stop_when=at_pixels, force=True, specific_tags=tags)  # type: ignore[arg-type]
            whole = reader.tell() == size and not any(map(_is_short, dataset.values()))
    except DamagedError:
        raise
    except OSError as error:
        raise DamagedError(f"cannot be opened ({error.strerror or error})") from None
    except Exception:  # whatever damaged bytes do to pydicom
        raise DamagedError("is truncated or damaged: its header cannot be read") from None
    return dataset, found[0] if found else None, whole


def _is_short(element: Any) -> bool:
    value, length = getattr(element, "value", None), getattr(element, "length", UNDEFINED)
    return isinstance(value, bytes) and length != UNDEFINED and len(value) < length


@contextmanager
def quiet() -> Iterator[None]:
    """Keep pydicom's remarks on single elements off the screen; what matters is told in one line of ours."""
    logger = logging.getLogger("pydicom")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
