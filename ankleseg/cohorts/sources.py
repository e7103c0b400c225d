"""Finding the cases of a cohort, whatever way it is laid out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import combinations
from pathlib import Path

from ankleseg.cohorts.bids import load_bids
from ankleseg.cohorts.bids_images import Selection, selection
from ankleseg.cohorts.brats import is_brats, load_brats
from ankleseg.cohorts.case import Case, Cohort, announced, in_order
from ankleseg.cohorts.decathlon import DATASET_FILE, load_decathlon
from ankleseg.cohorts.files import folders_in, images_in, is_given
from ankleseg.cohorts.names import listed, require_known
from ankleseg.cohorts.prepared import is_prepared, load_prepared
from ankleseg.cohorts.spreadsheets import TABLES, refuse_workbook
from ankleseg.cohorts.table import load_table
from ankleseg.errors import CohortError
from ankleseg.volumes import missing_file, not_downloaded, without_selection


def load_cohort(
    root: str | Path,
    *,
    structures: Sequence[str] | None = None,
    channels: Sequence[str] | None = None,
    suffix: str | Sequence[str] | None = None,
    acquisition: str | int | None = None,
    select: Mapping[str, object] | None = None,
    strict: bool = True,
    prefix: str = "cohort.",
) -> Cohort:
    """List the cases of a cohort, and log its remarks.

    Args:
        root: a BIDS folder with derivatives, a .csv or .tsv table, a folder with the ``dataset.json`` of the Decathlon
            or nnU-Net, a BraTS folder, or what ``python -m ankleseg.prepare`` wrote.
        structures: those of interest, in the order of their labels; every case must have them all. None takes what
            there is, which may be nothing.
        channels: those of interest, in their order. Others are left out, and so is a case that lacks one, which is
            named in a remark. None takes what there is.
        suffix: of the images in a BIDS folder that has several kinds, such as ``T1w``; several are the channels of
            a case, such as ``[T1w, ce-gad_T1w, FLAIR]``.
        acquisition: of the images in a BIDS folder that has several of one kind, such as ``thick`` for
            ``*_acq-thick_T2w``; None takes those without one.
        select: values of any entities of these images, such as ``{"run": 2}``; ``none`` takes an image without one.
        strict: refuse the cohort for a file or a structure that one case lacks. A command that judges every case sets
            it to False: the case then names files that do not exist, or has a ``problem``.
        prefix: of ``suffix`` and ``select`` in the command, for the mends it tells.

    Raises:
        CohortError: no cohort there, a table that contradicts itself, and, if strict, a file or a structure missing.
    """
    root = Path(root)
    if error := not_downloaded(root):
        raise CohortError(error.problem, file=root, mend=error.mend)
    if not root.exists():
        raise CohortError("does not exist", file=root, mend="give the folder or table of the cohort")
    asked = selection(suffix, acquisition, select, prefix)
    cohort = _found(root, asked, strict)
    if channels is not None:
        cohort = _with_channels(cohort, tuple(channels), strict)
    if asked.entities and not folders_in(root, "sub-"):
        remark = f"{root}: select and acquisition choose images of BIDS folders only; leave them out"
        cohort = replace(cohort, remarks=(*cohort.remarks, remark))
    cohort = replace(cohort, remarks=(*cohort.remarks, *_groups_alike(cohort), *_hidden(cohort, structures or ())))
    announced(cohort)
    if strict:
        _require_files(cohort)
    return cohort if structures is None else _with_structures(cohort, tuple(structures), strict)


def _groups_alike(cohort: Cohort) -> list[str]:
    alike: dict[str, list[str]] = {}
    for group in cohort.groups:
        alike.setdefault(group.casefold(), []).append(group)
    return [
        f"{cohort.root}: the groups {' and '.join(names)} differ in capitals only; write them alike"
        for names in alike.values()
        if len(names) > 1
    ]


def _hidden(cohort: Cohort, structures: Sequence[str]) -> list[str]:
    """Say which regions are named after a region inside them, and would hide it in label maps."""
    remarks = {}
    for case in cohort.cases:
        told = [(name, set(case.references[name].values)) for name in structures if name in case.references]
        for (inner, few), (outer, many) in combinations(told, 2):
            remarks[inner, outer] = (
                bool(few) and few < many and case.references[inner].path == case.references[outer].path
            )
    return [
        f"{cohort.root}: {outer} holds all of {inner} and hides it in label maps; name {outer} first in structures"
        for (inner, outer), inside in remarks.items()
        if inside
    ]


def _found(root: Path, asked: Selection, strict: bool) -> Cohort:
    refuse_workbook(root)
    if root.suffix.lower() in TABLES:
        return load_table(root, strict=strict)
    if root.suffix.lower() == ".json":
        return load_decathlon(root)
    if is_prepared(root):
        return load_prepared(root)
    if is_given(root / DATASET_FILE):
        return load_decathlon(root / DATASET_FILE)
    if folders_in(root, "sub-"):
        return load_bids(root, asked, strict=strict)
    if is_brats(root):
        return load_brats(root)
    inside = [folder for folder in folders_in(root) if folders_in(folder, "sub-") or is_given(folder / DATASET_FILE)]
    mend = "give a folder of sub-* folders, a .csv or .tsv table, a dataset.json, or a BraTS folder"
    if inside:
        mend = f"give the cohort in it: {listed([str(folder) for folder in inside])}"
    elif images_in(root):
        mend = "list its scans in a .csv table with the columns subject and image"
    raise CohortError("is not a cohort", file=root, mend=mend)


def _with_channels(cohort: Cohort, channels: tuple[str, ...], strict: bool) -> Cohort:
    """A cohort of some channels; a case that lacks one is left out and named, or has a problem if not strict."""
    wanted = {name.casefold() for name in channels}
    cases: list[Case] = []
    refused: list[Case] = []
    for case in cohort.cases:
        kept = {name: path for name, path in case.channels.items() if name.casefold() in wanted}
        try:
            chosen = case if case.problem else in_order(replace(case, channels=kept or case.channels), channels)
        except CohortError as error:
            chosen = replace(case, channels={}, problem=error)
        (refused if chosen.problem else cases).append(chosen)
    if not cases and refused and strict:
        raise next(case.problem for case in refused if case.problem)
    remarks = [f"{cohort.root}: left out: {case.problem}" for case in refused] if strict else []
    return replace(cohort, cases=tuple(cases if strict else (*cases, *refused)), remarks=(*cohort.remarks, *remarks))


def _require_files(cohort: Cohort) -> None:
    for case in cohort.cases:
        for image in case.images:
            _require_file(without_selection(image), f"image of case {case.name}")
        for structure, reference in case.references.items():
            _require_file(reference.path, f"{structure} of case {case.name}")
        for name, sequence in case.sequences.items():
            _require_file(sequence, f"sequence {name} of case {case.name}")


def _require_file(path: Path, what: str) -> None:
    if error := missing_file(path):
        raise CohortError(f"{error.problem}, and should be the {what}", file=path, mend=error.mend)


def _with_structures(cohort: Cohort, structures: tuple[str, ...], strict: bool) -> Cohort:
    for structure in structures:
        require_known(structure, cohort.structures, "structure", cohort.root)
    for case in cohort.cases:
        missing = [structure for structure in structures if structure not in case.references]
        if missing and strict:
            raise CohortError(
                f"has no mask of {', '.join(missing)} for case {case.name}",
                file=cohort.root,
                mend="add it (an empty mask where the structure is absent) or leave the case out",
            )
    return replace(cohort, cases=tuple(_reduced(case, structures) for case in cohort.cases), structures=structures)


def _reduced(case: Case, structures: tuple[str, ...]) -> Case:
    return replace(case, references={name: case.references[name] for name in structures if name in case.references})
