"""Where a segmentation along the cord gets the centreline from: a model that finds it, a file, or a reference."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from ankleseg.cohorts import Case
from ankleseg.errors import AnklesegError, CheckpointError, ConfigError, FileError
from ankleseg.files import replace_file
from ankleseg.inference.model import Model
from ankleseg.labels import Labels
from ankleseg.measures import Centreline, centreline_of_mask, find_centreline
from ankleseg.transforms import CropAlongCentrelined
from ankleseg.volumes import IMAGE_ENDINGS, missing_file, read_mask, read_volume

COLUMNS = ("x_mm", "y_mm", "z_mm", "end")
ENDING = "_centreline"  # after the name of a case, in a folder of centrelines

GetCentreline = Callable[[Case], Centreline]


def needs_centreline(model: Model) -> bool:
    """Whether a model sees the cord along its centreline alone."""
    return any(isinstance(transform, CropAlongCentrelined) for transform in model.preparation.transforms)


def by_role(models: Sequence[Model]) -> tuple[list[Model], list[Model]]:
    """The models that segment, and those that find the centreline for them; none where it is not needed.

    Raises:
        CheckpointError: a model that is to find the centreline segments no structure of the others.
    """
    along = [model for model in models if needs_centreline(model)]
    if not along:
        return list(models), []
    finders = [model for model in models if not needs_centreline(model)]
    for finder in finders:
        if shared_structure(finder.labels, along[0].labels) is None:
            raise CheckpointError(
                f"gives no centreline: it segments {', '.join(finder.labels.structures) or 'nothing'}",
                file=finder.path,
                mend=f"give a run of cord_centreline that segments {' or '.join(along[0].labels.structures)}",
            )
    return along, finders


def shared_structure(one: Labels, other: Labels) -> str | None:
    """The first structure of one that the other has too."""
    return next((name for name in one.structures if name in other.structures), None)


def require_centreline(models: Sequence[Model], finders: Sequence[Model], given: object) -> None:
    """Refuse models along the cord without a centreline, and a centreline that nothing needs or that comes twice.

    Raises:
        ConfigError: see above.
        CheckpointError: no centreline.
    """
    along = [model for model in models if needs_centreline(model)]
    if along and not finders and given is None:
        raise CheckpointError(
            "segments along the centreline of the cord, and there is none",
            file=along[0].path,
            mend="give checkpoint=[CENTRELINE,SEGMENTATION] with a run of cord_centreline, or centreline=FILE",
        )
    if given is not None and finders:
        raise ConfigError(
            f"centreline={given} is given, and {finders[0].path} finds one too", mend="leave out one of the two"
        )
    if given is not None and not along:
        raise ConfigError(f"centreline={given} is given, but no checkpoint segments along one", mend="leave it out")


def given_centreline(path: str | Path, out: str | Path) -> GetCentreline:
    """The centreline of each case in a file, or in a folder of files that are named after the cases.

    Args:
        path: a CSV of world mm, a mask of the cord or of points of its axis; or a folder with ``CASE_centreline.csv``,
            ``CASE.csv`` or images of such names, also that of earlier predictions.
        out: folder that results are written to.

    Raises:
        FileError: it does not exist; or, when called, the folder has none for a case, or a file cannot be read.
        ConfigError: it lies in ``out``, where it might be replaced.
    """
    path = Path(path)
    if Path(out).resolve() in (path.resolve(), *path.resolve().parents):
        raise ConfigError("is an input and would be replaced by a result", file=path, mend="choose another out")
    if error := missing_file(path):
        raise error
    return lambda case: read_centreline(path if path.is_file() else _file_of(path, case.name))


def reference_centreline(labels: Labels) -> GetCentreline:
    """The centreline of the reference of each case, by the first structure that has one.

    Raises (when called):
        FileError: a case has no reference.
    """

    def centreline(case: Case) -> Centreline:
        reference = next((case.references[name] for name in labels.structures if name in case.references), None)
        if reference is None:
            raise FileError("has no reference of the cord for its centreline", file=case.images[0], mend="draw one")
        mask = read_mask(reference.path, value=reference.value, frame=case.frame_in_files)
        return centreline_of_mask(mask.data, mask.affine)

    return centreline


def read_centreline(path: str | Path) -> Centreline:
    """Read a centreline from a CSV of world mm, or take that of a mask.

    A CSV has a row a point, in columns ``x_mm,y_mm,z_mm`` or ``x,y,z``, or three columns without names; its points are
    brought into the order from below to above.

    Raises:
        FileError: it cannot be read, or holds no points.
        GeometryError: the mask is empty.
    """
    path = Path(path)
    if path.name.lower().endswith(IMAGE_ENDINGS):
        volume = read_volume(path)
        try:
            return centreline_of_mask(np.asarray(volume.data) > 0.5, volume.affine, smooth=None)
        except AnklesegError as error:
            error.file = str(path)
            raise
    try:
        rows = [row for row in csv.reader(path.read_text(encoding="utf-8-sig").splitlines()) if row]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise FileError("is neither an image nor a CSV", file=path, mend="give a mask, or x,y,z in world mm") from error
    names = [name.strip().lower().removesuffix("_mm") for name in rows[0]] if rows else []
    named = {"x", "y", "z"} <= set(names)
    columns = [names.index(axis) for axis in "xyz"] if named else [0, 1, 2]
    try:
        points = np.array([[float(row[column]) for column in columns] for row in rows[int(named) :]])
    except (ValueError, IndexError):
        points = np.empty(0)
    if not len(points) or not np.isfinite(points).all():
        raise FileError("holds no points of a centreline", file=path, mend="write rows of x,y,z in world mm")
    return Centreline(points[np.argsort(points[:, 2], kind="stable")])


def write_centreline(path: str | Path, centreline: Centreline) -> None:
    """Write the points of a centreline as a CSV, in world mm, from below to above; ``end`` is 1 where the cord ends."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    ends = np.zeros(len(centreline.points), dtype=int)
    ends[[0, -1]] = centreline.ends
    points = ([*(f"{value:.4f}" for value in point), end] for point, end in zip(centreline.points, ends, strict=True))
    writer.writerows([COLUMNS, *points])
    with replace_file(path) as part:
        part.write_text(text.getvalue(), encoding="utf-8")


def found_centreline(probability: np.ndarray, affine: np.ndarray, case: Case) -> Centreline:
    """Find the centreline in the probability that a model gives of a case.

    Raises:
        GeometryError: there is no cord in it.
    """
    try:
        return find_centreline(probability, affine)
    except AnklesegError as error:
        error.file = str(case.images[0])
        raise


def _file_of(folder: Path, case: str) -> Path:
    endings = (".csv", *IMAGE_ENDINGS)
    names = [f"{case}{more}{ending}" for more in (ENDING, "") for ending in endings]
    found = [place / name for place in (folder, folder / case) for name in names if (place / name).is_file()]
    if not found:
        raise FileError(
            f"holds no centreline of {case}", file=folder, mend=f"put {case}{ENDING}.csv or {case}{ENDING}.nii.gz there"
        )
    return found[0]
