"""Which manual segmentations under ``derivatives`` belong to an image, and what of the rest is passed over."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ankleseg.cohorts.case import Reference
from ankleseg.cohorts.entities import BidsName, parse_name, same_value
from ankleseg.cohorts.files import folders_in, images_in, is_given, named, read_json, stem
from ankleseg.cohorts.names import listed, whole_number
from ankleseg.cohorts.spreadsheets import read_rows
from ankleseg.errors import CohortError, FileError
from ankleseg.volumes import is_segmentation_name, read_segments

MANUAL = "manual"  # the pipeline that is believed where several name one structure
DERIVATIVES = "derivatives"
MAP = "dseg"  # a label map
CORD = ("seg", "gmseg", "wmseg", "lesion")  # masks of the Spinal Cord Toolbox, which need no label- in their names
NO_MASKS = (
    "dlabel",
    "probseg",
    "softseg",
    "probability",
    "centerline",
    "rootlets",
    "levels",
    "T1w",
    "T2w",
    "warp",
    "xfm",
)
SOURCE = "sub ses acq ce rec dir run echo part chunk inv flip mt trc sample task".split()  # of the image
TEMPLATES = re.compile(r"MNI|PAM50|fsaverage|fsLR|Talairach|template|SUIT|OASIS|UNCInfant|AMU", re.IGNORECASE)
INDEX_COLUMNS = ("index", "value", "id", "label")
NAME_COLUMNS = ("name", "structure", "label_name", "label name", "labelname")
JSON_KEYS = ("LabelMap", "Labels", "labels", "LabelNames")

NO_TABLE, NO_MASK = "table", "other"


@dataclass(frozen=True)
class Passed:
    """A file under ``derivatives`` that is passed over, by kind: a label map without ``table``, or ``other``."""

    kind: str
    path: Path


@dataclass(frozen=True)
class Segmentations:
    """What was found for a session.

    Attributes:
        references: the structures segmented on the chosen image.
        elsewhere: files of structures that are segmented on other images of the session only.
        passed: files that are no masks of a named structure.
    """

    references: Mapping[str, Reference]
    elsewhere: Mapping[str, Path]
    passed: tuple[Passed, ...]


def segmentations(root: Path, place: Path, image: Path | None, images: Sequence[Path]) -> Segmentations:
    """Find what any pipeline segmented on an image; the manual one is believed first.

    Args:
        root: folder of the cohort.
        place: of the session in it, ``sub-*/[ses-*]``.
        image: that was chosen; None takes segmentations of any image.
        images: all of the session.

    Raises:
        CohortError: two pipelines segmented one structure, or a table of labels that names none.
    """
    found: dict[str, Reference] = {}
    other: dict[str, Path] = {}
    passed: list[Passed] = []
    chosen = None if image is None else parse_name(image)
    siblings = [parse_name(sibling) for sibling in images if sibling != image]
    for pipeline in _pipelines(root):
        here: dict[str, tuple[Reference, bool]] = {}
        for file in _files(pipeline, place):
            name = parse_name(file)
            told = _structures(pipeline, file, name, passed)
            if chosen is not None and not _belongs(name, chosen, siblings):
                other.update({structure: file for structure in told if structure not in other})
                continue
            for structure, reference in told.items():
                _add(here, structure, reference, name.manual)
        for structure, (reference, _) in here.items():
            first = found.setdefault(structure, reference)
            if first is not reference and first.path.relative_to(root).parts[1] != MANUAL:
                raise CohortError(
                    f"has two segmentations of {structure}: {first.path.relative_to(root)} and "
                    f"{reference.path.relative_to(root)}",
                    file=root,
                    mend=f"put the one to believe under {DERIVATIVES}/{MANUAL}",
                )
    return Segmentations(found, {name: file for name, file in other.items() if name not in found}, tuple(passed))


def misplaced(root: Path, places: Sequence[Path]) -> list[Path]:
    """Return the masks that lie where no scan is: right in a pipeline's folder, or beside the sessions of a subject."""
    above = {Path(), *(place.parent for place in places)} - set(places)
    return [
        file
        for pipeline in _pipelines(root)
        for place in sorted(above)
        for file in _files(pipeline, place)
        if parse_name(file).entities.get("label") or parse_name(file).suffix.lower() in (*CORD, MAP)
    ]


