"""A cohort of thick scans made of sharp ones: what a super-resolution is tested on."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from tqdm import tqdm

from ankleseg.cohorts import Case, spare_inputs
from ankleseg.data.tables import write_csv
from ankleseg.errors import ConfigError, told
from ankleseg.transforms.low_resolution import LowResolution, thick_scan
from ankleseg.volumes import read_volume, write_volume
from ankleseg.volumes.geometry import axis_codes, reorient

log = logging.getLogger(__name__)

TABLE = "scans.csv"
BRIGHT_PERCENTILE = 99.5


def write_thick_cohort(
    cases: Sequence[Case],
    out: str | Path,
    low: LowResolution,
    *,
    orientation: str = "RAS",
    noise: float = 0.0,
    seed: int = 0,
) -> list[dict[str, str]]:
    """Write a thick scan of every case, and a table of them.

    A case that cannot be read is told and left out; the others go on.

    Args:
        cases: sharp scans.
        out: folder that receives ``<case>.nii.gz`` (of several channels ``<case>_<channel>.nii.gz``) and ``scans.csv``,
            a cohort to predict.
        low: how the scans are taken; its spacing is along the axes of ``orientation``.
        orientation: ``RAS`` for left–right, posterior–anterior and inferior–superior.
        noise: standard deviation of Rician noise, as a fraction of the 99.5th percentile of the sharp scan.
        seed: of the noise.

    Returns:
        The rows of the table.

    Raises:
        ConfigError: the noise is negative, or a scan in ``out`` would be replaced.
        AnklesegError: no case could be written.
    """
    if noise < 0:
        raise ConfigError(f"noise {noise} is negative", mend="give a fraction of the brightest intensities")
    out = Path(out)
    names = {case.name: _names(case) for case in cases}
    spare_inputs(cases, [out / name for channels in names.values() for name in channels.values()])
    (out / TABLE).unlink(missing_ok=True)
    rows: list[dict[str, str]] = []
    problems: list[tuple[Exception, str]] = []
    for number, case in enumerate(tqdm(cases, unit="case", desc="taking thick scans")):
        for name in names[case.name].values():
            (out / name).unlink(missing_ok=True)
        try:
            if case.problem is not None:
                raise case.problem
            rng = np.random.default_rng((seed, number))
            for image, name in zip(case.images, names[case.name].values(), strict=True):
                _write(image, out / name, low, orientation, noise, rng)
        except Exception as error:  # of one case; the others go on
            problems.append((error, told(error, case.images[0] if case.images else case.name)))
            continue
        known = {"case": case.name, "subject": case.subject, "group": case.group or "", "side": case.side or ""}
        rows.append(known | names[case.name])
    for _, line in problems if rows else problems[1:]:  # the first is raised, and told once
        log.warning(line)
    if not rows:
        raise problems[0][0] if problems else ConfigError("there is no case", mend="check the cohort")
    columns = dict.fromkeys(column for row in rows for column in row)
    write_csv(out / TABLE, rows, columns)
    return rows


def _names(case: Case) -> dict[str, str]:
    """Column and file name of each channel."""
    if len(case.channels) < 2:
        return {"image": f"{case.name}.nii.gz"}
    return {f"image_{channel}": f"{case.name}_{channel}.nii.gz" for channel in case.channels}


def _write(
    image: Path, path: Path, low: LowResolution, orientation: str, noise: float, rng: np.random.Generator
) -> None:
    sharp = read_volume(image)
    data, affine = reorient(sharp.data.astype(np.float32, copy=False), sharp.affine, orientation)
    try:
        thick, thick_affine = thick_scan(data, affine, low)
    except ConfigError as error:
        raise ConfigError(error.problem, file=image, mend=error.mend) from error
    if noise:
        deviation = noise * float(np.percentile(data, BRIGHT_PERCENTILE))
        real, imaginary = rng.normal(0, deviation, (2, *thick.shape)).astype(np.float32)
        thick = np.hypot(thick + real, imaginary)
    turned, turned_affine = reorient(thick, thick_affine, axis_codes(sharp.affine))
    write_volume(path, np.ascontiguousarray(turned), turned_affine, like=sharp.header)
