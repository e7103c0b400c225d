"""Bone masks as drawn by people and exported by programs, brought to 0 and 1 on the grid of the static scan."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Shaped

from ankleseg.cohorts import Reference
from ankleseg.errors import FileError
from ankleseg.volumes import (
    Finding,
    Header,
    Verdict,
    Volume,
    check_grid,
    on_grid_of,
    read_volume,
    with_header_of,
    without_selection,
)

HALF_OF_ONE, HALF_OF_BYTE = 0.5, 127.5
RINGING = 0.5  # how far an interpolating spline may leave 0 and 1


def read_bone(
    reference: Reference, image: Header, *, copy_headers: bool, resample_masks: bool
) -> tuple[Bool[np.ndarray, "x y z"] | None, list[Finding]]:
    """Read a bone on the grid of the static scan, and say what was wrong with its file.

    Args:
        reference: the mask, or the label map and its value.
        image: header of the static scan.
        copy_headers: take a mask of equal shape as drawn on the scan, whatever its header says.
        resample_masks: bring a mask on another grid of the same field of view to the scan, nearest neighbour.

    Returns:
        The mask, None where it cannot be used, and the findings.
    """
    path = Path(reference.path)
    if not without_selection(path).exists():
        return None, [Finding(path, Verdict.MISSING, "does not exist", "copy it, or correct its path")]
    try:
        volume = read_volume(path, dtype=None)
    except FileError as error:
        return None, [Finding(path, Verdict.UNREADABLE, error.problem, error.mend or "")]
    mask, findings = _binarised(path, volume.data, reference.value)
    if mask is None:
        return None, findings
    bone = Volume(mask, volume.affine, volume.header)
    for finding in check_grid(path, image):
        if finding.verdict is Verdict.HEADER_COPY and copy_headers:
            bone = with_header_of(bone, image)
            finding = replace(finding, mend="the header of the scan was taken; copy_headers=false refuses the mask")
        elif finding.verdict is Verdict.RESAMPLE and resample_masks:
            bone = on_grid_of(bone, image)
            finding = replace(finding, mend="it was resampled; resample_masks=false refuses the mask")
        else:
            return None, [*findings, finding]
        findings.append(finding)
    if not bone.data.any():
        return None, [*findings, Finding(path, Verdict.MISSING, "is empty", "draw the bone, or leave it out by bones=")]
    return bone.data, findings


def _binarised(
    path: Path, data: Shaped[np.ndarray, "x y z"], value: int | None
) -> tuple[Bool[np.ndarray, "x y z"] | None, list[Finding]]:
    """Voxels of the structure: of a label map those of its value, of a mask what `as_mask` says."""
    if value is not None:
        if np.issubdtype(data.dtype, np.floating) and not np.array_equal(data, np.rint(data)):
            mend = "save whole numbers, e.g. by nearest neighbour"
            return None, [Finding(path, Verdict.UNREADABLE, "is no label map: it holds fractions", mend)]
        return data == value, []
    mask, threshold = as_mask(data)
    if mask is None:
        problem = f"is not a mask: its values go from {data.min():g} to {data.max():g}"
        return None, [Finding(path, Verdict.UNREADABLE, problem, "make it 0 and 1, or use it as a label map")]
    if threshold is None:
        return mask, []
    problem = f"is not binary: its values go from {data.min():.3g} to {data.max():.3g}"
    return mask, [Finding(path, Verdict.OK, problem, f"{threshold:g} and more were taken as the bone")]


def as_mask(data: Shaped[np.ndarray, "x y z"]) -> tuple[Bool[np.ndarray, "x y z"] | None, float | None]:
    """Return the voxels of a structure in a mask of any convention, and the threshold that was needed.

    One positive value beside 0, whichever it is (1, 255, …), needs no threshold. Fractions around 0 to 1, as
    interpolation leaves them, are cut at 0.5; whole numbers from 0 to 255 at 127.5. Anything else is no mask: None.
    """
    low, top = data.min(), data.max()
    if low >= 0 and ((data == 0) | (data == top)).all():
        return data > 0, None
    whole = np.issubdtype(data.dtype, np.integer) or np.array_equal(data, np.rint(data))
    if whole and low == 0 and top == 255:
        return data > HALF_OF_BYTE, HALF_OF_BYTE
    if not whole and low >= -RINGING and 1 - RINGING <= top <= 1 + RINGING:
        return data >= HALF_OF_ONE, HALF_OF_ONE
    return None, None
