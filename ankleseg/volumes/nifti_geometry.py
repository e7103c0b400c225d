"""The geometry of a NIfTI header, from the best sound source in it: its sform, its qform, or its voxel sizes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

from ankleseg.errors import FileError
from ankleseg.volumes.geometry import Affine, affine_problem, axis_codes, displacement_mm, size_text, spacing
from ankleseg.volumes.volume import Remark

SPATIAL_UNITS = {0: ("unknown", 1.0), 1: ("metre", 1e3), 2: ("mm", 1.0), 3: ("micrometre", 1e-3)}
KNOWN_CODES = range(6)
ALIGNED = 2  # to what is not said, as a code that means nothing
QUATERNION = ("quatern_b", "quatern_c", "quatern_d")
ROUNDED_QUATERNION = 1e-2  # by which b² + c² + d² may pass 1 and still be a rotation, rounded
REMARKED_QUATERNION = 3e-7  # single precision alone does not explain more
FAR_APART = 0.1  # voxels
SIZES_DIFFER = 0.01  # relative
LIKELY_MM = (0.02, 50.0)  # sides of the voxels of scans of people
CORRECT_HEADER = "correct its header"


@dataclass(frozen=True, eq=False)
class NiftiGeometry:
    """Where the voxels of a NIfTI file lie, in mm.

    Attributes:
        affine: the one to use, voxel to world, RAS+.
        qform, sform: those of the file, None where its code is 0 or it is no affine.
        qform_code, sform_code: 0 where there is none.
        unit: spatial unit the file names, ``unknown`` where it names none.
        remarks: what is wrong with the sources that were not used, and where they disagree.
    """

    affine: Affine
    qform: Affine | None
    sform: Affine | None
    qform_code: int
    sform_code: int
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
    sform = _sound(raw, "sform", raw.get_sform, factor, remarks)
    mended, filled = _mended(raw, shape, np.ones(3) if sform is None else spacing(sform) / factor)
    stored, has_size = np.asarray(raw["pixdim"][1:4], float) * factor, _is_size(mended["pixdim"][1:4])
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
        remarks += _filled_remarks(stored, filled)
    remarks += _sign_remarks(stored)
    remarks += _quaternion_remarks(raw, qform) + _disagreements(spacing(used), stored, sform)
    remarks += _unit_remarks(unit, spacing(used)) + _place_remarks(used, qform, sform, shape)
    codes = 0 if qform is None else _code(raw, "qform"), 0 if sform is None else _code(raw, "sform")
    return NiftiGeometry(used, qform, sform, *codes, unit, tuple(remarks))


def _code(raw: Any, name: str) -> int:
    code = int(raw[f"{name}_code"])
    return code if code in KNOWN_CODES else ALIGNED


def _mended(raw: Any, shape: Sequence[int], sizes: np.ndarray) -> tuple[Any, list[int]]:
    """A copy that nibabel reads without complaint, and the axes of one voxel that had no size and got one.

    These are taken from ``sizes``. Voxel sizes lose their signs, a quaternion that rounding made longer than 1 is 1
    long, qfac is 1 or -1.
    """
    mended = raw.copy()
    mended["pixdim"][1:4] = np.abs(raw["pixdim"][1:4])
    mended["pixdim"][0] = -1 if raw["pixdim"][0] < 0 else 1
    flat = [axis for axis, length in enumerate(shape[:3]) if length == 1]
    filled = [axis for axis in flat if not _is_size(mended["pixdim"][axis + 1])]
    for axis in filled:
        mended["pixdim"][axis + 1] = sizes[axis]
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
        meant = 0 if code < 0 else ALIGNED
        remarks.append(
            Remark(f"has the {name} code {code}, which means nothing and is taken as {meant}", CORRECT_HEADER)
        )
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


def _filled_remarks(stored: np.ndarray, filled: Sequence[int]) -> list[Remark]:
    if not len(filled):
        return []
    problem = f"declares voxels of {size_text(stored)} mm; 1 mm is assumed along the axis of one voxel"
    return [Remark(problem, "correct its header, if that matters")]


def _sign_remarks(stored: np.ndarray) -> list[Remark]:
    if not (stored < 0).any():
        return []
    return [Remark(f"declares voxels of {size_text(stored)} mm; they are taken without their signs", CORRECT_HEADER)]


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


def _place_remarks(used: Affine, qform: Affine | None, sform: Affine | None, shape: Sequence[int]) -> list[Remark]:
    if qform is None and sform is None:
        return [unplaced(used)]
    if qform is None or sform is None:
        return []
    distance = displacement_mm(sform, qform, (*shape, 1, 1)[:3])
    if distance <= FAR_APART * spacing(used).min():
        return []
    problem = f"its qform and sform put voxels up to {distance:.1f} mm apart; the sform is used"
    return [Remark(problem, "if a viewer shows it elsewhere, keep the right one in its header")]


def unplaced(affine: Affine) -> Remark:
    """What to say of a file that tells the sizes of its voxels only."""
    problem = f"does not say how it lies (qform and sform codes are 0); the axes {axis_codes(affine)} are assumed"
    return Remark(problem, "check left and right in a viewer")


def _unit_remarks(unit: str, used: np.ndarray) -> list[Remark]:
    remarks = []
    if unit not in ("mm", "unknown"):
        problem = f"gives its geometry in the unit {unit}; in mm its voxels are {size_text(used)}"
        remarks.append(Remark(problem, "correct the unit in its header if that is not so"))
    if used.min() < LIKELY_MM[0] or used.max() > LIKELY_MM[1]:
        problem = f"has voxels of {size_text(used)} mm, which no scanner for people produces"
        remarks.append(Remark(problem, "correct the unit or the voxel size in its header", suspect=True))
    return remarks
