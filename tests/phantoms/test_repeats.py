"""Laws of scans taken twice: one anatomy, one coil, independent noise."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from laws import for_all

from ankleseg.cohorts import load_repeats
from ankleseg.errors import CohortError, ConfigError
from ankleseg.phantoms import AnkleLabels, ankle_scan, write_ankle_cohort
from ankleseg.phantoms.exam import ankle_exam
from ankleseg.phantoms.protocol import PROTOCOLS, Protocol
from ankleseg.volumes import read_volume, write_volume

SNR = 8.0


@pytest.fixture(scope="module", autouse=True)
def coarse():
    """Scans of few voxels."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(PROTOCOLS, "demo", Protocol((84, 84, 30), (1.92, 1.92, 2.4), 1))
        patch.setattr(AnkleLabels.__init__, "__defaults__", (2.0,))
        yield


@pytest.fixture(scope="module")
def repeated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One control, scanned twice at a low SNR."""
    return write_ankle_cohort(tmp_path_factory.mktemp("cohort") / "out", subjects=1, seed=11, repeats=2, snr=SNR)


@pytest.fixture(scope="module")
def scans(repeated: Path) -> list[np.ndarray]:
    """Both runs and the scan without noise."""
    (case,) = load_repeats(repeated).cases
    assert case.clean is not None and len(case.images) == 2
    return [read_volume(path).data.astype(np.float64) for path in (*case.images, case.clean)]


def test_the_layout_is_bids_and_tells_what_it_holds(repeated: Path) -> None:
    files = {str(path.relative_to(repeated)) for path in repeated.rglob("*_T1w.nii.gz")}
    assert files == {
        "sub-C01/anat/sub-C01_run-1_T1w.nii.gz",
        "sub-C01/anat/sub-C01_run-2_T1w.nii.gz",
        "derivatives/truth/sub-C01/anat/sub-C01_T1w.nii.gz",
    }
    settings = json.loads((repeated / "phantom.json").read_text())
    assert (settings["repeats"], settings["snr"]) == (2, SNR)
    described = json.loads((repeated / "derivatives/truth/dataset_description.json").read_text())
    assert described["Name"] == "Scans without noise"


def test_noise_is_independent_and_as_strong_as_asked(scans) -> None:
    first, second, clean = scans
    bright = clean > 0.7 * clean.max()  # where Rician noise is Gaussian
    noise = [scan[bright] - clean[bright] for scan in (first, second)]
    assert abs(np.corrcoef(*noise)[0, 1]) < 0.03
    body = clean > 0.02 * clean.max()
    for one in noise:
        assert clean[body].mean() / one.std() == pytest.approx(SNR, rel=0.2)  # the coil changes the signal
        assert abs(one.mean()) < 0.1 * one.std()


def test_without_noise_the_mean_of_both_is_nearer(scans) -> None:
    first, second, clean = scans
    body = clean > 0.3 * clean.max()
    errors = [np.sqrt(((scan - clean)[body] ** 2).mean()) for scan in (first, (first + second) / 2)]
    assert errors[1] == pytest.approx(errors[0] / np.sqrt(2), rel=0.05)


def test_the_first_run_is_the_scan_without_repeats(repeated: Path) -> None:
    exam = ankle_exam("sub-C01", size="demo", seed=11, side=None, contrast="t1")
    once = exam.take(snr=SNR)
    (case,) = load_repeats(repeated).cases
    assert once.clean is None and once.repeats == ()
    np.testing.assert_array_equal(read_volume(case.images[0], dtype=None).data, once.image)
    usual = ankle_scan("sub-C01", seed=11)[1]
    assert not np.array_equal(usual.image, once.image), "another SNR"
    assert all(np.array_equal(usual.masks[bone], once.masks[bone]) for bone in usual.masks)


@for_all(
    ("settings", "message"),
    [
        ({"repeats": 0}, "invalid number of repeats 0: expected at least 1"),
        ({"snr": 0.0}, "invalid snr 0: expected more than 0"),
        (
            {"repeats": 2, "dynamic": True},
            "repeats can be set of static scans only; write the cohort in motion without",
        ),
    ],
)
def test_what_cannot_be_is_refused(tmp_path: Path, settings, message) -> None:
    with pytest.raises(ConfigError) as refused:
        write_ankle_cohort(tmp_path / "out", subjects=1, **settings)
    assert str(refused.value) == message
    assert not (tmp_path / "out").exists()


def test_a_run_that_is_there_twice_is_no_repeat(tmp_path):
    anat = tmp_path / "sub-1" / "anat"
    for ending in (".nii", ".nii.gz"):
        write_volume(anat / f"sub-1_run-1_T1w{ending}", np.zeros((3, 3, 3), np.float32), np.eye(4))
    with pytest.raises(CohortError, match=r"run-1_T1w.nii.gz: is there twice, as sub-1_run-1_T1w.nii too; remove"):
        load_repeats(tmp_path)
