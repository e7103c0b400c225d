"""Words in the names of files that are in no layout: what is a segmentation, and which channel an image is."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from ankleseg.cohorts.files import stem
from ankleseg.volumes import is_segmentation_name

LAST_WORD = re.compile(
    r"(?:^|[_\-. ])"
    r"(?:seg(?:mentation)?s?|segm|mask|dseg|dlabel|probseg|softseg|labels?|labelmap|gmseg|wmseg|lesion|probability|"
    r"foreground|aseg|aparc\+aseg|defacemask|centerline|rootlets|roi)(?:[_\-. ]manual)?$",
    re.IGNORECASE,
)
LABELLED = re.compile(r"[_\-]label-[^_]+_\w+|[_\-.]labels?-\w+(?:-manual)?$", re.IGNORECASE)
CHANNEL = re.compile(r"(.+)[_\-](t1ce|t1c|t1gd|t1n|t1w?|t2f|t2w?|flair)", re.IGNORECASE)
OF_CHALLENGE = set("t1ce t1c t1gd t1n t2f flair".split())  # words that tell channels of one case, not scans of a study
ORDER = "t1 t1n t1w t1ce t1c t1gd t2 t2w flair t2f".split()


def is_segmentation(file: Path) -> bool:
    """Tell whether a file is a segmentation by its name: ``*_seg``, ``*_Segm``, ``*.seg.nrrd``, ``*_mask``, …"""
    name = stem(file)
    return is_segmentation_name(file) or bool(LAST_WORD.search(name) or LABELLED.search(name))


def channels_of_cases(files: Sequence[Path]) -> dict[str, dict[str, Path]]:
    """Find the cases of a folder that have several contrasts by the names of their files (``*_flair``, ``*-t1n``).

    Returns files by channel by case, the channels in the order t1, t1ce, t2, flair. BIDS names (``sub-01_FLAIR``) are
    of different scans, and are left out.
    """
    cases: dict[str, dict[str, Path]] = {}
    for file in files:
        found = CHANNEL.fullmatch(stem(file))
        if found and not found[1].lower().startswith("sub-"):
            cases.setdefault(found[1], {})[found[2].lower()] = file
    return {
        name: dict(sorted(channels.items(), key=lambda item: ORDER.index(item[0])))
        for name, channels in cases.items()
        if len(channels) > 1
    }
