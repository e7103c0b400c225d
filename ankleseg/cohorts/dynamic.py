"""A folder of registered sequences as a cohort: every frame is a case, its references are the registered masks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from ankleseg.cohorts.case import Case, Cohort, Reference, announced
from ankleseg.cohorts.files import folders_in, visible
from ankleseg.cohorts.participants import TABLE, People, read_people
from ankleseg.cohorts.prepared import is_prepared
from ankleseg.cohorts.registrations import GLOBAL, SUFFIX, Registration, read_registrations
from ankleseg.cohorts.sources import load_cohort
from ankleseg.errors import CohortError

SUBJECT = "subject"  # column of who was scanned, where the folders of a derivative are named after cases


def is_dynamic(root: str | Path) -> bool:
    """Tell whether a folder holds registered sequences."""
    return bool(_registered(Path(root)))


def _registered(root: Path) -> list[Path]:
    return visible(root.glob(f"sub-*/**/dyn/*{SUFFIX}"))


def load_dynamic(
    root: str | Path, *, structures: Sequence[str] | None = None, with_static: bool = False, with_suspect: bool = True
) -> Cohort:
    """List the frames of registered sequences as cases; of a prepared cohort, those that it holds.

    A bone whose registration failed is ``unknown`` on that frame: it is there, but nobody knows where. A frame on
    which no bone is known is left out. All frames of a subject stay together in every split.

    Args:
        root: folder written by ``ankleseg.prepare recipe=ankle_dynamic``, with ``sub-*/[ses-*/]dyn/*_poses.json`` and
            the 4-D masks ``*_label-<bone>_mask`` beside; or what `ankleseg.data.prepare_cohort` wrote of such a cohort.
        structures: those of interest, in the order of their labels; None or none takes all bones that were registered.
        with_static: list the static scans too.
        with_suspect: believe the masks of suspect registrations; else they are unknown too.

    Raises:
        CohortError: no registered sequences there, an unknown structure, or no frame with a known bone.
        FileError: a file of poses is broken.
    """
    root = Path(root)
    if not root.is_dir():
        raise CohortError("is not a folder", file=root, mend="give the folder of prepared sequences")
    if is_prepared(root):
        return _prepared(root, structures, with_static, with_suspect)
    files = _registered(root)
    if not files:
        raise CohortError(
            "holds no registered sequences", file=root, mend="run ankleseg.prepare recipe=ankle_dynamic first"
        )
    registered = {file: read_registrations(file) for file in files}
    bones = {bone for poses in registered.values() for _, bone in poses if bone != GLOBAL}
    chosen = tuple(structures or sorted(bones))
    for structure in chosen:
        if structure not in bones:
            raise CohortError(
                f"has no registrations of {structure}", file=root, mend=f"choose among {', '.join(sorted(bones))}"
            )
    people = people_of(root)
    cases: list[Case] = []
    for file, poses in registered.items():
        about = about_file(root, file, people)
        cases += _frames(file, poses, about, chosen, with_suspect)
    if with_static:
        for folder in dict.fromkeys(file.parents[1] for file in files):
            cases += _static(folder, about_file(root, folder / "dyn" / "x", people), chosen)
    if not cases:
        raise CohortError("has no frame on which a bone is known", file=root, mend="look at its status.tsv")
    return announced(Cohort(root, tuple(cases), chosen, tuple(people.remarks)))


def _prepared(root: Path, structures: Sequence[str] | None, with_static: bool, with_suspect: bool) -> Cohort:
    if not with_suspect:
        raise CohortError(
            "was prepared already, and does not say which registrations are suspect",
            file=root,
            mend="prepare frames that were listed with_suspect=false, and list them with_suspect=true",
        )
    cohort = load_cohort(root, structures=structures or None)
    known = [case for case in cohort.cases if set(cohort.structures) - set(case.unknown)]
    cases = tuple(case for case in known if case.frame is not None or with_static)
    if not any(case.frame is not None for case in cases):
        raise CohortError("has no frame on which a bone is known", file=root, mend="choose cohort=ankle for its scans")
    return replace(cohort, cases=cases)


def _frames(
    file: Path, poses: dict[tuple[int, str], Registration], about: dict, structures: Sequence[str], with_suspect: bool
) -> list[Case]:
    name = file.name.removesuffix(SUFFIX)
    image = file.with_name(f"{name}_dynamic.nii.gz")
    masks = {bone: file.with_name(f"{name}_label-{bone}_mask.nii.gz") for bone in structures}
    references = {bone: Reference(mask) for bone, mask in masks.items() if mask.is_file()}
    believed = ("ok", "suspect") if with_suspect else ("ok",)
    static = next(iter(_scans(file.parents[1])), None)
    cases = []
    for frame in sorted({frame for frame, _ in poses}):
        found = {bone: poses.get((frame, bone)) for bone in structures}
        known = [
            bone for bone, pose in found.items() if bone in references and pose is not None and pose.status in believed
        ]
        if known:
            cases.append(
                Case(
                    name=f"{name}_frame-{frame:02d}",
                    channels={"dynamic": image},
                    references=references,
                    frame=frame,
                    unknown=tuple(bone for bone in structures if bone not in known),
                    static=static,
                    registrations=file,
                    **about,
                )
            )
    return cases


def _static(folder: Path, about: dict, structures: Sequence[str]) -> list[Case]:
    """The static scan of a subject or session, where it lies there with its masks."""
    cases = []
    for image in _scans(folder)[:1]:
        name = image.name.removesuffix("_T1w.nii.gz")
        masks = {bone: image.with_name(f"{name}_label-{bone}_mask.nii.gz") for bone in structures}
        references = {bone: Reference(mask) for bone, mask in masks.items() if mask.is_file()}
        unknown = tuple(bone for bone in structures if bone not in references)
        if references:
            cases.append(Case(name=name, channels={"T1w": image}, references=references, unknown=unknown, **about))
    return cases


def _scans(folder: Path) -> list[Path]:
    return visible((folder / "anat").glob("*_T1w.nii.gz"))


def about_file(root: Path, file: Path, people: People) -> dict:
    """Subject, group and side of a file below ``sub-*/[ses-*]`` or, as a derivative has it, ``sub-*_ses-*``."""
    folder, *others = file.relative_to(root).parts
    subject, session = _parted(folder)
    session = next((name for name in others if name.startswith("ses-")), session)
    if people.knows(folder, session) and folder != subject:
        group, side = people.about(folder, session)
    else:
        group, side = people.about(subject, session)
        remark = f"{people.table}: has no row for {folder}: its group and side are unknown; add one"
        if people.columns and not people.knows(subject, session) and remark not in people.remarks:
            people.remarks.append(remark)
    row = people.row_of(folder)
    named = row.get(SUBJECT, "") if row is not None else ""
    return {"subject": named if named.startswith("sub-") else subject, "group": group, "side": side}


def _parted(folder: str) -> tuple[str, str | None]:
    subject, mark, session = folder.partition("_ses-")
    return subject, f"ses-{session}" if mark else None


def people_of(root: Path) -> People:
    """The table of the folder, or of the dataset it is a derivative of."""
    names = [folder.name for folder in folders_in(root, "sub-")]
    names = list(dict.fromkeys([*names, *(_parted(name)[0] for name in names)]))
    for folder in (root, *((root.parents[1],) if root.parent.name == "derivatives" else ())):
        if (folder / TABLE).is_file():
            return read_people(root, names, folder / TABLE)
    return read_people(root, names)
