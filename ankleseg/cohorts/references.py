"""Reading what is known of a case: the one place of the cohorts that sees voxels."""

from __future__ import annotations

from ankleseg.cohorts.case import Case
from ankleseg.volumes import Volume, read_mask


def read_reference(case: Case, structure: str) -> Volume:
    """Read the manual segmentation of a structure of a case, bool (X, Y, Z), on its own grid; see `read_mask`.

    Args:
        case: one that has a reference of the structure; of a frame, that frame is read.
        structure: name.

    Raises:
        FileError: what `read_mask` refuses.
    """
    reference = case.references[structure]
    used = case.masks[reference.path]
    return read_mask(reference.path, value=reference.value, frame=case.frame_in_files, used=used)
