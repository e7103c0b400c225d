"""A cohort whose scans were taken twice, made of one whose scans were taken once."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ankleseg.cohorts import load_cohort
from ankleseg.volumes import read_volume, write_volume

NOISE = 60.0  # of intensities up to about 1000


def write_repeats(cohort: Path, out: Path, subjects: Sequence[str] = ()) -> Path:
    """Write two runs of each scan, the same but for their noise; the scan itself counts as free of noise.

    Args:
        cohort: of a phantom.
        out: folder that receives the repeats.
        subjects: only these.
    """
    out.mkdir(parents=True)
    (out / "participants.tsv").write_text((cohort / "participants.tsv").read_text())
    rng = np.random.default_rng(0)
    for case in load_cohort(cohort).cases:
        if subjects and case.subject not in subjects:
            continue
        name, scan = case.subject, read_volume(case.images[0])
        for run in (1, 2):
            noisy = np.abs(scan.data + rng.normal(0, NOISE, scan.data.shape)).astype(np.int16)
            write_volume(out / name / "anat" / f"{name}_run-{run}_T1w.nii.gz", noisy, scan.affine)
        truth = out / "derivatives" / "truth" / name / "anat" / f"{name}_T1w.nii.gz"
        write_volume(truth, scan.data, scan.affine)
    return out
