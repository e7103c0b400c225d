"""Laws of cines of one slice, which are refused by their headers, before anything is read or computed."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from ankleseg.cohorts import Case
from ankleseg.motion.cleaning import clean_case
from ankleseg.motion.cleaning.sequences import check_slices
from ankleseg.volumes import Verdict

TOLD = "one slice: bones cannot be followed in three dimensions"


def cine(path: Path, shape: tuple[int, ...], voxel: tuple[float, ...] = (1, 1, 5)) -> Path:
    image = nib.Nifti1Image(np.ones(shape, np.int16), np.diag([1.0, 1.0, 5.0, 1.0]))
    image.header["pixdim"][1:4] = voxel
    nib.save(image, path)
    return path


@pytest.mark.parametrize("shape", [(12, 10, 1, 20), (1, 12, 10, 20), (12, 1, 10, 20)])
@pytest.mark.parametrize("voxel", [(1, 1, 5), (1, 1, 0)])
def test_one_slice_is_refused_whatever_thickness_a_converter_wrote(tmp_path: Path, shape, voxel) -> None:
    (found,) = check_slices(cine(tmp_path / "cine.nii.gz", shape, voxel))
    assert (found.verdict, found.problem) == (Verdict.UNREADABLE, TOLD)
    assert found.mend == "give frames of several slices, as (X, Y, Z, time)"


@pytest.mark.parametrize("shape", [(12, 10, 20), (12, 10, 20, 1)])
def test_time_in_the_third_axis_is_said_to_be_perhaps_one_slice(tmp_path: Path, shape) -> None:
    (found,) = check_slices(cine(tmp_path / "cine.nii", shape))
    assert found.problem == f"has 3 dimensions (12×10×20); if the third is time, it is {TOLD}"


def test_frames_of_several_slices_pass(tmp_path: Path) -> None:
    assert check_slices(cine(tmp_path / "frames.nii.gz", (12, 10, 2, 20))) == []


def test_it_is_the_first_thing_said_of_a_case_even_without_any_mask(tmp_path: Path) -> None:
    scan = cine(tmp_path / "scan.nii.gz", (12, 10, 8))
    case = Case(
        "sub-1", "sub-1", channels={"T1w": scan}, sequences={"flexion": cine(tmp_path / "cine.nii", (12, 10, 1, 20))}
    )
    assert TOLD in clean_case(case).reasons[0]
