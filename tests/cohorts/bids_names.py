"""BIDS folders made of the names of their images, and the images that are taken of them."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from ankleseg.cohorts import load_cohort

Touch = Callable[[str], Path]


def scans(touch: Touch, *names: str) -> Path:
    """Make images by their names, in the folders that those tell, and return the cohort's."""
    for name in names:
        entities = dict(re.findall(r"(sub|ses)-([a-zA-Z0-9]+)", name))
        session = f"ses-{entities['ses']}/" if "ses" in entities else ""
        image = touch(f"study/sub-{entities['sub']}/{session}anat/{name}.nii.gz")
    return next(folder for folder in image.parents if folder.name == "study")


def taken(root: Path, **asked) -> list[str]:
    return [case.images[0].name.removesuffix(".nii.gz") for case in load_cohort(root, **asked).cases]
