"""Laws of repeats: two scans of one anatomy with independent noise, in one scale."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from preparations import preparation

from ankleseg import keys
from ankleseg.cohorts import Split, load_repeats
from ankleseg.data import PairData, PatchSampler, RepeatPairs
from ankleseg.errors import CohortError, GeometryError
from ankleseg.labels import Labels
from ankleseg.volumes import read_volume, write_volume


@pytest.fixture
def repeats(tmp_path: Path) -> Path:
    """Two subjects, scanned twice with independent noise on a thick grid, and one scanned once."""
    rng, affine = np.random.default_rng(0), np.diag([1.0, 1.0, 4.0, 1.0])
    for subject in ("sub-1", "sub-2"):
        clean = np.zeros((30, 28, 5))
        clean[6:24, 5:22] = 200 + 150 * rng.random((18, 17, 5)).round()
        for run in (1, 2):
            noisy = clean + rng.normal(0, 20, clean.shape) * (clean > 0)
            write_volume(tmp_path / subject / "anat" / f"{subject}_run-{run}_T1w.nii.gz", noisy.astype("f4"), affine)
        truth = tmp_path / "derivatives" / "truth" / subject / "anat" / f"{subject}_T1w.nii.gz"
        write_volume(truth, clean.astype("f4"), affine)
    write_volume(tmp_path / "sub-3" / "anat" / "sub-3_run-1_T1w.nii.gz", clean.astype("f4"), affine)
    return tmp_path


RAW = preparation(axcodes="RAS", foreground={"rule": "nonzero"})


def test_repeats_are_the_images_of_a_case(repeats: Path) -> None:
    cohort = load_repeats(repeats)
    assert [(case.name, case.subject) for case in cohort.cases] == [("sub-1_T1w", "sub-1"), ("sub-2_T1w", "sub-2")]
    assert [image.name for image in cohort.cases[0].images] == ["sub-1_run-1_T1w.nii.gz", "sub-1_run-2_T1w.nii.gz"]
    assert cohort.cases[0].clean == repeats / "derivatives/truth/sub-1/anat/sub-1_T1w.nii.gz"


def test_repeats_on_different_grids_are_refused_in_one_line(repeats: Path) -> None:
    second = repeats / "sub-2" / "anat" / "sub-2_run-2_T1w.nii.gz"
    write_volume(second, read_volume(second).data, np.diag([1.0, 1.0, 4.5, 1.0]))
    with pytest.raises(GeometryError) as refused:
        load_repeats(repeats)
    assert str(refused.value) == (
        f"{second}: is not on the grid of sub-2_run-1_T1w.nii.gz: the foot moved, or the protocol changed; give "
        "repeats of one position and protocol, or take the run out of the folder"
    )


def test_a_folder_without_repeats_is_refused(phantom_cohort: Path, repeats: Path) -> None:
    with pytest.raises(CohortError, match=r"holds no repeated scans; name them sub-\*/anat/\*_run-1_T1w"):
        load_repeats(phantom_cohort)
    with pytest.raises(CohortError, match="holds no repeated scans"):
        load_repeats(repeats, suffix="T2w")
    with pytest.raises(CohortError, match="is not a folder"):
        load_repeats(repeats / "nowhere")


def test_each_repeat_is_to_become_the_other_in_one_scale(repeats: Path) -> None:
    case = load_repeats(repeats).cases[0]
    runs = [read_volume(image).data for image in case.images]
    pairs = RepeatPairs().training(case, RAW)
    assert len(pairs) == 2
    for pair, (image, target) in zip(pairs, (runs, runs[::-1]), strict=True):
        inside = image != 0
        mean, deviation = image[inside].mean(), image[inside].std()
        np.testing.assert_allclose(pair[keys.IMAGE][0], (image - mean) / deviation, atol=1e-4)
        np.testing.assert_allclose(pair[keys.TARGET][0], (target - mean) / deviation, atol=1e-4)
        assert torch.equal(pair[keys.LABEL] > 0, pair[keys.FOREGROUND])
    (validated,) = RepeatPairs().validation(case, RAW)
    assert torch.equal(validated[keys.TARGET], pairs[0][keys.TARGET])


def test_the_clean_scan_can_be_the_target(repeats: Path) -> None:
    case = load_repeats(repeats).cases[0]
    pairs, noisy = (RepeatPairs(target=target).training(case, RAW) for target in ("clean", "noisy"))
    assert len(pairs) == len(noisy) == 2
    for clean, other in zip(pairs, noisy, strict=True):
        assert torch.equal(clean[keys.IMAGE], other[keys.IMAGE])
        assert np.unique(clean[keys.TARGET][clean[keys.LABEL] > 0].numpy().round(4)).size == 2, (
            "two tissues without noise"
        )
    with pytest.raises(CohortError, match="case sub-1_T1w was not repeated; give cases of two scans or more"):
        RepeatPairs().training(replace(case, channels={"run-1": case.images[0]}), RAW)
    with pytest.raises(CohortError, match="has no scan without noise; set patches.pairs.target=noisy"):
        RepeatPairs(target="clean").training(replace(case, clean=None), RAW)


def test_a_cohort_of_repeats_is_split_by_subject(repeats: Path) -> None:
    data = PairData(
        cohort=load_repeats(repeats),
        split=Split(train=("sub-1",), validation=("sub-2",)),
        preparation=RAW,
        labels=Labels(images=("restored",)),
        pairs=RepeatPairs(),
        sampler=PatchSampler(size=(12, 10), min_foreground=0.3),
        batch_size=4,
        steps_per_epoch=3,
    )
    data.setup("fit")
    batch = next(iter(data.train_dataloader()))
    assert batch[keys.IMAGE].shape == batch[keys.TARGET].shape == (4, 1, 12, 10)
    assert [frame[keys.CASE] for frame in data.val_dataloader()] == [["sub-2_T1w"]]
