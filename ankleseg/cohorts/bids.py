"""BIDS folders: images under ``sub-*/[ses-*/]anat``, masks under ``derivatives``, groups and sides in a table.

Dynamic sequences are the 4-D files ``sub-*/[ses-*/]dyn/*_dynamic``.

Masks are ``derivatives/<pipeline>/sub-*/[ses-*/]anat/*_label-<structure>_mask.nii.gz``. Label maps are
``*_dseg.nii.gz`` there, with a table ``*_dseg.tsv`` beside them, or one ``dseg.tsv`` for the pipeline, that names their
values in the columns ``index`` and ``name``.
"""

from __future__ import annotations

import re
from pathlib import Path

from ankleseg.cohorts.case import Case, Cohort, Reference, known_text, parse_side
from ankleseg.cohorts.sequences import IMAGE_ENDINGS, sequences_in, stem
from ankleseg.cohorts.table import read_rows
from ankleseg.errors import CohortError

MANUAL = "manual"  # the pipeline that is believed where several name one structure
PREFERRED_SUFFIX = "T1w"


def load_bids(root: Path, *, suffix: str | None = None, acquisition: str | None = None, strict: bool = True) -> Cohort:
    """List the cases of a BIDS folder, one a session.

    ``participants.tsv`` may give a ``group`` and a ``side``.

    Args:
        suffix: of the images, such as ``T2w``; None takes the only image of a session, or its only ``T1w``.
        acquisition: label of the images, ``thick`` for ``*_acq-thick_*``; None takes the image without one where there
            is such an image.
        strict: refuse the folder for what is wrong with one session; else the session keeps it as its problem, and
            so does a participant without a folder.

    Raises:
        CohortError: a session without one clear image, a structure segmented by two pipelines, or an unreadable table.
    """
    participants = _participants(root)
    cases = []
    folders = sorted(folder for folder in root.glob("sub-*") if folder.is_dir())
    for subject in folders:
        row = participants.get(subject.name, {})
        sessions = sorted(folder for folder in subject.glob("ses-*") if folder.is_dir()) or [subject]
        for session in sessions:
            try:
                cases.append(_case(root, subject.name, session, row, suffix, acquisition))
            except CohortError as problem:
                if strict:
                    raise
                name = "_".join(session.relative_to(root).parts)
                masks = _clear_references(root, session.relative_to(root))
                cases.append(
                    Case(name, subject.name, (), references=masks, group=known_text(row.get("group")), problem=problem)
                )
    if not strict:
        found = {folder.name for folder in folders}
        absent = [name for name in participants if name.startswith("sub-") and name not in found]
        cases += [_absent(root / name, participants[name]) for name in absent]
    structures = sorted({structure for case in cases for structure in case.references})
    return Cohort(root, tuple(cases), tuple(structures))


def _case(
    root: Path, subject: str, session: Path, row: dict[str, str], suffix: str | None, acquisition: str | None
) -> Case:
    return Case(
        name="_".join(session.relative_to(root).parts),
        subject=subject,
        images=(_image(session / "anat", suffix, acquisition),),
        references=_references(root, session.relative_to(root)),
        group=known_text(row.get("group")),
        side=parse_side(row.get("side"), root / "participants.tsv", subject),
        sequences=sequences_in(session / "dyn"),
    )


def _absent(folder: Path, row: dict[str, str]) -> Case:
    mend = "copy its scans, or remove its row from participants.tsv"
    problem = CohortError("does not exist", file=folder, mend=mend)
    return Case(folder.name, folder.name, (), group=known_text(row.get("group")), problem=problem)


def _participants(root: Path) -> dict[str, dict[str, str]]:
    table = root / "participants.tsv"
    if not table.is_file():
        return {}
    rows = read_rows(table)
    if rows and "participant_id" not in rows[0]:
        raise CohortError("has no column participant_id", file=table, mend="name its first column participant_id")
    return {row["participant_id"]: row for row in rows}


def _images(folder: Path) -> list[Path]:
    return sorted(file for file in folder.glob("*") if file.name.endswith(IMAGE_ENDINGS))


