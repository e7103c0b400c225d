"""The ``dataset.json`` of the Medical Segmentation Decathlon and of nnU-Net, versions 1 and 2.

Decathlon and nnU-Net 1 list the training scans and map value to structure; nnU-Net 2 maps structure to value and names
its files by the ending in ``file_ending``; a structure of several values is a region. In nnU-Net, ``<case>_0000`` is
the first channel of a case; the Decathlon keeps several channels as the volumes of one 4-D file. Nothing in them says
who was scanned: every case counts as a subject, so list the scans in a table where subjects were scanned twice.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ankleseg.cohorts.case import ONLY, Case, Cohort, Reference, Value, larger_first
from ankleseg.cohorts.files import images_in, is_given, read_json, stem, visible
from ankleseg.errors import CohortError
from ankleseg.volumes.selection import with_selection

BACKGROUND = "background"
DEFAULT_ENDING = ".nii.gz"
DATASET_FILE = "dataset.json"
CHANNEL = re.compile(r"(.+)_(\d{4})")
WRITTEN_BY_PREDICTION = ("predict_from_raw_data_args.json", "plans.json")
TESTS = ("imagesTs", "imagesVal")


def load_decathlon(file: Path) -> Cohort:
    """List the training cases that a ``dataset.json`` describes.

    Raises:
        CohortError: not such a file, no training scans beside it, or a folder of predictions.
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
    names = _names_of(description)
    elsewhere, listed = description.get("dataset"), description.get("training")
    if isinstance(elsewhere, dict) and elsewhere:
        cases = [_entry(file, name, entry, values, names) for name, entry in elsewhere.items()]
    elif isinstance(listed, list) and listed:
        cases = [_entry(file, None, entry, values, names) for entry in listed]
        cases = [case for case in cases if visible(case.images)]  # a list made on a Mac may hold the companions ._name
    else:
        cases = _found_cases(file, description, values, names)
    return Cohort(file.parent, tuple(cases), larger_first(values, cases))


def is_prediction(folder: Path) -> bool:
    """Tell whether a folder is what nnU-Net predicted: label maps with a ``dataset.json``, and no training scans."""
    written = any((folder / name).is_file() for name in WRITTEN_BY_PREDICTION)
    return written and is_given(folder / DATASET_FILE) and not (folder / "imagesTr").is_dir()


def label_values(file: Path, labels: dict[str, Any]) -> dict[str, Value]:
    """Return the value of each structure, whichever way the mapping of a ``dataset.json`` goes, or those of a region.

    They are in the order of their values; regions that share values are in that of the file.

    Raises:
        CohortError: a structure of no value, or of the background's.
    """
    found: dict[str, tuple[int, ...]] = {}
    for key, entry in labels.items():
        name, value = (entry, key) if key.isdecimal() else (key, entry)
        several = list(map(str, value if isinstance(value, list) else [value]))
        if not isinstance(name, str) or not several or not all(number.isdecimal() for number in several):
            raise CohortError(
                f"gives the label {key!r} as {entry!r}",
                file=file,
                mend="give every structure one whole number, or a region a list of them",
            )
        numbers = tuple(sorted({int(number) for number in several}))
        if name.lower() == BACKGROUND or numbers == (0,):
            continue
        if 0 in numbers:
            raise CohortError(
                f"gives the label {key!r} as {entry!r}, with the background in it", file=file, mend="leave out the 0"
            )
        found[name] = numbers
    if len({number for numbers in found.values() for number in numbers}) == sum(map(len, found.values())):
        found = dict(sorted(found.items(), key=lambda item: item[1]))
    return {name: numbers if len(numbers) > 1 else numbers[0] for name, numbers in found.items()}


def channel_names(file: Path) -> dict[int, str]:
    """Return the names of the channels by their number, as a ``dataset.json`` tells them; none where it does not."""
    return _names_of(read_json(file)) if is_given(file) else {}


def _names_of(description: Any) -> dict[int, str]:
    """By number; none where two are called alike, which would not tell them apart."""
    told = description.get("channel_names") or description.get("modality") if isinstance(description, dict) else None
    if not isinstance(told, dict) or not all(key.isdecimal() for key in told):
        return {}
    names = {int(key): str(name) for key, name in sorted(told.items(), key=lambda item: int(item[0]))}
    return names if len({name.casefold() for name in names.values()}) == len(names) else {}


def channels_of(images: Sequence[Path], names: Mapping[int, str]) -> dict[str, Path]:
    """Return the files of a case by the names of its channels, or by their numbers where they have none.

    One file without a number holds all channels that are named, as its volumes along the fourth axis.
    """
    numbers = [int(found[2]) for image in images if (found := CHANNEL.fullmatch(stem(image)))]
    if len(images) == 1 and not numbers and len(names) > 1:
        return {name: Path(with_selection(images[0], {"frame": str(number)})) for number, name in names.items()}
    if len(images) == 1:
        return {names.get(numbers[0] if numbers else 0, ONLY): images[0]}
    if len(set(numbers)) < len(images):
        numbers = list(range(len(images)))
    return {names.get(number, f"{number:04d}"): image for number, image in zip(numbers, images, strict=True)}


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
    names = channel_names(root / DATASET_FILE)
    for folder in TESTS:
        images = images_in(root / folder)
        groups = by_case(images) or {stem(image): (image,) for image in images}
        cases += [Case(name=name, subject=name, channels=channels_of(files, names)) for name, files in groups.items()]
    return cases


def _entry(file: Path, name: str | None, entry: Any, values: Mapping[str, Value], names: Mapping[int, str]) -> Case:
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
    return _case(name or own, channels_of(paths, names), label, values)


def _found_cases(
    file: Path, description: dict[str, Any], values: Mapping[str, Value], names: Mapping[int, str]
) -> list[Case]:
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
        plain = file.parent / "imagesTr" / label.name  # as the Decathlon names the only file
        if plain.exists() and not images[0].exists():
            images = [plain]
        cases.append(_case(name, channels_of(images, names), label, values))
    return cases


def _case(name: str, channels: Mapping[str, Path], label: Path, values: Mapping[str, Value]) -> Case:
    references = {structure: Reference(label, value) for structure, value in values.items()}
    return Case(name=name, subject=name, channels=channels, references=references)


def _channels(folder: Path, name: str, ending: str) -> list[Path]:
    pattern = re.compile(re.escape(name) + r"_\d{4}" + re.escape(ending))
    return visible(file for file in folder.glob(f"{name}_*{ending}") if pattern.fullmatch(file.name))


def _split_ending(file: Path) -> tuple[str, str]:
    ending = DEFAULT_ENDING if file.name.endswith(DEFAULT_ENDING) else file.suffix
    return file.name.removesuffix(ending), ending
