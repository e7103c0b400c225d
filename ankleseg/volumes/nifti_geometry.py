"""The geometry of a NIfTI header, from the best sound source in it: its sform, its qform, or its voxel sizes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

from ankleseg.errors import FileError
from ankleseg.volumes.geometry import Affine, affine_problem, size_text, spacing
from ankleseg.volumes.volume import Remark

SPATIAL_UNITS = {0: ("unknown", 1.0), 1: ("metre", 1e3), 2: ("mm", 1.0), 3: ("micrometre", 1e-3)}
KNOWN_CODES = range(6)
QUATERNION = ("quatern_b", "quatern_c", "quatern_d")
ROUNDED_QUATERNION = 1e-2  # by which b² + c² + d² may pass 1 and still be a rotation, rounded
REMARKED_QUATERNION = 3e-7  # single precision alone does not explain more
SIZES_DIFFER = 0.01  # relative
LIKELY_MM = (0.02, 50.0)  # sides of the voxels of scans of people
CORRECT_HEADER = "correct its header"


@dataclass(frozen=True, eq=False)
class NiftiGeometry:
    """Where the voxels of a NIfTI file lie, in mm.

    Attributes:
        affine: the one to use, voxel to world, RAS+.
        qform, sform: those of the file, None where its code is 0 or it is no affine.
        unit: spatial unit the file names, ``unknown`` where it names none.
        remarks: what is wrong with the sources that were not used, and where they disagree.
    """

    affine: Affine
    qform: Affine | None
    sform: Affine | None
    unit: str
    remarks: tuple[Remark, ...]


def geometry_of(path: Path, raw: Any, shape: Sequence[int]) -> NiftiGeometry:
    """Return the geometry of a header: its sform if sound, else its qform, else its voxel sizes alone.

    That is the order of nibabel and of most viewers. Unlike nibabel, a source that is broken never hides a sound one:
    negative voxel sizes count without their sign, a quaternion a little longer than 1 is a rotation that was rounded
    (as in the reference code of the standard, ``nifti1_io.c``), and metres and micrometres become mm.

    Args:
        path: of the file, for messages.
        raw: header as nibabel reads it.
        shape: of the voxels.

    Raises:
        FileError: no source is sound.
    """
    unit, factor = SPATIAL_UNITS.get(int(raw["xyzt_units"]) & 7, ("unknown", 1.0))
    remarks: list[Remark] = []
    mended, filled = _mended(raw, shape)
    stored, has_size = np.asarray(raw["pixdim"][1:4], float) * factor, _is_size(mended["pixdim"][1:4])
    sform = _sound(raw, "sform", raw.get_sform, factor, remarks)
    qform = _sound(raw, "qform", mended.get_qform, factor, remarks) if has_size else None
    if sform is not None:
        used = sform
        if not has_size:
            remarks.append(Remark(f"declares voxels of {size_text(stored)} mm; its sform is used", CORRECT_HEADER))
    elif not has_size:
        mend = "correct the voxel size (pixdim) in its header"
        raise FileError(f"declares voxels of {size_text(stored)} mm", file=path, mend=mend)
    else:
        used = _scaled(mended.get_base_affine(), factor) if qform is None else qform
        remarks += _size_remarks(stored, filled)
    remarks += _quaternion_remarks(raw, qform) + _disagreements(spacing(used), stored, sform)
    remarks += _unit_remarks(unit, spacing(used))
    return NiftiGeometry(used, qform, sform, unit, tuple(remarks))


def _mended(raw: Any, shape: Sequence[int]) -> tuple[Any, list[int]]:
    """A copy that nibabel reads without complaint, and the axes of one voxel that had no size and got 1.

    Voxel sizes lose their signs, a quaternion that rounding made longer than 1 is 1 long, qfac is 1 or -1.
    """
    mended = raw.copy()
    mended["pixdim"][1:4] = np.abs(raw["pixdim"][1:4])
    mended["pixdim"][0] = -1 if raw["pixdim"][0] < 0 else 1
    flat = [axis for axis, length in enumerate(shape[:3]) if length == 1]
    filled = [axis for axis in flat if not _is_size(mended["pixdim"][axis + 1])]
    for axis in filled:
        mended["pixdim"][axis + 1] = 1
    length = _quaternion_length(raw)
    if 1 < length <= 1 + ROUNDED_QUATERNION:
        for name in QUATERNION:
            mended[name] = raw[name] / np.sqrt(length)
    return mended, filled


def _is_size(sizes: Any) -> bool:
    return bool(np.isfinite(sizes).all() and np.all(sizes > 0))


def _quaternion_length(raw: Any) -> float:
    """b² + c² + d²."""
    return sum(float(raw[name]) ** 2 for name in QUATERNION)


def _scaled(affine: Any, factor: float) -> Affine:
    scaled = np.asarray(affine, float).copy()
    scaled[:3] *= factor
    return scaled


def _sound(raw: Any, name: str, read: Callable[[], Any], factor: float, remarks: list[Remark]) -> Affine | None:
    """An affine of the header in mm, None where its code is 0; one that is no affine is remarked and passed over."""
    code = int(raw[f"{name}_code"])
    if code not in KNOWN_CODES:
        remarks.append(Remark(f"has the {name} code {code}, which means nothing", CORRECT_HEADER))
    if code <= 0:
        return None
    try:
        affine = _scaled(read(), factor)
        problem = affine_problem(affine)
    except (ValueError, nib.spatialimages.HeaderDataError):
        problem = "holds no rotation"
    if problem is None:
        return affine
    remarks.append(Remark(f"its {name} is passed over: it {problem}", CORRECT_HEADER, suspect=True))
    return None


def _size_remarks(stored: np.ndarray, filled: Sequence[int]) -> list[Remark]:
    remarks = []
    if (stored < 0).any():
        problem = f"declares voxels of {size_text(stored)} mm; they are taken without their signs"
        remarks.append(Remark(problem, CORRECT_HEADER))
    if len(filled):
        problem = f"declares voxels of {size_text(stored)} mm; 1 mm is assumed along the axis of one voxel"
        remarks.append(Remark(problem, "correct its header, if that matters"))
    return remarks


def _quaternion_remarks(raw: Any, qform: Affine | None) -> list[Remark]:
    length = _quaternion_length(raw)
    if qform is None or length - 1 <= REMARKED_QUATERNION:
        return []
    problem = f"its qform holds a quaternion with b² + c² + d² = {length:.7f}, which is made 1"
    return [Remark(problem, "nothing need be done; other programs may refuse the file")]


def _disagreements(used: np.ndarray, stored: np.ndarray, sform: Affine | None) -> list[Remark]:
    """Voxel sizes that say otherwise than the sform: volumes in ml depend on which is right."""
    if sform is None or not (np.isfinite(stored).all() and (stored != 0).all()):
        return []
    sizes = np.abs(stored)
    if (np.abs(sizes / used - 1) <= SIZES_DIFFER).all():
        return []
    times = float(np.prod(used) / np.prod(sizes))
    problem = (
        f"has voxels of {size_text(used)} mm by its sform and of {size_text(sizes)} mm by its pixdim; the sform is "
        f"used, which makes volumes {times:.3g} times those of the pixdim"
    )
    return [Remark(problem, "find out which is right, and correct the other in its header", suspect=True)]


def _unit_remarks(unit: str, used: np.ndarray) -> list[Remark]:
    remarks = []
    if unit not in ("mm", "unknown"):
        problem = f"gives its geometry in the unit {unit}; in mm its voxels are {size_text(used)}"
        remarks.append(Remark(problem, "correct the unit in its header if that is not so"))
    if used.min() < LIKELY_MM[0] or used.max() > LIKELY_MM[1]:
        problem = f"has voxels of {size_text(used)} mm, which no scanner for people produces"
        remarks.append(Remark(problem, "correct the unit or the voxel size in its header", suspect=True))
    return remarks
