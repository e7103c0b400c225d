"""What one file of an export is: slices, an object without slices, or damaged."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ankleseg.volumes.dicom.elements import (
    GE_BLOCK,
    GE_CREATOR,
    GE_PART,
    MEND,
    PER_FRAME,
    PHILIPS_BEGIN,
    PHILIPS_BLOCK,
    PHILIPS_CREATOR,
    PIXEL_DATA,
    SHARED,
    DamagedError,
    Elements,
    PixelElement,
    quiet,
    read_elements,
)
from ankleseg.volumes.dicom.layout import PixelLayout, pixel_layout

STORAGE = "1.2.840.10008.5.1.4.1.1."
WITHOUT_SLICES = {  # SOP classes by their beginning; the longer ones first
    f"{STORAGE}11.": "presentation state", f"{STORAGE}88.": "report", f"{STORAGE}104.": "document",
    f"{STORAGE}66.4": "segmentation", f"{STORAGE}66.7": "segmentation", f"{STORAGE}66.5": "segmentation",
    f"{STORAGE}66": "raw data or registration", f"{STORAGE}4.2": "spectroscopy", f"{STORAGE}9.": "waveform",
    f"{STORAGE}481.": "radiotherapy object", "1.2.840.10008.1.3.10": "index",
}  # fmt: skip
IMAGES = tuple(f"{STORAGE}{kind}" for kind in ("2", "4", "4.1", "4.4", "128", "130", "2.1", "2.2", "128.1"))
MACROS = (
    "FrameContentSequence", "PlanePositionSequence", "PlaneOrientationSequence", "PixelMeasuresSequence",
    "PixelValueTransformationSequence", "MREchoSequence", "MRImageFrameTypeSequence", "CTImageFrameTypeSequence",
    "PETFrameTypeSequence", "CardiacSynchronizationSequence", "TemporalPositionSequence", "MRModifierSequence",
    "MRTimingAndRelatedParametersSequence", "MRDiffusionSequence", "UnassignedPerFrameConvertedAttributesSequence",
    "UnassignedSharedConvertedAttributesSequence",
)  # fmt: skip
KINDS = ("FrameType", "ImageType", "ComplexImageComponent")
CONTRASTS = {"DiffusionBValue": "b value", "InversionTime": "inversion time", "FlipAngle": "flip angle"}


@dataclass(frozen=True)
class Foreign:
    """A file that holds no slices of a volume; ``series`` and ``sop_class`` where it is a DICOM object."""

    file: Path
    kind: str
    series: str = ""
    sop_class: str = ""


@dataclass(frozen=True)
class Damaged:
    """A file that cannot be read although it should be one of DICOM."""

    file: Path
    why: str
    series: str | None = None
    mend: str = MEND


@dataclass(frozen=True)
class Source:
    """A file with slices, and the series it belongs to."""

    file: Path
    sop_class: str
    instance: str
    patient: str
    series: str
    number: str
    description: str
    modality: str
    pixels: PixelLayout
    mosaic: bool


@dataclass(frozen=True)
class Frame:
    """One plane of voxels; positions and axes in LPS mm, times in seconds.

    Attributes:
        index: of the frame in its file, from 0.
        spacing: of the columns and of the rows, mm.
        thickness, distance: of the slice and to the next one as the header says, mm; 0 where it does not.
        kind: the values of its image type.
        order: what may tell its time point, by name.
        times: at which it was taken, by the source that says so.
    """

    source: Source
    index: int
    position: tuple[float, ...]
    axes: tuple[tuple[float, ...], tuple[float, ...]]
    spacing: tuple[float, float]
    thickness: float
    distance: float
    slope: float
    intercept: float
    kind: tuple[str, ...]
    echo_time: float | None
    echo_number: float | None
    order: dict[str, float] = field(hash=False)
    times: dict[str, float] = field(hash=False)
    contrast: dict[str, float] = field(hash=False)

    @property
    def file(self) -> Path:
        """The file it is in, relative to the folder or archive."""
        return self.source.file


def read_object(root: Path, file: Path) -> list[Frame] | Foreign | Damaged:
    """Read one DICOM file without its pixels.

    Args:
        root: folder of the export.
        file: relative to it.
    """
    try:
        dataset, pixels, whole = read_elements(root / file)
        with quiet():
            return _object(root / file, file, dataset, pixels, whole)
    except DamagedError as problem:
        return Damaged(file, problem.why, problem.series, problem.mend)


def _object(
    place: Path, file: Path, dataset: Any, pixels: PixelElement | None, whole: bool
) -> list[Frame] | Foreign | Damaged:
    elements = Elements(dataset)
    sop_class, series = elements.text("SOPClassUID"), elements.text("SeriesInstanceUID")
    kind = next((name for start, name in WITHOUT_SLICES.items() if sop_class.startswith(start)), None)
    if kind is not None:
        return Foreign(file, kind, series, sop_class)
    try:
        if pixels is None:
            if whole and sop_class and sop_class not in IMAGES and not elements.number("Rows"):
                return Foreign(file, "object without pixels", series, sop_class)
            raise DamagedError("is truncated or damaged: it ends before its pixels")
        if PER_FRAME not in dataset and "ImagePositionPatient" not in dataset:
            return Foreign(file, "picture without position", series, sop_class)
        if pixels.tag != PIXEL_DATA:
            return Foreign(file, "map of floating numbers", series, sop_class)
        source = _source(place, file, elements, dataset, pixels)
        return [_frame(source, index, places) for index, places in enumerate(_frames(dataset, source))]
    except DamagedError as problem:
        raise DamagedError(problem.why, series or None, problem.mend) from None


def _source(place: Path, file: Path, elements: Elements, dataset: Any, pixels: PixelElement) -> Source:
    frames = int(elements.number("NumberOfFrames") or 1)
    if PER_FRAME not in dataset and frames != 1:
        why = f"holds {frames} frames in one file and not the position of each"
        raise DamagedError(why, mend="export it as an enhanced file or as single slices")
    return Source(
        file=file,
        sop_class=elements.text("SOPClassUID"),
        instance=elements.text("SOPInstanceUID"),
        patient=elements.text("PatientID"),
        series=elements.text("SeriesInstanceUID"),
        number=elements.text("SeriesNumber"),
        description=elements.text("SeriesDescription") or elements.text("ProtocolName"),
        modality=elements.text("Modality"),
        pixels=pixel_layout(place, elements, dataset, pixels, frames),
        mosaic="MOSAIC" in elements.texts("ImageType"),
    )


def _frames(dataset: Any, source: Source) -> Iterator[Elements]:
    """Yield where to look up the elements of each frame: its own groups, the shared ones, then the file."""
    if PER_FRAME not in dataset:
        yield Elements(dataset)
        return
    whole = Elements(dataset)
    shared = [group for item in list(whole.items(SHARED))[:1] for group in _groups(item)]
    frames = whole.items(PER_FRAME)
    if len(frames) != source.pixels.frames:
        raise DamagedError(f"declares {source.pixels.frames} frames and describes {len(frames)}")
    for frame in frames:
        yield Elements(*_groups(frame), *shared, dataset)


def _groups(item: Any) -> list[Any]:
    found = (Elements(item).items(macro) for macro in MACROS if macro in item)
    return [group[0] for group in found if len(group)]


def _frame(source: Source, index: int, elements: Elements) -> Frame:
    position, cosines = elements.numbers("ImagePositionPatient"), elements.numbers("ImageOrientationPatient")
    spacing = elements.numbers("PixelSpacing")
    for name, values, count in (
        ("position", position, 3), ("orientation", cosines, 6), ("pixel spacing", spacing, 2)
    ):  # fmt: skip
        if len(values) != count:
            raise DamagedError(f"holds no {name}" if not values else f"holds {len(values)} numbers as its {name}")
    axes = _axes(cosines)
    if min(spacing) <= 0:
        raise DamagedError(f"declares pixels of {spacing[1]:g} × {spacing[0]:g} mm")
    slope = elements.number("RescaleSlope")
    if elements.items("ModalityLUTSequence"):
        why = "holds a table of intensities (Modality LUT), which is not read"
        raise DamagedError(why, mend="export it with slope and intercept")
    return Frame(
        source=source,
        index=index,
        position=position,
        axes=axes,
        spacing=(spacing[1], spacing[0]),
        thickness=max(elements.number("SliceThickness") or 0.0, 0.0),
        distance=max(elements.number("SpacingBetweenSlices") or 0.0, 0.0),
        slope=1.0 if slope is None else slope,
        intercept=elements.number("RescaleIntercept") or 0.0,
        kind=_kind(elements),
        echo_time=elements.number("EffectiveEchoTime") or elements.number("EchoTime"),
        echo_number=elements.number("EchoNumbers"),
        order=_order(elements),
        times=_times(elements),
        contrast=_known({name: elements.number(keyword) for keyword, name in CONTRASTS.items()}),
    )


def _axes(cosines: tuple[float, ...]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    along_row, along_column = cosines[:3], cosines[3:]
    lengths = [sum(part * part for part in axis) ** 0.5 for axis in (along_row, along_column)]
    product = sum(a * b for a, b in zip(along_row, along_column, strict=True))
    if any(abs(length - 1) > 1e-2 for length in lengths) or abs(product) > 1e-2:
        raise DamagedError("holds an invalid orientation: expected perpendicular axes of length 1")
    return along_row, along_column


def _kind(elements: Elements) -> tuple[str, ...]:
    texts = [text.upper() for keyword in KINDS for text in elements.texts(keyword) if text]
    part = elements.number(GE_PART) if elements.value(GE_BLOCK) == GE_CREATOR else None
    if part in (0, 1, 2, 3):
        texts.append("MPRI"[int(part)])
    return tuple(dict.fromkeys(texts))


def _order(elements: Elements) -> dict[str, float]:
    trigger = elements.number("NominalCardiacTriggerDelayTime")
    position = elements.number("TemporalPositionIndex")
    dimensions = elements.numbers("DimensionIndexValues")
    return _known(
        {
            "temporal": elements.number("TemporalPositionIdentifier") if position is None else position,
            "offset": elements.number("TemporalPositionTimeOffset"),
            "trigger": elements.number("TriggerTime") if trigger is None else trigger,
            "acquired": _acquired(elements),
            "acquisition": elements.number("AcquisitionNumber"),
            "content": elements.seconds("FrameReferenceDateTime", "ContentDate", "ContentTime"),
            **{f"dimension {number}": value for number, value in enumerate(dimensions, start=1)},
            "instance": elements.number("InstanceNumber"),
        }
    )


def _times(elements: Elements) -> dict[str, float]:
    milliseconds = elements.number("NominalCardiacTriggerDelayTime")
    milliseconds = elements.number("TriggerTime") if milliseconds is None else milliseconds
    philips = elements.number(PHILIPS_BEGIN) if elements.value(PHILIPS_BLOCK) == PHILIPS_CREATOR else None
    resolution = elements.number("TemporalResolution")
    return _known(
        {
            "offset": elements.number("TemporalPositionTimeOffset"),
            "begin": philips,
            "trigger": None if milliseconds is None else milliseconds / 1000,
            "acquired": _acquired(elements),
            "resolution": None if resolution is None else resolution / 1000,
        }
    )


def _acquired(elements: Elements) -> float | None:
    frame = elements.seconds("FrameAcquisitionDateTime", "", "")
    return elements.seconds("AcquisitionDateTime", "AcquisitionDate", "AcquisitionTime") if frame is None else frame


def _known(values: dict[str, float | None]) -> dict[str, float]:
    return {name: value for name, value in values.items() if value is not None}