def _suffix(file: Path) -> str:
    return stem(file).rsplit("_", 1)[-1]


def _entity(file: Path, key: str) -> str | None:
    """Value of an entity in a file's name; it ends at the next entity or the suffix, and may hold underscores."""
    found = re.search(rf"(?:^|_){key}-(.+?)(?=_[a-zA-Z0-9]+-|_[^_]*$)", stem(file))
    return None if found is None else found[1]


def _image(folder: Path, suffix: str | None, acquisition: str | None) -> Path:
    images = [file for file in _images(folder) if _suffix(file) not in ("mask", "dseg")]
    found = {_suffix(file) for file in images}
    if suffix is None and PREFERRED_SUFFIX in found:
        suffix = PREFERRED_SUFFIX
    kinds = [file for file in images if suffix is None or _suffix(file) == suffix]
    fitting = [file for file in kinds if _entity(file, "acq") == acquisition]
    if not fitting and acquisition is None:
        fitting = kinds
    if len(fitting) == 1:
        return fitting[0]
    asked = " ".join(word for word in (acquisition and f"acq-{acquisition}", suffix) if word)
    if not images:
        raise CohortError("holds no image", file=folder, mend="add the scan, or remove the subject's folder")
    names = ", ".join(file.name for file in images)
    raise CohortError(
        f"holds {len(fitting)} {asked + ' ' if asked else ''}images where one is needed: {names}",
        file=folder,
        mend="choose one by its suffix and acquisition, or list the scans in a table",
    )


def _references(root: Path, session: Path) -> dict[str, Reference]:
    """Return the structures segmented for a session by any pipeline; the manual one is believed first."""
    found: dict[str, Reference] = {}
    pipelines = sorted(root.glob("derivatives/*/"), key=lambda folder: (folder.name != MANUAL, folder.name))
    for pipeline in pipelines:
        for structure, reference in _pipeline_references(pipeline, session).items():
            first = found.setdefault(structure, reference)
            if first is not reference and first.path.relative_to(root).parts[1] != MANUAL:
                raise CohortError(
                    f"has two segmentations of {structure}: {first.path.relative_to(root)} and "
                    f"{reference.path.relative_to(root)}",
                    file=root,
                    mend=f"put the one to believe under derivatives/{MANUAL}",
                )
    return found


def _clear_references(root: Path, session: Path) -> dict[str, Reference]:
    """The segmentations of a session without one clear image: volumes need no image."""
    try:
        return _references(root, session)
    except CohortError:
        return {}


def _pipeline_references(pipeline: Path, session: Path) -> dict[str, Reference]:
    found: dict[str, Reference] = {}

    def add(structure: str, reference: Reference) -> None:
        if structure in found:
            raise CohortError(
                f"holds two segmentations of {structure}: {found[structure].path.name} and {reference.path.name}",
                file=reference.path.parent,
                mend="keep one",
            )
        found[structure] = reference

    for file in _images(pipeline / session / "anat"):
        structure = _entity(file, "label")
        if _suffix(file) == "mask" and structure:
            add(structure, Reference(file))
        elif _suffix(file) == "dseg":
            for name, value in _label_values(pipeline, file).items():
                add(name, Reference(file, value))
    return found


def _label_values(pipeline: Path, file: Path) -> dict[str, int]:
    """Return the value of each structure in a label map."""
    table = file.with_name(f"{stem(file)}.tsv")
    if not table.is_file():
        table = pipeline / "dseg.tsv"
    if not table.is_file():
        raise CohortError(
            "comes without a table that names its labels",
            file=file,
            mend=f"add {stem(file)}.tsv with the columns index and name",
        )
    rows = read_rows(table)
    try:
        values = {row["name"]: int(row["index"]) for row in rows}
    except (KeyError, ValueError):
        raise CohortError(
            "does not name labels", file=table, mend="give it the columns index (a whole number) and name"
        ) from None
    return {name: value for name, value in values.items() if value != 0}
