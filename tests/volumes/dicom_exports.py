"""Small DICOM exports as scanners and consoles write them, and the voxels and the affine that they stand for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import UID, EnhancedMRImageStorage, ExplicitVRLittleEndian, MRImageStorage
from volume_grids import rotation

SPACING = (0.5, 0.75)
DISTANCE = 2.0
AXES = rotation(12, -7, 20)  # columns: along a row, along a column, along the slices; LPS
ORIGIN = np.array([11.0, -20.0, 33.0])
SHAPE = (7, 5, 6)


def grid_affine() -> np.ndarray:
    affine = np.eye(4)
    affine[:3, :3] = AXES * [*SPACING, DISTANCE]
    affine[:3, 3] = ORIGIN
    return np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine


def position(index: float) -> list[float]:
    return [round(float(value), 6) for value in ORIGIN + index * DISTANCE * AXES[:, 2]]


def voxels(times: int = 1, seed: int = 0) -> np.ndarray:
    shape = SHAPE if times == 1 else (*SHAPE, times)
    return np.random.default_rng(seed).integers(0, 4000, shape).astype(np.int16)


def dataset(storage: UID, uid: str, syntax: UID = ExplicitVRLittleEndian, **elements) -> Dataset:
    made = Dataset()
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = syntax
    made.file_meta.MediaStorageSOPClassUID = made.SOPClassUID = storage
    made.file_meta.MediaStorageSOPInstanceUID = made.SOPInstanceUID = UID(uid)
    made.PatientID, made.Modality, made.StudyInstanceUID = "toy", "MR", "1.2.3"
    made.SeriesInstanceUID, made.SeriesNumber, made.SeriesDescription = "1.2.3.1", 1, "T1"
    for name, value in elements.items():
        if value is None:
            delattr(made, name)
        else:
            setattr(made, name, value)
    return made


def with_pixels(made: Dataset, pixels: np.ndarray) -> Dataset:
    """Add pixels (rows, columns) or (frames, rows, columns), of any whole type."""
    made.Rows, made.Columns = pixels.shape[-2:]
    made.SamplesPerPixel, made.PhotometricInterpretation = 1, "MONOCHROME2"
    made.BitsAllocated = made.BitsStored = 8 * pixels.itemsize
    made.HighBit, made.PixelRepresentation = made.BitsStored - 1, int(pixels.dtype.kind == "i")
    made.PixelData = pixels.tobytes() + b"\0" * (pixels.nbytes % 2)
    return made


def save(made: Dataset, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    made.save_as(path, enforce_file_format=True)
    return path


def classic_slice(pixels: np.ndarray, index: float, number: int, **elements) -> Dataset:
    """One slice, pixels (X, Y), at the index-th position."""
    series = elements.get("SeriesInstanceUID", "1.2.3.1")
    common = {
        "InstanceNumber": number, "ImagePositionPatient": position(index), "SliceThickness": 1.75,
        "ImageOrientationPatient": [round(float(value), 8) for value in AXES[:, :2].T.ravel()],
        "PixelSpacing": list(SPACING[::-1]),
    }  # fmt: skip
    made = dataset(MRImageStorage, f"{series}.{number}", **common | elements)
    for name, value in elements.items():
        if value is None and name in made:
            delattr(made, name)
    return with_pixels(made, np.ascontiguousarray(pixels.T))


def write_classic(folder: Path, data: np.ndarray, *, name="IM{:04d}", seed=0, elements=None, **common) -> list[Path]:
    """Write a scan or sequence as single slices whose numbers and names are shuffled.

    Args:
        data: (X, Y, Z) or (X, Y, Z, T).
        elements: called with slice and time for what a slice has besides.
    """
    frames = data.reshape(*data.shape[:3], -1)
    numbers = np.random.default_rng(seed).permutation(frames.shape[2] * frames.shape[3]) + 1
    files = []
    for count, (time, index) in enumerate(np.ndindex(frames.shape[3], frames.shape[2])):
        own = {} if elements is None else elements(index, time)
        number = own.pop("InstanceNumber", int(numbers[count]))
        made = classic_slice(frames[:, :, index, time], index, number, **common | own)
        files.append(save(made, folder / name.format(number)))
    return files


def write_enhanced(path: Path, data: np.ndarray, *, seed=0, times=None, shared=True, scales=None, **elements) -> Path:
    """Write a scan or sequence as one enhanced file of shuffled frames; ``scales`` are slope and intercept by time."""
    frames = data.reshape(*data.shape[:3], -1)
    order = np.random.default_rng(seed).permutation(frames.shape[2] * frames.shape[3])
    made = dataset(EnhancedMRImageStorage, f"1.2.3.1.{seed + 100}", InstanceNumber=seed + 1)
    measures, plane = Dataset(), Dataset()
    measures.PixelSpacing, measures.SliceThickness = list(SPACING[::-1]), 1.75
    plane.ImageOrientationPatient = [round(float(value), 8) for value in AXES[:, :2].T.ravel()]
    common = Dataset()
    if shared:
        common.PixelMeasuresSequence, common.PlaneOrientationSequence = Sequence([measures]), Sequence([plane])
    groups, planes = [], []
    for place in order:
        time, index = divmod(int(place), frames.shape[2])
        content, lying, group = Dataset(), Dataset(), Dataset()
        content.TemporalPositionIndex = (times or range(1, 99))[time]
        content.InStackPositionNumber, content.DimensionIndexValues = index + 1, [1, index + 1, time + 1]
        lying.ImagePositionPatient = position(index)
        group.FrameContentSequence, group.PlanePositionSequence = Sequence([content]), Sequence([lying])
        if not shared:
            group.PixelMeasuresSequence, group.PlaneOrientationSequence = Sequence([measures]), Sequence([plane])
        if scales:
            scale = Dataset()
            scale.RescaleSlope, scale.RescaleIntercept = scales[time]
            group.PixelValueTransformationSequence = Sequence([scale])
        groups.append(group)
        planes.append(frames[:, :, index, time].T)
    made.NumberOfFrames = len(groups)
    made.SharedFunctionalGroupsSequence = Sequence([common])
    made.PerFrameFunctionalGroupsSequence = Sequence(groups)
    for name, value in elements.items():
        setattr(made, name, value)
    return save(with_pixels(made, np.ascontiguousarray(planes)), path)
