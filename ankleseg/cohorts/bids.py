"""BIDS folders: images under ``sub-*/[ses-*/]anat``, masks under ``derivatives``, groups and sides in a table.

Dynamic sequences are the 4-D files ``sub-*/[ses-*/]dyn/*_dynamic``.

Masks are ``derivatives/<pipeline>/sub-*/[ses-*/]anat/*_label-<structure>_mask.nii.gz``, whatever the suffix, and those
that the Spinal Cord Toolbox names ``*_seg``, ``*_gmseg`` and ``*_lesion``. Label maps are ``*_dseg.nii.gz`` there, with
a table ``*_dseg.tsv`` beside them, or one ``dseg.tsv`` for the pipeline, that names their values in the columns
``index`` and ``name``. A mask whose name tells another image than the one chosen is not taken.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ankleseg.cohorts.bids_images import Selection, choose_images
from ankleseg.cohorts.bids_masks import Passed, Segmentations, misplaced, passed_remarks, segmentations
from ankleseg.cohorts.case import Case, Cohort, Reference
from ankleseg.cohorts.entities import parse_name, same_value
from ankleseg.cohorts.files import folders_in, images_in, named
from ankleseg.cohorts.names import known_text, listed
from ankleseg.cohorts.participants import TABLE, People, read_people
from ankleseg.cohorts.sequences import SUFFIX, sequences_in
from ankleseg.cohorts.words import is_segmentation
from ankleseg.errors import CohortError


@dataclass
class Findings:
    """What is to be said of a folder, gathered over its sessions."""

    passed: list[Passed] = field(default_factory=list)
    beside: list[Path] = field(default_factory=list)  # segmentations among the scans
    outside: list[Path] = field(default_factory=list)  # folders whose scans lie outside anat
    without_scan: list[Path] = field(default_factory=list)
    misplaced: list[Path] = field(default_factory=list)  # masks where no scan is
    elsewhere: dict[tuple[str, str], list[str]] = field(default_factory=dict)  # structure and setting: files


def load_bids(root: Path, asked: Selection | None = None, *, strict: bool = True) -> Cohort:
    """List the cases of a BIDS folder, one a session.

    ``participants.tsv`` may give a ``group`` and a ``side``, with a row a subject or a row a session.

    Args:
        asked: which images, one a channel; None takes the only image of a session, or its only ``T1w``.
        strict: refuse the folder for what is wrong with one session; else the session keeps it as its problem, and
            so does a participant without a folder.

    Raises:
        CohortError: a session without one clear image, a structure segmented by two pipelines, an unreadable table, or
            rows that contradict each other.
    """
    asked = asked or Selection()
    subjects = folders_in(root, "sub-")
    people = read_people(root, [folder.name for folder in subjects])
    findings = Findings()
    cases: list[Case] = []
    folders: list[Path] = []
    places: list[tuple[str, str | None]] = []
    for subject in subjects:
        for session in _sessions(subject, findings):
            try:
                cases.append(_case(root, subject.name, session, people, asked, findings))
            except CohortError as problem:
                if strict:
                    raise
                cases.append(_broken(root, subject.name, session, people, problem))
            folders.append(session.relative_to(root))
            places.append((subject.name, _session_of(session, cases[-1].images)))
    findings.misplaced = misplaced(root, folders)
    if not strict:
        cases += [
            _absent(root / _folder_name(name), known_text(row.get("group"))) for name, row in people.absent.items()
        ]
    structures = sorted({structure for case in cases for structure in case.references})
    remarks = [*_people_remarks(people, places, strict), *_remarks(root, findings)]
    return Cohort(root, tuple(cases), tuple(structures), tuple(remarks))


def _sessions(subject: Path, findings: Findings) -> list[Path]:
    """The folders of a subject that hold scans: its sessions, and itself where scans lie beside sessions or in none."""
    sessions = folders_in(subject, "ses-")
    own = _scans(subject) or named(subject, "anat").is_dir()
    found = [*([subject] if own or not sessions else []), *sessions]
    if not own and sessions and sequences_in(named(subject, "dyn")):
        findings.without_scan.append(subject / "dyn")
    without = [place for place in found if not _scans(place) and not named(place, "anat").is_dir()]
    without = [place for place in without if not sequences_in(named(place, "dyn"))]
    if len(without) < len(found):
        findings.without_scan += without
        found = [place for place in found if place not in without]
    return found


def _scans(place: Path) -> list[Path]:
    """The images of a session, in ``anat`` or, where that is missing, right in its folder."""
    found = images_in(named(place, "anat")) or images_in(place)
    return [file for file in found if parse_name(file).suffix != SUFFIX]


def _case(root: Path, subject: str, session: Path, people: People, asked: Selection, findings: Findings) -> Case:
    place = session.relative_to(root)
    files = _scans(session)
    images = [file for file in files if not is_segmentation(file)]
    findings.beside += [file for file in files if is_segmentation(file)]
    sequences = sequences_in(named(session, "dyn"))
    if not images:
        raise CohortError("holds no image", file=named(session, "anat"), mend=_no_image(session, bool(sequences)))
    if images[0].parent == session:
        findings.outside.append(session)
    channels = choose_images(images[0].parent, images, asked)
    for image in channels.values():
        _refuse_misfiled(image, subject, session)
    masks = _segmentations(root, place, tuple(channels.values()), images)
    findings.passed += masks.passed
    for structure, file in masks.elsewhere.items():
        setting = _setting_for(file, tuple(channels.values()), images, asked)
        findings.elsewhere.setdefault((structure, setting), []).append(file.name)
    group, side = people.about(subject, _session_of(session, tuple(channels.values())))
    return Case(
        name="_".join(place.parts),
        subject=subject,
        channels=channels,
        references=masks.references,
        group=group,
        side=side,
        sequences=sequences,
    )


def _segmentations(root: Path, place: Path, channels: Sequence[Path], images: Sequence[Path]) -> Segmentations:
    """What was segmented on any channel; where several name one structure, on the first of them."""
    found = [segmentations(root, place, channel, images) for channel in channels]
    references = {name: reference for one in reversed(found) for name, reference in one.references.items()}
    elsewhere = {name: file for one in found for name, file in one.elsewhere.items() if name not in references}
    return Segmentations(references, elsewhere, found[0].passed)


def _refuse_misfiled(image: Path, subject: str, session: Path) -> None:
    """Refuse an image that names another subject or session than its folder; raises CohortError."""
    entities = parse_name(image).entities
    for key, folder in (("sub", subject), ("ses", session.name)):
        own, lies = entities.get(key), folder.partition("-")[2]
        if own is not None and folder.lower().startswith(f"{key}-") and not same_value(own, lies):
            raise CohortError(
                f"is named after {key}-{own} and lies in the folder of {folder}",
                file=image,
                mend="move it to its folder, or correct its name",
            )


def _no_image(session: Path, moves: bool) -> str:
    if moves:
        return (
            "add the static scan of this visit, or give its sequences in a table (columns image and dynamic_<name>) "
            "beside the scan of another visit"
        )
    if session.name.lower().startswith("ses-"):
        return "add the scan, or move the folder of the session out of the cohort"
    return "add the scan, or remove the subject's folder"


def _setting_for(mask: Path, chosen: Sequence[Path], images: Sequence[Path], asked: Selection) -> str:
    """What chooses the image a mask belongs to; empty where it is not there."""
    name = parse_name(mask)
    for other in images:
        theirs = parse_name(other)
        fits = not name.contrasts or theirs.suffix in name.contrasts
        if other not in chosen and fits and all(theirs.entities.get(k, v) == v for k, v in name.entities.items()):
            return asked.mend(other, images)
    return ""


def _session_of(session: Path, images: Sequence[Path]) -> str | None:
    """The session by its folder, else by the name of the image."""
    if session.name.lower().startswith("ses-"):
        return session.name
    return next((parse_name(image).entities.get("ses") for image in images), None)


def _broken(root: Path, subject: str, session: Path, people: People, problem: CohortError) -> Case:
    """A session that cannot be used, with its segmentations: volumes need no image."""
    place = session.relative_to(root)
    references: dict[str, Reference] = {}
    group = None
    try:
        references = dict(segmentations(root, place, None, ()).references)
        group, _ = people.about(subject, _session_of(session, ()))
    except CohortError:
        pass  # its problem is told already
    return Case("_".join(place.parts), subject, {}, references=references, group=group, problem=problem)


def _folder_name(name: str) -> str:
    return name if name.lower().startswith("sub-") else f"sub-{name}"


def _absent(folder: Path, group: str | None) -> Case:
    problem = CohortError("does not exist", file=folder, mend=f"copy its scans, or remove its row from {TABLE}")
    return Case(folder.name, folder.name, {}, group=group, problem=problem)


def _people_remarks(people: People, places: Sequence[tuple[str, str | None]], strict: bool) -> list[str]:
    remarks = list(people.remarks)
    if people.columns:
        without = [
            "_".join(part for part in (subject, session) if part)
            for subject, session in places
            if not people.knows(subject, session)
        ]
        if without:
            remarks.append(
                f"{people.table}: has no row for {listed(without)}: group and side are unknown, "
                "and nothing is mirrored; add the rows"
            )
        if people.absent and strict:
            remarks.append(
                f"{people.table}: there is no folder for the rows {listed(list(people.absent))}; copy their scans, "
                "correct the names, or remove the rows"
            )
    return remarks


def _remarks(root: Path, findings: Findings) -> list[str]:
    remarks = []
    for (structure, setting), files in findings.elsewhere.items():
        mend = f"choose those images by {setting}" if setting else "rename the masks if they are of the chosen ones"
        remarks.append(
            f"{root}: {structure} is not taken from {listed(files)}, drawn on other images than those chosen; {mend}"
        )
    remarks += passed_remarks(root, findings.passed)
    for paths, problem, mend in (
        (
            findings.beside,
            "are segmentations beside the scans and are passed over",
            "put them under derivatives/manual",
        ),
        (findings.outside, "hold their scans outside a folder anat; they are read all the same", "move them to anat"),
        (findings.misplaced, "lie where no scan is and are passed over", "put them into folders as those of the scans"),
        (findings.without_scan, "are passed over: there is no scan beside", "add one to a folder anat there"),
    ):
        if paths:
            remarks.append(f"{root}: {listed([str(path.relative_to(root)) for path in paths])} {problem}; {mend}")
    return remarks
