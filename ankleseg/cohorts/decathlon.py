"""The ``dataset.json`` of the Medical Segmentation Decathlon and of nnU-Net, versions 1 and 2.

Decathlon and nnU-Net 1 list the training scans and map value to structure; nnU-Net 2 maps structure to value and names
its files by the ending in ``file_ending``. In nnU-Net, ``<case>_0000`` is the first channel of a case. Nothing in them
says who was scanned: every case counts as a subject, so list the scans in a table where subjects were scanned twice.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ankleseg.cohorts.case import Case, Cohort, Reference
from ankleseg.cohorts.files import images_in, is_given, read_json, stem, visible
from ankleseg.errors import CohortError

BACKGROUND = "background"
DEFAULT_ENDING = ".nii.gz"
DATASET_FILE = "dataset.json"
CHANNEL = re.compile(r"(.+)_(\d{4})")
WRITTEN_BY_PREDICTION = ("predict_from_raw_data_args.json", "plans.json")
TESTS = ("imagesTs", "imagesVal")


def load_decathlon(file: Path) -> Cohort:
    """List the training cases that a ``dataset.json`` describes.

    Raises:
        CohortError: not such a file, labels that are regions, several channels in one file, no training scans beside
            it, or a folder of predictions.
    """
    description = read_json(file)
    if not isinstance(description, dict) or not isinstance(description.get("labels"), dict):
        raise CohortError("has no 'labels'", file=file, mend="describe the dataset as nnU-Net or the Decathlon do")
    if is_prediction(file.parent):
        raise CohortError(
            "is a folder of nnU-Net predictions, not a cohort",
            file=file.parent,
            mend="give it to ankleseg.evaluate as predictions=, and the dataset it was trained on as references=",
        )
    values = label_values(file, description["labels"])
    elsewhere, listed = description.get("dataset"), description.get("training")
    if isinstance(elsewhere, dict) and elsewhere:
        cases = [_entry(file, name, entry, values) for name, entry in elsewhere.items()]
    elif isinstance(listed, list) and listed:
        cases = [_entry(file, None, entry, values) for entry in listed]
        cases = [case for case in cases if visible(case.images)]  # a list made on a Mac may hold the companions ._name
    else:
        cases = _found_cases(file, description, values)
    refuse_channels(file, [case.images[0] for case in cases if len(case.images) == 1])
    return Cohort(file.parent, tuple(cases), tuple(sorted(values, key=values.__getitem__)))


def is_prediction(folder: Path) -> bool:
    """Tell whether a folder is what nnU-Net predicted: label maps with a ``dataset.json``, and no training scans."""
    written = any((folder / name).is_file() for name in WRITTEN_BY_PREDICTION)
    return written and is_given(folder / DATASET_FILE) and not (folder / "imagesTr").is_dir()


def label_values(file: Path, labels: dict[str, Any]) -> dict[str, int]:
    """Return the value of each structure, whichever way the mapping of a ``dataset.json`` goes.

    Raises:
        CohortError: a structure of several values, or of none.
    """
    values = {}
    for key, entry in labels.items():
        name, value = (entry, key) if key.isdecimal() else (key, entry)
        if isinstance(value, list):
            raise CohortError(
                f"gives the label {key!r} as {entry!r}, a region of several values, which is not read yet",
                file=file,
                mend="give every structure one whole number",
            )
        if not isinstance(name, str) or not str(value).isdecimal():
            raise CohortError(
                f"gives the label {key!r} as {entry!r}", file=file, mend="give every structure one whole number"
            )
        if int(value) != 0 and name.lower() != BACKGROUND:
            values[name] = int(value)
    return values


def by_case(images: Iterable[Path]) -> dict[str, tuple[Path, ...]]:
    """Group images by case as nnU-Net names them, ``<case>_0000`` first; empty where they are not named so."""
    groups: dict[str, list[Path]] = {}
    for image in images:
        found = CHANNEL.fullmatch(stem(image))
        if not found:
            return {}
        groups.setdefault(found[1], []).append(image)
    if any(not stem(files[0]).endswith("_0000") for files in map(sorted, groups.values())):
        return {}
    return {name: tuple(sorted(files)) for name, files in groups.items()}


def scans_to_predict(root: Path) -> list[Case]:
    """List the scans of a dataset that are there to be predicted, in ``imagesTs``; they have no references."""
    cases = []
    for folder in TESTS:
        images = images_in(root / folder)
        groups = by_case(images) or {stem(image): (image,) for image in images}
        cases += [Case(name=name, subject=name, images=files) for name, files in groups.items()]
    return cases


def _entry(file: Path, name: str | None, entry: Any, values: Mapping[str, int]) -> Case:
    """A case as listed: a mapping of ``image`` or ``images`` and ``label``, or the name of an image."""
    if isinstance(entry, str):
        label = re.sub(r"images(Tr|Ts)", r"labels\1", entry)
        entry = {"image": entry, "label": re.sub(r"_0000(?=\.)", "", label)}
    images = (entry.get("images") or entry.get("image")) if isinstance(entry, dict) else None
    images = [images] if isinstance(images, str) else images
    if not isinstance(images, list) or not images or not isinstance(entry.get("label"), str):
        raise CohortError(f"lists the training scan {entry!r}", file=file, mend="give it an image and a label")
    label = file.parent / entry["label"]
    own, ending = _split_ending(label)
    paths = tuple(file.parent / str(image) for image in images)
    if len(paths) == 1 and not paths[0].exists():
        paths = tuple(_channels(paths[0].parent, own, ending)) or paths
    return _case(name or own, paths, label, values)


def refuse_channels(file: Path, images: Iterable[Path]) -> None:
    """Refuse images that each hold the several channels that a ``dataset.json`` tells.

    Raises:
        CohortError: there is such an image.
    """
    description = read_json(file) if is_given(file) else {}
    if not isinstance(description, dict):
        return
    channels = description.get("channel_names") or description.get("modality") or {}
    names = list(map(str, channels.values())) if isinstance(channels, dict) else []
    single = [image for image in images if image.exists() and not CHANNEL.fullmatch(stem(image))]
    if len(names) > 1 and single:
        columns = ", ".join(f"image_{name}" for name in names)
        raise CohortError(
            f"has {len(names)} channels ({', '.join(names)}) in one file a case, such as {single[0].name}, "
            "which is not read yet",
            file=file,
            mend=f"write each channel to a file of its own, and list them in a table with the columns {columns}",
        )


def _found_cases(file: Path, description: dict[str, Any], values: dict[str, int]) -> list[Case]:
    ending = str(description.get("file_ending", DEFAULT_ENDING))
    channels = len(description.get("channel_names", {})) or 1
    labels = visible((file.parent / "labelsTr").glob(f"*{ending}"))
    if not labels:
        raise CohortError(
            f"lists no training scans, and there are no labelsTr/*{ending}", file=file, mend="check file_ending"
        )
    cases = []
    for label in labels:
        name = label.name.removesuffix(ending)
        images = [file.parent / "imagesTr" / f"{name}_{channel:04d}{ending}" for channel in range(channels)]
        plain = file.parent / "imagesTr" / label.name  # as the Decathlon names the only channel
        if channels == 1 and plain.exists() and not images[0].exists():
            images = [plain]
        cases.append(_case(name, tuple(images), label, values))
    return cases


def _case(name: str, images: tuple[Path, ...], label: Path, values: Mapping[str, int]) -> Case:
    references = {structure: Reference(label, value) for structure, value in values.items()}
    return Case(name=name, subject=name, images=images, references=references)


def _channels(folder: Path, name: str, ending: str) -> list[Path]:
    pattern = re.compile(re.escape(name) + r"_\d{4}" + re.escape(ending))
    return visible(file for file in folder.glob(f"{name}_*{ending}") if pattern.fullmatch(file.name))


def _split_ending(file: Path) -> tuple[str, str]:
    ending = DEFAULT_ENDING if file.name.endswith(DEFAULT_ENDING) else file.suffix
    return file.name.removesuffix(ending), ending
