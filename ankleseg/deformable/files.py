"""From two files to a folder: the moved scan, labels and other images, the field and its inverse, and a page."""

from __future__ import annotations

import json
import os
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ankleseg import __version__
from ankleseg.deformable.carrying import Interpolation, carry_labels
from ankleseg.deformable.page import build_page
from ankleseg.deformable.quality import Status, judge
from ankleseg.deformable.registration import Predict, Registration, Settings, register
from ankleseg.errors import FileError
from ankleseg.measures.deformation import jacobian_determinant
from ankleseg.report import render_page
from ankleseg.rigid.warping import warp
from ankleseg.volumes import Volume, read_header, read_label_map, read_volume, write_volume
from ankleseg.volumes.displacement_fields import write_displacement_field
from ankleseg.volumes.transforms import write_itk_affine

MOVED = "moved.nii.gz"
LABELS = "moved_labels.nii.gz"
FIELD, INVERSE, JACOBIAN, AFFINE = "field.nii.gz", "inverse_field.nii.gz", "jacobian.nii.gz", "affine.tfm"
TABLE, PAGE = "registration.json", "report.html"
DESCRIPTIONS = {
    MOVED: "the moving scan on the fixed grid",
    FIELD: "displacement from the fixed grid into the moving scan, mm, LPS, the affine part included",
    INVERSE: "displacement from the moving grid into the fixed scan, mm, LPS",
    AFFINE: "the affine part alone, from points of the fixed scan to the moving one, LPS, as ITK reads it",
    JACOBIAN: "determinant of the derivative of the whole map, the affine part included",
}


@dataclass(frozen=True)
class Outcome:
    """What a registration came to: its folder, status and the reason for it, and its numbers."""

    out: Path
    status: Status
    reason: str
    registration: Registration

    def describe(self) -> str:
        """Return the lines to print at the end."""
        found = self.registration
        lines = [
            f"local correlation {found.before:.3f} → {found.after:.3f}, {found.folded:.3%} folded, "
            f"{found.seconds:.1f} s: {self.status}{f' ({self.reason})' if self.reason else ''}",
            f"report: {self.out / PAGE}",
        ]
        return "\n".join(lines)


def register_files(
    fixed: str | Path,
    moving: str | Path,
    out: str | Path,
    settings: Settings,
    *,
    labels: str | Path | None = None,
    others: Sequence[str | Path] = (),
    label_interpolation: Interpolation = "linear",
    predict: Predict | None = None,
) -> Outcome:
    """Register a moving scan to a fixed one and write what follows from it; earlier results in the folder are removed.

    Args:
        fixed, moving: scans of any format, grid and orientation.
        out: folder.
        settings: how they are registered.
        labels: label map in the world of the moving scan, on any grid.
        others: images in the same world.
        label_interpolation: see `carry_labels`.
        predict: see `register`.

    Raises:
        FileError: a file cannot be read, would be replaced by a result, or two others would have one name.
        GeometryError: a scan shows nothing.
    """
    out = Path(out)
    first, second = read_volume(fixed), read_volume(moving)
    carried = {f"moved_{_stem(path)}.nii.gz": path for path in others}
    if len(carried) < len(others) or carried.keys() & {MOVED, LABELS}:
        raise FileError("has the name of another image to be carried along", file=others[-1], mend="rename it")
    for path in others:  # before any work
        read_header(path)
    label_map = None if labels is None else read_label_map(labels)
    _clear(out, [fixed, moving, *others, *([] if labels is None else [labels])], carried)
    found = register(first, second, settings, predict=predict)
    outcome = Outcome(out, *judge(found), found)
    files = DESCRIPTIONS | {name: f"{Path(path).name} on the fixed grid" for name, path in carried.items()}
    files |= {} if labels is None else {LABELS: f"{Path(labels).name} on the fixed grid"}
    content = table_of(outcome, settings, fixed, moving, files)
    with _all_or_nothing(out) as part:
        moved = _write_moved(part, found, first, second, carried)
        if label_map is not None:
            field = found.mapping.on_grid(first.data.shape, first.affine)
            values = carry_labels(label_map.data, label_map.affine, field, first.affine, label_interpolation)
            write_volume(part / LABELS, values, first.affine, like=first.header)
        page = build_page(content, first, second, moved, found.mapping)
        (part / PAGE).write_text(render_page(page), encoding="utf-8")
        (part / TABLE).write_text(json.dumps(content, indent=2, allow_nan=False) + "\n", encoding="utf-8")
    return outcome


