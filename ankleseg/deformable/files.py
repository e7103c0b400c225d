"""From two files to a folder: the moved scan, labels and other images, the field and its inverse, and a page."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Sequence
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
from ankleseg.files import replace_file
from ankleseg.measures.deformation import jacobian_determinant
from ankleseg.report import render_page
from ankleseg.rigid.warping import warp
from ankleseg.volumes import read_header, read_label_map, read_volume, write_volume
from ankleseg.volumes.displacement_fields import write_displacement_field
from ankleseg.volumes.transforms import write_itk_affine

MOVED = "moved.nii.gz"
LABELS = "moved_labels.nii.gz"
FIELD, INVERSE, JACOBIAN, AFFINE = "field.nii.gz", "inverse_field.nii.gz", "jacobian.nii.gz", "affine.tfm"
TABLE, PAGE = "registration.json", "report.html"


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
    status, reason = judge(found)
    assert first.header is not None and second.header is not None
    like = first.header
    shape = first.data.shape
    field = found.mapping.on_grid(shape, first.affine)
    moved = warp(second.data, second.affine, field, first.affine)
    write_volume(out / MOVED, moved, first.affine, like=like)
    for name, path in carried.items():
        other = read_volume(path)
        write_volume(out / name, warp(other.data, other.affine, field, first.affine), first.affine, like=like)
    if label_map is not None:
        values = carry_labels(label_map.data, label_map.affine, field, first.affine, label_interpolation)
        write_volume(out / LABELS, values, first.affine, like=like)
    write_displacement_field(out / FIELD, field, first.affine)
    back = found.mapping.inverse_on_grid(second.data.shape, second.affine)
    write_displacement_field(out / INVERSE, back, second.affine)
    jacobian = jacobian_determinant(np.moveaxis(field, -1, 0), first.affine)
    write_volume(out / JACOBIAN, jacobian, first.affine, like=like)
    write_itk_affine(out / AFFINE, found.mapping.moving_from_fixed)
    outcome = Outcome(out, status, reason, found)
    content = table_of(outcome, settings, fixed, moving)
    with replace_file(out / TABLE) as part:
        part.write_text(json.dumps(content, indent=2, allow_nan=False) + "\n", encoding="utf-8")
    page = build_page(content, first, second, moved, found.mapping)
    with replace_file(out / PAGE) as part:
        part.write_text(render_page(page), encoding="utf-8")
    return outcome


def _clear(out: Path, inputs: Sequence[str | Path], carried: Iterable[str]) -> None:
    """Remove the results of an earlier run, after it is sure that none of them is an input now."""
    results = {
        (out / name).resolve() for name in (MOVED, LABELS, FIELD, INVERSE, JACOBIAN, AFFINE, TABLE, PAGE, *carried)
    }
    for path in inputs:
        if Path(path).resolve() in results:
            raise FileError("is an input and would be replaced by a result", file=path, mend="choose another out")
    for path in results:
        path.unlink(missing_ok=True)


def table_of(outcome: Outcome, settings: Settings, fixed: str | Path, moving: str | Path) -> dict[str, Any]:
    """Return what ``registration.json`` holds, in plain types."""
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
        "files": {
            MOVED: "the moving scan on the fixed grid",
            FIELD: "displacement from the fixed grid into the moving scan, mm, LPS, the affine part included",
            INVERSE: "displacement from the moving grid into the fixed scan, mm, LPS",
            AFFINE: "the affine part alone, from points of the fixed scan to the moving one, LPS, as ITK reads it",
            JACOBIAN: "determinant of the derivative of the whole map, the affine part included",
        },
    }


def _stem(path: str | Path) -> str:
    from ankleseg.volumes.formats import stem

    return stem(Path(path))
