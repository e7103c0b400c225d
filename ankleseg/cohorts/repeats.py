"""Scans taken more than once of one anatomy, as a cohort: the repeats are the channels of a case."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from ankleseg.cohorts.case import Case, Cohort, announced
from ankleseg.cohorts.dynamic import about_file, people_of
from ankleseg.cohorts.entities import parse_name
from ankleseg.cohorts.files import images_in, stem, visible
from ankleseg.errors import CohortError, GeometryError

RUN = re.compile(r"_run-\w+(?=_)")


def load_repeats(root: str | Path, *, structures: Sequence[str] | None = None, suffix: str | None = None) -> Cohort:
    """List the scans of a BIDS folder that were repeated, ``sub-*/[ses-*/]anat/*_run-<number>_<suffix>``.

    The channels of a case are the runs that differ in nothing else in their names, such as ``run-1``; ``clean`` is the
    file of that name without a run under ``derivatives/truth``, where there is one. A scan that was taken once is left
    out.

    Args:
        root: folder of the cohort; its ``participants.tsv`` may give a ``group`` and a ``side``.
        structures: not used: repeats are learnt from without masks.
        suffix: of the images, such as ``T1w``; None takes all kinds.

    Raises:
        CohortError: there is no folder, nothing in it was repeated, or a run is there twice.
        GeometryError: runs of one scan are on different grids.
        FileError: a header cannot be read.
    """
    root = Path(root)
    if not root.is_dir():
        raise CohortError("is not a folder", file=root, mend="give the folder of the repeated scans")
    people = people_of(root)
    cases = []
    for folder in visible({*root.glob("sub-*/anat"), *root.glob("sub-*/ses-*/anat")}):
        for name, images in _runs(folder, suffix).items():
            _require_one_grid(images)
            clean = root / "derivatives" / "truth" / folder.relative_to(root) / f"{name}.nii.gz"
            cases.append(
                Case(
                    name=name,
                    channels={f"run-{parse_name(image).entities['run']}": image for image in images},
                    clean=clean if clean.is_file() else None,
                    **about_file(root, images[0], people),
                )
            )
    if not cases:
        raise CohortError(
            "holds no repeated scans",
            file=root,
            mend="name them sub-*/anat/*_run-1_T1w.nii.gz, *_run-2_T1w.nii.gz and so on",
        )
    return announced(Cohort(root, tuple(cases), remarks=tuple(people.remarks)))


def _runs(folder: Path, suffix: str | None) -> dict[str, list[Path]]:
    """Files of a folder that differ only in their run, two or more, by the name they share."""
    found: dict[str, list[Path]] = {}
    stems: dict[str, Path] = {}
    for file in images_in(folder):
        name, runs = RUN.subn("", stem(file))
        if runs and (suffix is None or name.endswith(f"_{suffix}")):
            if (first := stems.setdefault(stem(file), file)) is not file:
                raise CohortError(f"is there twice, as {first.name} too", file=file, mend="remove one of the two")
            found.setdefault(name, []).append(file)
    return {name: files for name, files in found.items() if len(files) > 1}


def _require_one_grid(images: Sequence[Path]) -> None:
    from ankleseg.volumes import read_header, same_grid

    first, *others = (read_header(image) for image in images)
    for image, header in zip(images[1:], others, strict=True):
        if not same_grid(first.shape, first.affine, header.shape, header.affine):
            raise GeometryError(
                f"is not on the grid of {images[0].name}: the foot moved, or the protocol changed",
                file=image,
                mend="give repeats of one position and protocol, or take the run out of the folder",
            )
