"""What a user may give to predict: a scan, a folder of scans, a DICOM series, a cohort or a table."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from ankleseg.cohorts import Case, load_cohort
from ankleseg.cohorts.brats import is_brats
from ankleseg.cohorts.decathlon import (
    DATASET_FILE,
    by_case,
    channel_names,
    channels_of,
    is_prediction,
    scans_to_predict,
)
from ankleseg.cohorts.files import folders_in, images_in, is_given, stem, visible
from ankleseg.cohorts.names import SIDES, counted, known_name, listed
from ankleseg.cohorts.spreadsheets import TABLES, WORKBOOKS, refuse_workbook
from ankleseg.cohorts.words import channels_of_cases, is_segmentation
from ankleseg.errors import CohortError, FileError
from ankleseg.volumes import IMAGE_ENDINGS, missing_file, selection_suffix, without_selection

SUBJECT = re.compile(r"sub-[A-Za-z0-9]+(?=_|$)")  # at the beginning of the names of BIDS files
TABLE_ENDINGS = (*TABLES, ".json")
LABEL_FOLDERS = ("labelstr", "labelsts", "segmentations", "masks")

log = logging.getLogger(__name__)


def cases_of(
    path: str | Path,
    *,
    group: str | int | Sequence[str | int] | None = None,
    subjects: str | int | Sequence[str | int] | None = None,
    suffix: str | Sequence[str] | None = None,
    acquisition: str | int | None = None,
    select: Mapping[str, object] | None = None,
    side: str | None = None,
    channels: Sequence[str] | None = None,
) -> tuple[Case, ...]:
    """List the cases found at a path.

    Segmentations in a folder of scans, by their names, are passed over, and a line is logged.

    Args:
        path: an image, a DICOM export (a folder or a .zip, with what is chosen of it at the end), a folder of images, a
            cohort folder, or a table.
        group: only the cases of this group, or of these.
        subjects: only these subjects; ``1`` means ``sub-01`` where there is no other.
        suffix: of the images in a BIDS folder with several.
        acquisition: of these images, such as ``thick``; None: those without one.
        select: values of any entities of these images, such as ``{"run": 2}``.
        side: ``left`` or ``right``, of the cases whose side is not told.
        channels: that a network expects; of the four of a BraTS case the others are left out. None takes all.

    Raises:
        FileError: the path does not exist, holds nothing to predict, or is a segmentation by its name.
        CohortError: no case is left by the selection or can be used, a subject is unknown, or two cases have one name.
    """
    path = Path(path)
    if error := missing_file(path):
        raise error
    if side is not None and side.lower() not in SIDES:
        raise CohortError(f"side {side!r} is unknown", mend="choose left or right")
    given = None if side is None else SIDES[side.lower()]
    asked = {"suffix": suffix, "acquisition": acquisition, "select": select}
    cases = _cohort(path, {"channels": channels}) if _is_brats(path) else _found_at(path, asked)
    found = [case if case.side else replace(case, side=given) for case in cases]
    _check_names(found)
    return _selected(path, found, group, subjects)


def _selected(
    path: Path,
    cases: Sequence[Case],
    group: str | int | Sequence[str | int] | None,
    subjects: str | int | Sequence[str | int] | None,
) -> tuple[Case, ...]:
    """The cases of some groups and of some subjects; numbers are names."""
    known = list(dict.fromkeys(case.subject for case in cases))
    groups = sorted({case.group for case in cases if case.group is not None})
    wanted, meant = _known_names(subjects, known, "subject", path), _known_names(group, groups, "group", path)
    kept = tuple(
        case for case in cases if (meant is None or case.group in meant) and (wanted is None or case.subject in wanted)
    )
    if not kept:
        raise CohortError(
            f"none of its {len(cases)} cases is selected",
            file=path,
            mend=f"its groups are {', '.join(groups) or None}, its (first) subjects {', '.join(known[:5])}",
        )
    problems = [case.problem for case in kept if case.problem is not None]
    if len(problems) == len(kept):
        raise problems[0]
    return kept


def _known_names(
    names: str | int | Sequence[str | int] | None, known: Sequence[str], what: str, path: Path
) -> set[str] | None:
    """The names that are meant, None where all are."""
    if names is None:
        return None
    return {known_name(str(name), known, what, path) for name in ([names] if isinstance(names, str | int) else names)}


def _check_names(cases: Sequence[Case]) -> None:
    """Results are named after cases: two of one name would write over each other."""
    first: dict[str, Case] = {}
    for case in cases:
        other = first.setdefault(case.name, case)
        if other is not case:
            raise CohortError(
                f"has the same name as {other.images[0].name}", file=case.images[0], mend="rename one of the two"
            )


def _is_brats(path: Path) -> bool:
    """Tell whether a folder is in the layout of BraTS, and in no other."""
    other = is_prediction(path) or is_given(path / DATASET_FILE) or folders_in(path, "sub-")
    return path.is_dir() and not other and path.name.lower() not in LABEL_FOLDERS and is_brats(path)


def _found_at(path: Path, asked: Mapping[str, object]) -> tuple[Case, ...]:
    if not path.is_dir():
        if path.name.lower().endswith((*TABLE_ENDINGS, *WORKBOOKS)):
            refuse_workbook(path)
            return _cohort(path, asked)
        if is_segmentation(path):
            raise FileError(
                "is a segmentation by its name, not a scan",
                file=path,
                mend="give the scan, or rename the file if it is one",
            )
        return (_single(path, channel_names(path.parent.parent / DATASET_FILE)),)
    if is_prediction(path):
        raise FileError("is a folder of nnU-Net predictions, not of scans", file=path, mend="give the folder of scans")
    if is_given(path / DATASET_FILE):
        return _dataset(path)
    if folders_in(path, "sub-"):
        return _cohort(path, asked)
    images = images_in(path)
    if images:
        return _folder(path, images)
    if any(file.is_file() for file in visible(path.iterdir())):
        return (_single(path),)
    _refuse_empty(path)
    return (_single(path),)


def _cohort(path: Path, asked: Mapping[str, object]) -> tuple[Case, ...]:
    """The cases of a cohort; what is wrong with one of them does not stop the others."""
    cohort = load_cohort(path, **asked, strict=False, prefix="")  # type: ignore[arg-type]
    absent = [case.subject for case in cohort.cases if folders_in(path, "sub-") and not (path / case.subject).is_dir()]
    if absent:
        log.warning(f"{path}: there is no folder for the rows {listed(absent)} of participants.tsv; copy their scans")
    return tuple(case for case in cohort.cases if case.subject not in absent)


def _dataset(path: Path) -> tuple[Case, ...]:
    """The training cases of a Decathlon or nnU-Net dataset, and its scans for prediction."""
    tests = scans_to_predict(path)
    if tests and not (path / "imagesTr").is_dir():
        return tuple(tests)
    training = load_cohort(path, strict=False).cases
    if tests:
        log.warning(
            f"{path}: {len(training)} training cases and {len(tests)} of imagesTs are listed; "
            f"give input={path / 'imagesTs'} for these alone"
        )
    return (*training, *tests)


def _folder(path: Path, images: Sequence[Path]) -> tuple[Case, ...]:
    """The scans of a folder, one a case, or by the channels that nnU-Net numbers."""
    passed = [image for image in images if is_segmentation(image)]
    scans = [image for image in images if image not in passed]
    if path.name.lower() in LABEL_FOLDERS or not scans:
        raise FileError(
            "holds segmentations only, by its name or theirs", file=path, mend="give the folder of the scans"
        )
    if passed:
        log.warning(
            f"{path}: {counted(len(passed), 'segmentation')}, by name, passed over "
            f"({listed([file.name for file in passed])}); rename what is a scan"
        )
    numbered = by_case(scans)
    told = channel_names(path.parent / DATASET_FILE)
    if numbered:
        return tuple(Case(name, name, channels_of(files, told)) for name, files in numbered.items())
    if told:
        return tuple(_single(image, told) for image in scans)
    for case, channels in channels_of_cases(scans).items():
        log.warning(
            f"{path}: {case} has several contrasts ({', '.join(channels)}), which are predicted one by one; "
            "list them in a table with columns image_<channel> if they are channels of one case"
        )
    return tuple(_single(image) for image in scans)


def _refuse_empty(path: Path) -> None:
    """Refuse a folder without any file, or with images in the folders below only.

    Raises:
        FileError: it is one.
    """
    below = [file for file in visible(path.rglob("*")) if file.is_file()]
    below = [file for file in below if not any(part.startswith(".") for part in file.relative_to(path).parts)]
    images = [file for file in below if file.name.lower().endswith(IMAGE_ENDINGS)]
    if not below:
        raise FileError("holds no image", file=path, mend="give a folder of NIfTI, NRRD, MHA or DICOM files")
    if images:
        folders = list(dict.fromkeys(str(file.parent) for file in images))
        raise FileError(
            f"holds no image itself; images are in {listed(folders)}",
            file=path,
            mend="give one of these folders, or a table of the scans",
        )


def _single(path: Path, names: Mapping[int, str] | None = None) -> Case:
    file = without_selection(path)
    name = file.name
    if name.lower().endswith((".zip", ".dcm")):
        name = name[:-4]
    elif name.lower().endswith(IMAGE_ENDINGS):
        name = stem(file)
    name += selection_suffix(path)
    subject = SUBJECT.match(name)
    return Case(name=name, subject=subject[0] if subject else name, channels=channels_of([path], names or {}))