def _write_moved(
    folder: Path, found: Registration, fixed: Volume, moving: Volume, carried: Mapping[str, str | Path]
) -> np.ndarray:
    """Write the scans on the fixed grid, the fields and the affine part; return the moved scan."""
    assert fixed.header is not None
    like = fixed.header
    field = found.mapping.on_grid(fixed.data.shape, fixed.affine)
    moved = warp(moving.data, moving.affine, field, fixed.affine)
    write_volume(folder / MOVED, moved, fixed.affine, like=like)
    for name, path in carried.items():
        other = read_volume(path)
        write_volume(folder / name, warp(other.data, other.affine, field, fixed.affine), fixed.affine, like=like)
    write_displacement_field(folder / FIELD, field, fixed.affine)
    back = found.mapping.inverse_on_grid(moving.data.shape, moving.affine)
    write_displacement_field(folder / INVERSE, back, moving.affine)
    jacobian = jacobian_determinant(np.moveaxis(field, -1, 0), fixed.affine)
    write_volume(folder / JACOBIAN, jacobian, fixed.affine, like=like)
    write_itk_affine(folder / AFFINE, found.mapping.moving_from_fixed)
    return moved


def _clear(out: Path, inputs: Sequence[str | Path], carried: Iterable[str]) -> None:
    """Remove the results of an earlier run, after it is sure that none of them is an input now."""
    results = {(out / name).resolve() for name in (*DESCRIPTIONS, LABELS, TABLE, PAGE, *carried, *_listed(out))}
    for path in inputs:
        if Path(path).resolve() in results:
            raise FileError("is an input and would be replaced by a result", file=path, mend="choose another out")
    for path in results:
        path.unlink(missing_ok=True)


def _listed(out: Path) -> list[str]:
    """The other images that an earlier run carried along, as its table lists them."""
    try:
        names = list(json.loads((out / TABLE).read_text(encoding="utf-8"))["files"])
    except (OSError, ValueError, KeyError, TypeError):
        return []
    return [name for name in names if Path(name).name == name and name.startswith("moved_")]


@contextmanager
def _all_or_nothing(out: Path) -> Iterator[Path]:
    """Give a folder whose files come into ``out`` when the block ends well, the table last.

    Raises:
        FileError: the folder cannot be written, or the disk is full.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".part-", dir=out) as part:
            yield Path(part)
            for file in sorted(Path(part).iterdir(), key=lambda file: file.name == TABLE):
                os.replace(file, out / file.name)
    except OSError as error:
        raise FileError(
            f"cannot be written ({error.strerror or error})",
            file=out,
            mend="check the folder, its rights and its space",
        ) from error


def table_of(
    outcome: Outcome, settings: Settings, fixed: str | Path, moving: str | Path, files: Mapping[str, str]
) -> dict[str, Any]:
    """Return what ``registration.json`` holds, in plain types; ``files`` says what each file is."""
    found = outcome.registration
    alignment = asdict(found.alignment)
    alignment["moving_from_fixed"] = found.alignment.moving_from_fixed.tolist()
    return {
        "ankleseg": __version__,
        "date": time.strftime("%Y-%m-%d %H:%M"),
        "fixed": Path(fixed).name,
        "moving": Path(moving).name,
        "status": outcome.status,
        "reason": outcome.reason,
        "settings": asdict(settings),
        "alignment": alignment,
        "local_correlation": {"before": found.before, "aligned": found.aligned, "after": found.after},
        "folded": found.folded,
        "log_jacobian_sd": found.log_jacobian_sd,
        "seconds": round(found.seconds, 2),
        "files": dict(files),
    }


def _stem(path: str | Path) -> str:
    from ankleseg.volumes.formats import stem

    return stem(Path(path))
