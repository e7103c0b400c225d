"""A BraTS folder as it is downloaded: a file a channel, and a label map of nested regions, of each case.

BraTS 2023 names its files ``<case>-t1n``, ``-t1c``, ``-t2w``, ``-t2f``, ``-seg``, earlier years ``<case>_t1``,
``_t1ce`` (or ``_t1Gd``), ``_t2``, ``_flair``, ``_seg``. Label maps hold 1 (necrosis), 2 (oedema) and the enhancing
part, 4 up to 2021 and 3 since. Under the newer names 4 is left out: since 2024 it is a resection cavity, in no region.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from ankleseg.cohorts.case import Case, Cohort, Reference, Value
from ankleseg.cohorts.files import folders_in, images_in, stem
from ankleseg.cohorts.names import counted, listed
from ankleseg.cohorts.words import OF_CHALLENGE, is_segmentation
from ankleseg.errors import CohortError

CHANNEL_OF = {  # in the order of a case
    **{"t1n": "t1", "t1": "t1"},
    **{"t1c": "t1ce", "t1ce": "t1ce", "t1gd": "t1ce"},
    **{"t2w": "t2", "t2": "t2"},
    **{"t2f": "flair", "flair": "flair"},
}
SEGMENTATION = "seg"
FILE = re.compile(rf"(.+)([_-])({'|'.join(CHANNEL_OF)}|{SEGMENTATION})", re.IGNORECASE)
TIME_POINT = re.compile(r"(.+-\d{5})-\d{3}")  # of one subject: its scans stay together
DEEPEST = 3  # folders above the files
REGIONS: dict[str, Value] = {"whole_tumour": (1, 2, 3), "tumour_core": (1, 3), "enhancing_tumour": 3}
LABEL_VALUES = (2, 1, 3)  # of a voxel of each region that is in none further in: oedema, necrosis, enhancing
REGIONS_TO_2021: dict[str, Value] = {
    "whole_tumour": (1, 2, 3, 4),
    "tumour_core": (1, 3, 4),
    "enhancing_tumour": (3, 4),
}


@dataclass
class _Files:
    """The files of one case."""

    folder: Path
    channels: dict[str, list[Path]] = field(default_factory=dict)
    words: set[str] = field(default_factory=set)
    segmentation: Path | None = None


def is_brats(root: Path) -> bool:
    """Tell whether a folder holds cases by the names of BraTS, of at least two channels, in it or below it."""
    return any(len(files.channels) > 1 and files.words & OF_CHALLENGE for files in _cases_below(root).values())


def load_brats(root: Path) -> Cohort:
    """List the cases of a BraTS folder, whatever folders they lie in; those below ``derivatives`` are left out.

    Channels are named ``t1``, ``t1ce``, ``t2``, ``flair``, regions ``whole_tumour``, ``tumour_core`` and
    ``enhancing_tumour``. Cases of one subject, which BraTS 2023 numbers at the end of their names, stay together.

    Raises:
        CohortError: it holds no such case.
    """
    found = _cases_below(root)
    cases = [_case(name, files) for (_, name), files in found.items() if files.channels]
    return Cohort(root, tuple(cases), tuple(REGIONS), remarks=tuple(_remarks(root, cases)))


def _cases_below(root: Path) -> dict[tuple[Path, str], _Files]:
    """Files by folder and case."""
    cases: dict[tuple[Path, str], _Files] = {}
    for folder in _folders(root):
        for image in images_in(folder):
            named = FILE.fullmatch(stem(image))
            if not named or named[1].lower().startswith("sub-"):
                continue
            files = cases.setdefault((folder, named[1]), _Files(folder))
            word = named[3].lower()
            if word == SEGMENTATION:
                files.segmentation = image
            else:
                files.words.add(word)
                files.channels.setdefault(CHANNEL_OF[word], []).append(image)
    return cases


def _folders(root: Path, depth: int = DEEPEST) -> Iterator[Path]:
    if not root.is_dir():
        return
    yield root
    for folder in folders_in(root) if depth else ():
        if folder.name.lower() != "derivatives":
            yield from _folders(folder, depth - 1)


def _case(name: str, files: _Files) -> Case:
    subject = TIME_POINT.fullmatch(name)
    segmentation = files.segmentation or _only_segmentation(files.folder)
    references = {}
    if segmentation is not None:
        newer = stem(segmentation).lower().endswith(f"-{SEGMENTATION}")
        references = {
            region: Reference(segmentation, value) for region, value in (REGIONS if newer else REGIONS_TO_2021).items()
        }
    twice = next((images for images in files.channels.values() if len(images) > 1), None)
    problem = None
    if twice is not None:
        names = " and ".join(image.name for image in twice)
        problem = CohortError(f"case {name} has one channel twice, {names}", file=files.folder, mend="remove one")
    order = dict.fromkeys(CHANNEL_OF.values())
    channels = {channel: files.channels[channel][0] for channel in order if channel in files.channels}
    return Case(
        name=name,
        subject=subject[1] if subject else name,
        channels={} if problem else channels,
        references=references,
        problem=problem,
    )


def _only_segmentation(folder: Path) -> Path | None:
    """The label map of a case that is named otherwise, as one of 2020 is, where its folder holds no other."""
    found = [image for image in images_in(folder) if is_segmentation(image)]
    channels = {named[1] for image in images_in(folder) if (named := FILE.fullmatch(stem(image)))}
    return found[0] if len(found) == 1 and len(channels) == 1 else None


def _remarks(root: Path, cases: list[Case]) -> Iterator[str]:
    used = {path for case in cases for path in case.files}
    folders = list(dict.fromkeys(path.parent for path in used))
    others = [image for folder in folders for image in images_in(folder) if image not in used]
    others = [image for image in others if not FILE.fullmatch(stem(image))]
    if others:
        yield (
            f"{root}: {counted(len(others), 'image')} not named as in BraTS passed over "
            f"({listed([image.name for image in others])})"
        )
    if any("-PED-" in case.name for case in cases):
        yield (
            f"{root}: label maps of children (BraTS-PED) are read as those of adults; since 2024 they differ: "
            "list them in a table with columns value_<region>"
        )
