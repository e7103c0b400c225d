"""A cohort of thick scans made of sharp ones."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest

from ankleseg.cohorts import Case, load_cohort
from ankleseg.config import compose
from ankleseg.data.thick_cohort import TABLE, write_thick_cohort
from ankleseg.errors import AnklesegError, ConfigError
from ankleseg.prepare import main
from ankleseg.transforms import LowResolution
from ankleseg.volumes import axis_codes, read_volume, reorient, write_volume

AFFINE = np.diag([-0.5, 0.5, 0.5, 1.0])
AFFINE[:3, 3] = 12, -30, 8
LOW = LowResolution(spacing=(None, None, 3.0), profile="box")


@pytest.fixture
def sharp(tmp_path: Path) -> Case:
    data = np.random.default_rng(0).integers(0, 900, (10, 12, 48)).astype(np.int16)
    turned, affine = reorient(data, AFFINE, "PSR")
    return Case("s1", "s1", {"image": write_volume(tmp_path / "s1.nii.gz", turned, affine)}, group="g", side="left")


def test_slices_lie_across_the_body_axis_whatever_the_file_says(sharp: Case, tmp_path: Path):
    before = hashlib.sha256(sharp.images[0].read_bytes()).hexdigest()
    write_thick_cohort([sharp], tmp_path / "thick", LOW)
    thick = read_volume(tmp_path / "thick" / "s1.nii.gz")
    assert axis_codes(thick.affine) == "PSR" and np.allclose(thick.spacing, [0.5, 3.0, 0.5])
    inferior_first, _ = reorient(thick.data, thick.affine, "LAS")
    data, _ = reorient(read_volume(sharp.images[0]).data.astype(np.float32), read_volume(sharp.images[0]).affine, "LAS")
    assert np.allclose(inferior_first, data.reshape(10, 12, 8, 6).mean(-1), atol=1e-2)
    assert hashlib.sha256(sharp.images[0].read_bytes()).hexdigest() == before, "the input is not touched"


def test_the_table_is_a_cohort(sharp: Case, tmp_path: Path):
    write_thick_cohort([sharp], tmp_path / "thick", LOW, noise=0.02)
    (case,) = load_cohort(tmp_path / "thick" / TABLE).cases
    assert (case.name, case.subject, case.group, case.side) == ("s1", "s1", "g", "left")


def test_noise_repeats_and_has_the_size_asked_for(sharp: Case, tmp_path: Path):
    scans = []
    for name, noise in (("clean", 0.0), ("a", 0.05), ("b", 0.05)):
        write_thick_cohort([sharp], tmp_path / name, LOW, noise=noise, seed=3)
        scans.append(read_volume(tmp_path / name / "s1.nii.gz").data)
    assert np.array_equal(scans[1], scans[2])
    bright = np.percentile(read_volume(sharp.images[0]).data, 99.5)
    assert (scans[1] - scans[0]).std() == pytest.approx(0.05 * bright, rel=0.1)


def test_a_broken_case_does_not_stop_the_others(sharp: Case, tmp_path: Path, caplog):
    broken = Case("s0", "s0", {"image": tmp_path / "absent.nii.gz"})
    rows = write_thick_cohort([broken, sharp], tmp_path / "thick", LOW)
    assert [row["case"] for row in rows] == ["s1"] and "absent.nii.gz: does not exist" in caplog.text
    caplog.clear()
    with pytest.raises(AnklesegError, match="does not exist"):
        write_thick_cohort([broken], tmp_path / "thick", LOW)
    assert not caplog.text, "told once, as what is raised"
    assert not (tmp_path / "thick" / TABLE).exists(), "no stale table"
    with pytest.raises(ConfigError, match=r"s1\.nii\.gz: a field of view of 24 mm holds fewer than two slices"):
        write_thick_cohort([sharp], tmp_path / "none", LowResolution(spacing=(None, None, 13.0)))
    assert not (tmp_path / "none").exists()
    with pytest.raises(ConfigError, match="noise -1 is negative"):
        write_thick_cohort([sharp], tmp_path / "thick", LOW, noise=-1)


def test_no_input_is_replaced(sharp: Case, tmp_path: Path):
    before = sharp.images[0].read_bytes()
    with pytest.raises(
        ConfigError, match=r"s1.nii.gz: is an input and would be replaced by a result; choose another out"
    ):
        write_thick_cohort([sharp], tmp_path, LOW)
    assert sharp.images[0].read_bytes() == before


def test_every_channel_becomes_thick(sharp: Case, tmp_path: Path):
    both = Case("s1", "s1", {"1": sharp.images[0], "2": sharp.images[0]})
    write_thick_cohort([both], tmp_path / "thick", LOW)
    (case,) = load_cohort(tmp_path / "thick" / TABLE).cases
    first, second = (read_volume(path).data for path in case.images)
    assert len(case.images) == 2 and np.array_equal(first, second) and min(first.shape) == 8


def test_the_command_takes_the_acquisition_that_is_asked_for(tmp_path: Path):
    for name, slices in (("sub-1_T2w", 48), ("sub-1_acq-te1_T2w", 36)):
        data = np.random.default_rng(0).integers(0, 900, (10, 12, slices)).astype(np.int16)
        write_volume(tmp_path / "study/sub-1/anat" / f"{name}.nii.gz", data, AFFINE)
    for asked, slices in (("null", 8), ("te1", 6)):
        words = [f"cohort.root={tmp_path / 'study'}", f"cohort.acquisition={asked}", f"out={tmp_path / asked}"]
        main(compose("prepare", ["recipe=low_resolution", "cohort=brain", *words]))
        (case,) = load_cohort(tmp_path / asked / TABLE).cases
        assert read_volume(case.images[0]).data.shape == (10, 12, slices)
