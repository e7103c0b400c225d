"""What a user may give to predict: a scan, a folder of scans, a DICOM series, a cohort or a table."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from ankleseg.cohorts import Case, load_cohort
from ankleseg.cohorts.case import SIDES
from ankleseg.errors import CohortError, FileError
from ankleseg.volumes import holds_dicom, selection_suffix, without_selection

IMAGE_ENDINGS = (".nii.gz", ".nii", ".nrrd", ".mha")
SUBJECT = re.compile(r"sub-[A-Za-z0-9]+(?=_|$)")  # at the beginning of the names of BIDS files
TABLE_ENDINGS = (".csv", ".tsv", ".json")


def cases_of(
    path: str | Path,
    *,
    group: str | None = None,
    subjects: Sequence[str] | None = None,
    suffix: str | None = None,
    acquisition: str | None = None,
    side: str | None = None,
) -> tuple[Case, ...]:
    """List the cases found at a path.

    Args:
        path: an image, a DICOM export (a folder or a .zip, with what is chosen of it at the end), a folder of images, a
            cohort folder, or a table.
        group: only the subjects of this group.
        subjects: only these subjects.
        suffix: of the images in a BIDS folder with several.
        acquisition: of these images, such as ``thick``; None: those without one.
        side: ``left`` or ``right``, of the cases whose side is not told.

    Raises:
        FileError: the path does not exist or holds nothing to predict.
        CohortError: no case is left by the selection, or two have one name.
    """
    path = Path(path)
    if not without_selection(path).exists():
        raise FileError("does not exist", file=path, mend="give a scan, a folder or a table")
    if side is not None and side.lower() not in SIDES:
        raise CohortError(f"side {side!r} is unknown", mend="choose left or right")
    given = None if side is None else SIDES[side.lower()]
    found = [case if case.side else replace(case, side=given) for case in _found_at(path, suffix, acquisition)]
    _check_names(found)
    kept = tuple(
        case
        for case in found
        if (group is None or case.group == group) and (subjects is None or case.subject in subjects)
    )
    if not kept:
        groups = ", ".join(sorted({str(case.group) for case in found}))
        first = ", ".join(list(dict.fromkeys(case.subject for case in found))[:5])
        raise CohortError(
            f"none of its {len(found)} cases is selected",
            file=path,
            mend=f"its groups are {groups}, its (first) subjects {first}",
        )
    return kept


def _check_names(cases: Sequence[Case]) -> None:
    """Results are named after cases: two of one name would write over each other."""
    first: dict[str, Case] = {}
    for case in cases:
        other = first.setdefault(case.name, case)
        if other is not case:
            raise CohortError(
                f"has the same name as {other.images[0].name}", file=case.images[0], mend="rename one of the two"
            )


def _found_at(path: Path, suffix: str | None, acquisition: str | None) -> tuple[Case, ...]:
    if not path.exists():
        return (_single(path),)  # one series or echo of it
    if path.is_file():
        if path.name.lower().endswith(TABLE_ENDINGS):
            return load_cohort(path).cases
        return (_single(path),)
    if any(path.glob("sub-*")) or (path / "dataset.json").is_file():
        return load_cohort(path, suffix=suffix, acquisition=acquisition).cases
    images = sorted(p for p in path.iterdir() if p.name.lower().endswith(IMAGE_ENDINGS))
    if images:
        return tuple(_single(image) for image in images)
    if any(p.is_file() for p in path.iterdir()) or holds_dicom(path):
        return (_single(path),)
    raise FileError("holds no image", file=path, mend="give a folder of NIfTI, NRRD, MHA or DICOM files")


def _single(path: Path) -> Case:
    name = without_selection(path).name
    for ending in (*IMAGE_ENDINGS, ".zip", ".dcm"):
        if name.lower().endswith(ending):
            name = name[: -len(ending)]
            break
    name += selection_suffix(path)
    subject = SUBJECT.match(name)
    return Case(name=name, subject=subject[0] if subject else name, images=(path,), references={})
