"""What was predicted: the folder that ``ankleseg.predict`` writes, or what another tool wrote.

Other tools: masks of the same names; label maps with a ``dataset.json``, as nnU-Net writes; a folder a case with a file
a structure, as TotalSegmentator does.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ankleseg.cohorts import Case, Cohort
from ankleseg.cohorts.case import Value
from ankleseg.cohorts.decathlon import DATASET_FILE, label_values
from ankleseg.cohorts.files import folders_in, images_in, is_given, read_json, stem, visible
from ankleseg.errors import FileError

MANIFEST = "predictions.json"
PROTOCOLS = ("tiles", "slices", "patches")
MASK_NAME = re.compile(r"(?P<case>.+)_label-(?P<structure>[^_]+)_mask\.nii(\.gz)?")
PARTS = "segmentations"  # of a case, where TotalSegmentator writes them
SUFFIX = re.compile(r"_(T1w|T2w|T2starw|PDw|FLAIR)\.")
SCANS = ("ct", "mri", "image", "imaging")  # may lie beside

Box = tuple[int, int, int, int, int, int]


@dataclass(frozen=True)
class MaskFile:
    """Where a predicted mask is: a mask, or a label map and the value in it, or the values of a region."""

    path: Path
    value: Value | None = None


@dataclass(frozen=True)
class PredictedCase:
    """One predicted case.

    ``image`` is the scan it was predicted from, ``images`` holds the files of predicted images by name. ``status`` and
    ``message`` are those of the prediction, ``ok`` or not; ``patches`` holds the boxes, in voxels and half open
    (x0, y0, z0, x1, y1, z1), that the patch protocol scores. ``centreline`` is that of the cord, where it was segmented
    along one; ``confidence`` what ``predictions.json`` says of each structure.
    """

    name: str
    masks: Mapping[str, MaskFile]
    group: str | None = None
    side: str | None = None
    image: Path | None = None
    status: str = "ok"
    message: str = ""
    patches: tuple[Box, ...] = ()
    subject: str | None = None
    images: Mapping[str, Path] = field(default_factory=dict)
    centreline: Path | None = None
    confidence: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


@dataclass(frozen=True)
class Predictions:
    """A folder of predictions: masks of ``structures``, and ``images`` by name.

    A ``complete`` one lists all cases that were asked for, also those that failed.
    """

    folder: Path
    structures: tuple[str, ...]
    cases: tuple[PredictedCase, ...]
    mode: str = "volumes"
    window: tuple[int, ...] = ()
    checkpoints: tuple[str, ...] = ()
    complete: bool = False
    images: tuple[str, ...] = ()


def find_protocols(predictions: str | Path | Mapping[str, str | Path]) -> dict[str, Path]:
    """Name the prediction folders to compare; the first is the main one.

    Args:
        predictions: folders by name; or one folder, alone or with sub-folders ``tiles``, ``slices`` and ``patches``
            that each hold a ``predictions.json``.
    """
    if isinstance(predictions, Mapping):
        return {str(name): Path(folder) for name, folder in predictions.items()}
    folder = Path(predictions)
    if not (folder / MANIFEST).exists():
        found = {name: folder / name for name in PROTOCOLS if (folder / name / MANIFEST).exists()}
        if found:
            return found
    return {folder.resolve().name: folder}


def read_predictions(folder: str | Path) -> Predictions:
    """Read what a folder holds: its ``predictions.json``, or without one what the files' names or another tool tell.

    Raises:
        FileError: the folder does not exist, holds no predictions, or its ``predictions.json`` is broken.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise FileError("is not a folder of predictions", file=folder, mend="give the out= of ankleseg.predict")
    path = folder / MANIFEST
    if not is_given(path):
        return _from_names(folder)
    content = read_json(path, FileError, "run ankleseg.predict again")
    try:
        structures = tuple(content["structures"])
        exclusive = () if content.get("regions") else structures  # a label map tells regions inside others in part
        cases = tuple(_case(folder, row, exclusive) for row in content["cases"])
        checkpoint = content.get("checkpoint") or ()
        return Predictions(
            folder,
            structures,
            cases,
            mode=content["mode"],
            window=tuple(content.get("window") or ()),
            checkpoints=(checkpoint,) if isinstance(checkpoint, str) else tuple(checkpoint),
            complete=True,
            images=tuple(content.get("images") or ()),
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        problem = f"lacks {error}" if isinstance(error, KeyError) else f"cannot be understood ({error})"
        raise FileError(problem, file=path, mend="run ankleseg.predict again") from error


def _case(folder: Path, row: Mapping[str, Any], structures: Sequence[str]) -> PredictedCase:
    masks = {name: MaskFile(folder / file) for name, file in row["masks"].items()}
    if row.get("labels"):
        for value, name in enumerate(structures, start=1):
            masks.setdefault(name, MaskFile(folder / row["labels"], value))
    return PredictedCase(
        name=row["case"],
        masks=masks,
        group=row.get("group"),
        side=row.get("side"),
        image=Path(row["image"]) if row.get("image") else None,
        status=row["status"],
        message=row.get("message", ""),
        patches=tuple(_box(row["case"], box) for box in row.get("patches") or ()),
        subject=row.get("subject"),
        images={name: folder / file for name, file in (row.get("images") or {}).items()},
        centreline=folder / row["centreline"] if row.get("centreline") else None,
        confidence={name: dict(said) for name, said in (row.get("confidence") or {}).items()},
    )


def _box(case: str, box: Sequence[int]) -> Box:
    if len(box) != 6:
        raise ValueError(f"a patch of {case} has {len(box)} numbers instead of 6")
    x0, y0, z0, x1, y1, z1 = map(int, box)
    return x0, y0, z0, x1, y1, z1


def _from_names(folder: Path) -> Predictions:
    found = _named_masks(folder) or _label_maps(folder) or _structure_files(folder)
    if not found:
        raise FileError(
            f"holds neither {MANIFEST} nor files named CASE_label-STRUCTURE_mask.nii.gz, nor label maps with a "
            f"{DATASET_FILE} (nnU-Net), nor folders CASE with files STRUCTURE.nii.gz (TotalSegmentator)",
            file=folder,
            mend="give the out= of ankleseg.predict",
        )
    structures = tuple(dict.fromkeys(structure for masks in found.values() for structure in masks))
    return Predictions(folder, structures, tuple(PredictedCase(name, masks) for name, masks in sorted(found.items())))


def _named_masks(folder: Path) -> dict[str, dict[str, MaskFile]]:
    found: dict[str, dict[str, MaskFile]] = {}
    for path in visible(folder.rglob("*_label-*_mask.nii*")):
        name = MASK_NAME.fullmatch(path.name)
        if name:
            found.setdefault(name["case"], {})[name["structure"]] = MaskFile(path)
    order = sorted({structure for masks in found.values() for structure in masks})
    return {case: {name: masks[name] for name in order if name in masks} for case, masks in found.items()}


def _label_maps(folder: Path) -> dict[str, dict[str, MaskFile]]:
    """The cases of a folder that nnU-Net predicted, one a label map; none without its ``dataset.json``.

    Raises:
        CohortError: the labels cannot be understood.
    """
    file = folder / DATASET_FILE
    if not is_given(file):
        return {}
    description = read_json(file)
    if not isinstance(description, dict) or not isinstance(description.get("labels"), dict):
        raise FileError("has no 'labels'", file=file, mend="copy the dataset.json of the training there")
    values = label_values(file, description["labels"])
    ending = str(description.get("file_ending", ""))
    maps = [path for path in images_in(folder) if path.name.endswith(ending)]
    return {stem(path): {name: MaskFile(path, value) for name, value in values.items()} for path in maps}


def _structure_files(folder: Path) -> dict[str, dict[str, MaskFile]]:
    """The cases of a folder with a folder each, and a mask a structure in it."""
    found = {}
    for case in [folder] if (folder / PARTS).is_dir() else folders_in(folder):
        files = images_in(case / PARTS) or images_in(case)
        masks = {stem(path): MaskFile(path) for path in files if stem(path).lower() not in SCANS}
        if masks:
            found[case.resolve().name] = masks
    return found


def case_named(name: str, cohort: Cohort) -> Case | None:
    """Return the case of a name, else the only one whose image has it, as other tools and single scans are named."""
    by_name = [case for case in cohort.cases if case.name == name]
    by_image = [case for case in cohort.cases if any(stem(image) == name for image in case.images)]
    found = by_name or by_image
    return found[0] if len(found) == 1 else None


def input_suffix(predictions: Predictions) -> str | None:
    """Return the BIDS suffix that the names of all inputs end in, such as ``T2w``; None where they have no such one."""
    found = {match[1] if match else None for match in map(_suffix_of, predictions.cases)}
    return found.pop() if len(found) == 1 else None


def _suffix_of(case: PredictedCase) -> re.Match[str] | None:
    return SUFFIX.search(case.image.name) if case.image else None
