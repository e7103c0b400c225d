"""The one rule for masks and label maps, in every command."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Shaped

from ankleseg.errors import FileError
from ankleseg.volumes.files import read_frame, read_volume
from ankleseg.volumes.segments import is_segmentation_name, segment_of
from ankleseg.volumes.volume import Header, Remark, Volume

WHOLE_TOLERANCE = 1.0001e-5  # 1e-5, itself rounded: so close to a whole number, a value is it, written through a scale
VALUES_LISTED = 8
COUNTED_RANGE = 1 << 16
USUAL_TOPS = (1.0, 255.0)
LABEL_MAP_MEND = "make it 0 and 1, or use it as a label map (in a table: columns labels and value_<structure>)"
THRESHOLD_MEND = "cut it at a threshold and save it as 0 and 1"
WHOLE_MEND = "save whole numbers, e.g. by nearest neighbour"
ABSENT_MEND = "check that the structure is absent"

Values = Shaped[np.ndarray, "x y z"]
Mask = Bool[np.ndarray, "x y z"]


def read_mask(
    path: str | Path,
    *,
    value: int | str | Sequence[int] | None = None,
    frame: int | None = None,
    used: Sequence[int | str] | None = None,
) -> Volume:
    """Read one structure as bool voxels (X, Y, Z); it may be empty. The remarks on its values are in its header.

    Args:
        path: of a mask, a label map, or a ``.seg.nrrd`` of Slicer.
        value: of the structure in a label map, several values of a region, or the name of its segment; None: the file
            is a mask.
        frame: of a 4-D file, from 0; None: the file is 3-D.
        used: all the values of the label map that are used; a map that holds others and none of these is refused.

    Raises:
        FileError: what `read_volume` and `read_frame` refuse, or values that `structure_of` does.
    """
    path = Path(path)
    if is_segmentation_name(path):
        return _read_segment(path, value)
    volume = _read_values(path, frame)
    mask, remarks = structure_of(path, volume.data, None if value is None else _numbers(value), used)
    return _remarked(volume, mask, remarks)


def read_label_map(path: str | Path) -> Volume:
    """Read a label map as whole numbers, int32 (X, Y, Z), by the same rule; the remarks are in its header.

    Raises:
        FileError: what `read_volume` refuses, fractions, infinite voxels, or numbers beyond int32.
    """
    path = Path(path)
    volume = _read_values(path, None)
    data, remarks = _without_nan(path, volume.data)
    whole = np.rint(data)
    largest = np.iinfo(np.int32).max
    if not (np.abs(data - whole) <= _tolerance(whole)).all() or float(np.abs(whole).max()) > largest:
        problem = f"is not a label map: it holds other values than whole numbers to {largest}"
        raise FileError(problem, file=path, mend=WHOLE_MEND)
    header = _header(_remarked(volume, volume.data, remarks))
    return Volume(np.asfortranarray(whole.astype(np.int32)), volume.affine, header)


def check_values(path: str | Path, values: Sequence[int | str] | None) -> Header:
    """Read a mask or label map once, and return its header with the remarks on its values.

    Args:
        values: that are used of it, or names of segments; None: the file is a mask.

    Raises:
        FileError: as `read_mask`, for any of the values.
    """
    path = Path(path)
    if values is None or is_segmentation_name(path):
        found = [read_mask(path)] if values is None else [read_mask(path, value=value) for value in values]
        remarks = [remark for volume in found for remark in _header(volume).remarks]
        return replace(_header(found[0]), remarks=tuple(dict.fromkeys(remarks)))
    volume = _read_values(path, None)
    remarks = [remark for value in values for remark in structure_of(path, volume.data, int(value), values)[1]]
    return _header(_remarked(volume, volume.data, list(dict.fromkeys(remarks))))


def structure_of(
    path: Path, data: Values, value: int | Sequence[int] | None, used: Sequence[int | str] | None = None
) -> tuple[Mask, list[Remark]]:
    """Return the voxels of a structure, and what to say of the values of its file.

    A mask holds two values, the greater one is the structure if it is not 0; others than 0 and 1 or 255 are remarked.
    A label map holds whole numbers. A value within 1e-5 of a whole number is that number. NaN is
    background, and remarked.

    Args:
        path: of the file, for messages.
        value: of the structure in a label map, or several of a region; None: the file is a mask.
        used: all the values of the label map that are used.

    Raises:
        FileError: a mask of more values or with fractions, a label map with fractions, infinite voxels, or a label map
            that holds values and none that is used.
    """
    data, remarks = _without_nan(path, data)
    values = _values(data)
    if value is None:
        return _mask(path, data, values, remarks)
    if not np.array_equal(values, np.rint(values)):
        raise FileError(f"is not a label map: it holds fractions ({_listed(values)})", file=path, mend=WHOLE_MEND)
    labels = values[values != 0]
    if used is not None and len(labels) and not np.isin(labels, [int(one) for one in used]).any():
        wanted = ", ".join(str(one) for one in used)
        problem = f"holds the labels {_listed(labels)} and none of those asked for ({wanted})"
        raise FileError(problem, file=path, mend="give the values that the structures have in it")
    several = [value] if isinstance(value, int) else list(value)
    mask = _equal(data, several[0])
    for other in several[1:]:
        mask |= _equal(data, other)
    if not mask.any():
        holds = f"; it holds {_listed(labels)}" if len(labels) else ": it is empty"
        wanted = f"value {several[0]}" if len(several) == 1 else f"values {', '.join(map(str, several))}"
        remarks.append(Remark(f"has no voxel of the {wanted}{holds}", ABSENT_MEND))
    return mask, remarks


def _numbers(value: int | str | Sequence[int]) -> int | tuple[int, ...]:
    return int(value) if isinstance(value, int | str) else tuple(map(int, value))


def _mask(path: Path, data: Values, values: np.ndarray, remarks: list[Remark]) -> tuple[Mask, list[Remark]]:
    low, top = float(values[0]), float(values[-1])
    if len(values) > 2:
        whole = np.array_equal(values, np.rint(values))
        raise FileError(
            f"is not a mask of 0 and 1: it holds the values {_listed(values)}",
            file=path,
            mend=LABEL_MAP_MEND if whole else THRESHOLD_MEND,
        )
    if low == top == 0:
        return np.zeros(data.shape, bool), [*remarks, Remark("is empty", ABSENT_MEND)]
    if low == top:
        everywhere = Remark(f"holds the value {top:g} everywhere", "check that the structure fills the image", True)
        return np.ones(data.shape, bool), [*remarks, everywhere]
    structure = top or low  # 0 is never the structure
    if low != 0 or top not in USUAL_TOPS:
        problem = (
            f"holds the values {_listed(values)} where a mask holds 0 and 1; {structure:.9g} is taken as the structure"
        )
        remarks.append(Remark(problem, "make it 0 and 1 if that is wrong", suspect=low != 0))
    return _equal(data, structure), remarks


def _without_nan(path: Path, data: Values) -> tuple[Values, list[Remark]]:
    if not np.issubdtype(data.dtype, np.floating):
        return data, []
    finite = np.isfinite(data)
    if finite.all():
        return data, []
    missing = np.isnan(data)
    if not (missing | finite).all():
        raise FileError("holds infinite voxels", file=path, mend="replace them, e.g. by 0")
    remark = Remark(f"holds {np.count_nonzero(missing)} NaN voxels, taken as background", "replace them by 0")
    return np.where(missing, data.dtype.type(0), data), [remark]


def _values(data: Values) -> np.ndarray:
    """The different values, sorted; those within rounding of a whole number as that number."""
    values = _distinct(data).astype(float)
    whole = np.rint(values)
    near = np.abs(values - whole) <= _tolerance(whole)
    return np.unique(np.where(near, whole, values)) + 0.0  # which makes -0 a 0


def _distinct(data: Values) -> np.ndarray:
    """The different values; voxels are sorted only where there are many, since that takes seconds for a scan."""
    low, top = data.min(), data.max()
    if ((data == low) | (data == top)).all():
        return np.array([low, top])
    if np.issubdtype(data.dtype, np.integer) and float(top) - float(low) < COUNTED_RANGE:
        return np.flatnonzero(np.bincount(data.ravel(order="K").astype(np.int64) - int(low))) + int(low)
    return np.unique(data)


def _tolerance(whole: np.ndarray | float) -> np.ndarray | float:
    """Of single precision for large numbers, which is coarser there than 1e-5."""
    return np.maximum(WHOLE_TOLERANCE, 2 * np.finfo(np.float32).eps * np.abs(whole))


def _equal(data: Values, value: float) -> Mask:
    if not np.issubdtype(data.dtype, np.floating):
        return data == value
    tolerance = float(_tolerance(value)) if value == np.rint(value) else 0.0
    return np.abs(data - data.dtype.type(value)) <= tolerance if tolerance else data == data.dtype.type(value)


def _listed(values: np.ndarray) -> str:
    listed = ", ".join(f"{value:.9g}" for value in values[:VALUES_LISTED])
    return listed + (f", … ({len(values)} values)" if len(values) > VALUES_LISTED else "")


def _read_values(path: Path, frame: int | None) -> Volume:
    if frame is None:
        return read_volume(path, dtype=None, finite=False)
    return read_frame(path, frame, dtype=None, finite=False)


def _read_segment(path: Path, wanted: int | str | Sequence[int] | None) -> Volume:
    if not isinstance(wanted, int | str | None):
        raise FileError("is read by segments, not by several values", file=path, mend="name one segment a structure")
    segment = segment_of(path, wanted)
    volume = read_volume(path, dtype=None, dimensions=None)
    layered = volume.data[..., None] if volume.data.ndim == 3 else volume.data
    if segment.layer >= layered.shape[3]:
        problem = f"puts {segment.name} in layer {segment.layer} of {layered.shape[3]}"
        raise FileError(problem, file=path, mend="save it again in Slicer")
    layer = np.asfortranarray(layered[..., segment.layer])
    mask, remarks = structure_of(path, layer, segment.value)
    if isinstance(wanted, str) and segment.name.casefold() != wanted.casefold():
        remarks.append(Remark(f"calls its only segment {segment.name}; it is taken as {wanted}", "rename the segment"))
    return _remarked(volume, mask, remarks)


def _remarked(volume: Volume, mask: Values, remarks: Sequence[Remark]) -> Volume:
    header = _header(volume)
    told = (*header.remarks, *remarks)
    return Volume(mask, volume.affine, replace(header, shape=mask.shape, remarks=told))


def _header(volume: Volume) -> Header:
    assert volume.header is not None  # all that is read from a file has one
    return volume.header
