"""The ``dataset.json`` of the Medical Segmentation Decathlon and of nnU-Net, versions 1 and 2.

Decathlon and nnU-Net 1 list the training scans and map value to structure; nnU-Net 2 maps structure to value and names
its files by the ending in ``file_ending``. In nnU-Net, ``<case>_0000`` is the first channel of a case. Nothing in them
says who was scanned: every case counts as a subject, so list the scans in a table where subjects were scanned twice.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from ankleseg.cohorts.case import Case, Cohort, Reference
from ankleseg.errors import CohortError

BACKGROUND = "background"
DEFAULT_ENDING = ".nii.gz"


def load_decathlon(file: Path) -> Cohort:
    """List the training cases that a ``dataset.json`` describes.

    Raises:
        CohortError: not such a file, labels that are regions, or no training scans beside it.
    """
    try:
        description = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CohortError(f"cannot be read as JSON ({error})", file=file, mend="correct the file") from None
    if not isinstance(description, dict) or not isinstance(description.get("labels"), dict):
        raise CohortError("has no 'labels'", file=file, mend="describe the dataset as nnU-Net or the Decathlon do")
    values = _label_values(file, description["labels"])
    listed = description.get("training")
    cases = _listed_cases(file, listed, values) if listed else _found_cases(file, description, values)
    return Cohort(file.parent, tuple(cases), tuple(sorted(values, key=values.__getitem__)))


def _label_values(file: Path, labels: dict[str, Any]) -> dict[str, int]:
    """Return the value of each structure, whichever way the mapping goes."""
    values = {}
    for key, entry in labels.items():
        name, value = (entry, key) if key.isdecimal() else (key, entry)
        if not isinstance(name, str) or isinstance(value, list) or not str(value).isdecimal():
            raise CohortError(
                f"gives the label {key!r} as {entry!r}",
                file=file,
                mend="give every structure one whole number, no regions",
            )
        if int(value) != 0 and name != BACKGROUND:
            values[name] = int(value)
    return values


def _listed_cases(file: Path, listed: list[Any], values: dict[str, int]) -> list[Case]:
    cases = []
    for entry in listed:
        if not isinstance(entry, dict) or not {"image", "label"} <= entry.keys():
            raise CohortError(f"lists the training scan {entry!r}", file=file, mend="give it an image and a label")
        image, label = file.parent / entry["image"], file.parent / entry["label"]
        name, ending = _split_ending(label)
        images = (image,) if image.exists() else tuple(_channels(image.parent, name, ending)) or (image,)
        cases.append(_case(name, images, label, values))
    return cases


def _found_cases(file: Path, description: dict[str, Any], values: dict[str, int]) -> list[Case]:
    ending = str(description.get("file_ending", DEFAULT_ENDING))
    channels = len(description.get("channel_names", {})) or 1
    labels = sorted((file.parent / "labelsTr").glob(f"*{ending}"))
    if not labels:
        raise CohortError(
            f"lists no training scans, and there are no labelsTr/*{ending}", file=file, mend="check file_ending"
        )
    cases = []
    for label in labels:
        name = label.name.removesuffix(ending)
        images = [file.parent / "imagesTr" / f"{name}_{channel:04d}{ending}" for channel in range(channels)]
        cases.append(_case(name, tuple(images), label, values))
    return cases


def _case(name: str, images: tuple[Path, ...], label: Path, values: dict[str, int]) -> Case:
    references = {structure: Reference(label, value) for structure, value in values.items()}
    return Case(name=name, subject=name, images=images, references=references)


def _channels(folder: Path, name: str, ending: str) -> list[Path]:
    pattern = re.compile(re.escape(name) + r"_\d{4}" + re.escape(ending))
    return sorted(file for file in folder.glob(f"{name}_*{ending}") if pattern.fullmatch(file.name))


def _split_ending(file: Path) -> tuple[str, str]:
    ending = DEFAULT_ENDING if file.name.endswith(DEFAULT_ENDING) else file.suffix
    return file.name.removesuffix(ending), ending