def passed_remarks(root: Path, passed: Sequence[Passed]) -> list[str]:
    """Return a line for each pipeline and kind of files that were passed over."""
    remarks = []
    kinds: dict[tuple[Path, str], list[Path]] = {}
    for entry in passed:
        kinds.setdefault((root / Path(*entry.path.relative_to(root).parts[:2]), entry.kind), []).append(entry.path)
    for (folder, kind), paths in kinds.items():
        files = list(dict.fromkeys(paths))
        if kind == NO_TABLE and len(files) == 1:
            remarks.append(
                f"{files[0]}: comes without a table that names its labels and is passed over; "
                f"add {stem(files[0])}.tsv with the columns index and name"
            )
        elif kind == NO_TABLE:
            remarks.append(
                f"{folder}: {len(files)} label maps come without a table that names their labels and are passed over "
                f"({listed([file.name for file in files])}); add dseg.tsv there with the columns index and name"
            )
        else:
            remarks.append(
                f"{folder}: {len(files)} files are passed over, which by their names are points, probabilities, in the "
                f"space of a template, or of no structure ({listed([file.name for file in files])}); "
                "name a mask *_label-<structure>_mask"
            )
    return remarks


def _pipelines(root: Path) -> list[Path]:
    """The folders of the pipelines; masks may also lie right under ``derivatives``."""
    derivatives = root / DERIVATIVES
    folders = [folder for folder in folders_in(derivatives) if not folder.name.lower().startswith("sub-")]
    folders.sort(key=lambda folder: (folder.name != MANUAL, folder.name))
    return [*folders, derivatives] if folders_in(derivatives, "sub-") else folders


def _files(pipeline: Path, place: Path) -> list[Path]:
    return images_in(named(pipeline / place, "anat")) or images_in(pipeline / place)


def _add(here: dict[str, tuple[Reference, bool]], structure: str, reference: Reference, manual: bool) -> None:
    """Take a segmentation; what is called manual goes before what is not."""
    if structure in here and here[structure][1] == manual:
        raise CohortError(
            f"holds two segmentations of {structure}: {here[structure][0].path.name} and {reference.path.name}",
            file=reference.path.parent,
            mend="keep one",
        )
    if structure not in here or manual:
        here[structure] = (reference, manual)


def _structures(pipeline: Path, file: Path, name: BidsName, passed: list[Passed]) -> dict[str, Reference]:
    """The structures in a file by their references; none where it is passed over."""
    label = name.entities.get("label")
    if TEMPLATES.search(name.entities.get("space", "")):
        passed.append(Passed(NO_MASK, file))
    elif name.suffix.lower() == MAP:
        values = _label_values(pipeline, file)
        if values is not None:
            return {structure: Reference(file, value) for structure, value in values.items()}
        passed.append(Passed(NO_TABLE, file))
    elif label and name.suffix not in NO_MASKS:
        return {label: Reference(file)}
    elif name.suffix.lower() in CORD and "desc" not in name.entities:
        return {name.suffix.lower(): Reference(file)}
    else:
        passed.append(Passed(NO_MASK, file))
    return {}


def _belongs(mask: BidsName, image: BidsName, siblings: Sequence[BidsName]) -> bool:
    """Tell whether a mask may be of an image: its name contradicts it in nothing, and fits no other image better."""
    if mask.contrasts and not any(same_value(contrast, image.suffix) for contrast in mask.contrasts):
        return False
    for key in SOURCE:
        theirs, own = mask.entities.get(key), image.entities.get(key)
        if theirs is None or same_value(theirs, own):
            continue
        if own is not None or any(same_value(theirs, sibling.entities.get(key)) for sibling in siblings):
            return False
    return True


def _label_values(pipeline: Path, file: Path) -> Mapping[str, int | str] | None:
    """The value of each structure in a label map by its table or sidecar, None without one; Slicer's name themselves.

    Raises:
        CohortError: a table without the columns, or with an index that is no number.
    """
    if is_segmentation_name(file):
        try:
            return {segment.name: segment.name for segment in read_segments(file)}
        except FileError as error:
            raise CohortError(error.problem, file=file, mend=error.mend) from None
    table = next(
        (path for path in (file.with_name(f"{stem(file)}.tsv"), pipeline / "dseg.tsv") if is_given(path)), None
    )
    if table is None:
        return _json_values(file.with_name(f"{stem(file)}.json"))
    rows = read_rows(table, lower=True)
    index = next((column for column in INDEX_COLUMNS if column in rows[0]), "")
    name = next((column for column in NAME_COLUMNS if column in rows[0]), "")
    values = {row.get(name, ""): whole_number(row.get(index, "")) for row in rows}
    if not index or not name or None in values.values():
        raise CohortError(
            "does not name labels", file=table, mend="give it the columns index (a whole number) and name"
        )
    return {name: value for name, value in values.items() if value and name}


def _json_values(sidecar: Path) -> dict[str, int] | None:
    if not is_given(sidecar):
        return None
    content = read_json(sidecar)
    found: dict[str, object] = next(
        (content[key] for key in JSON_KEYS if isinstance(content, dict) and isinstance(content.get(key), dict)), {}
    )
    values = {}
    for key, entry in found.items():
        name, value = (entry, whole_number(key)) if whole_number(key) is not None else (key, whole_number(str(entry)))
        if isinstance(name, str) and value:
            values[name] = value
    return values or None
