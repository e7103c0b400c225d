"""Bone masks as drawn by people and exported by programs, brought to 0 and 1 on the grid of the static scan."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from jaxtyping import Bool

from ankleseg.cohorts import Reference
from ankleseg.errors import FileError
from ankleseg.volumes import (
    Finding,
    Header,
    Verdict,
    check_grid,
    header_remarks,
    missing_file,
    on_grid_of,
    read_mask,
    with_header_of,
)


def read_bone(
    reference: Reference,
    image: Header,
    *,
    used: Sequence[int | str] | None = None,
    copy_headers: bool,
    resample_masks: bool,
) -> tuple[Bool[np.ndarray, "x y z"] | None, list[Finding]]:
    """Read a bone on the grid of the static scan, and say what was wrong with its file.

    Args:
        reference: the mask, or the label map and its value.
        image: header of the static scan.
        used: all the values of the label map that are used, as of `read_mask`.
        copy_headers: take a mask of equal shape as drawn on the scan, whatever its header says.
        resample_masks: bring a mask on another grid of the same field of view to the scan, nearest neighbour.

    Returns:
        The mask, None where it cannot be used, and the findings.
    """
    path = Path(reference.path)
    if error := missing_file(path):
        return None, [Finding.of(error, Verdict.MISSING, path)]
    try:
        bone = read_mask(path, value=reference.value, used=used)
    except FileError as error:
        return None, [Finding.of(error, Verdict.UNREADABLE, path)]
    if not bone.data.any():
        return None, [Finding(path, Verdict.MISSING, "is empty", "draw the bone, or leave it out by bones=")]
    findings = header_remarks(bone.header)
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
    return bone.data, findings
