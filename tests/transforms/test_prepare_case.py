"""Laws of a case prepared with its label."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from ankleseg.cohorts import Reference
from ankleseg.errors import CohortError, FileError, GeometryError
from ankleseg.transforms import Otsu, Preparation, ZScore, prepare_case
from ankleseg.volumes import write_volume

BONES = ("heel", "shin")


@pytest.fixture
def preparation() -> Preparation:
    return Preparation(foreground=Otsu(), scaling=ZScore(), bring_to_side="right")


@pytest.mark.parametrize("side", ["right", "left"])
def test_the_label_lies_where_the_image_lies(write_case, foot, preparation: Preparation, side: str) -> None:
    prepared = prepare_case(write_case(side=side), preparation, BONES)
    expected = foot["heel"] * 1 + foot["shin"] * 2
    assert prepared.label.dtype == np.uint8
    assert np.array_equal(prepared.placement.restore(prepared.label[None], order=0)[0], expected)
    assert np.array_equal(prepared.label, expected[:, :, ::-1] if side == "left" else expected)
    assert prepared.image[0][prepared.label == 2].min() > np.percentile(prepared.image[0][prepared.label == 0], 95)


def test_the_order_of_the_structures_is_that_of_the_labels(write_case, foot, preparation: Preparation) -> None:
    assert np.array_equal(prepare_case(write_case(), preparation, ("shin",)).label, foot["shin"])
    turned = prepare_case(write_case(), preparation, ("shin", "heel")).label
    assert np.array_equal(turned == 2, foot["heel"])


def test_structures_may_share_a_label_map(write_case, foot, affine, tmp_path, preparation: Preparation) -> None:
    path = write_volume(tmp_path / "map.nii.gz", (foot["heel"] * 7 + foot["shin"] * 3).astype(np.int16), affine)
    case = replace(write_case(), references={"heel": Reference(path, 7), "shin": Reference(path, 3)})
    assert np.array_equal(prepare_case(case, preparation, BONES).label, foot["heel"] * 1 + foot["shin"] * 2)


def test_an_empty_mask_is_allowed(write_case, foot, preparation: Preparation) -> None:
    case = write_case(heel=np.zeros_like(foot["heel"]))
    assert np.array_equal(prepare_case(case, preparation, BONES).label == 2, foot["shin"])


def test_a_few_shared_voxels_go_to_the_structure_named_first(write_case, foot, preparation: Preparation) -> None:
    big = np.zeros_like(foot["heel"])
    big[:20] = True
    other = ~big
    other[19, 5, 5] = True
    label = prepare_case(write_case(heel=big, shin=other), preparation, BONES).label
    assert label[19, 5, 5] == 1
    assert prepare_case(write_case(heel=big, shin=other), preparation, ("shin", "heel")).label[19, 5, 5] == 1


def test_overlapping_masks_are_refused_with_their_share(write_case, foot, preparation: Preparation) -> None:
    heel = foot["heel"].copy()
    heel[foot["shin"]] = True
    with pytest.raises(
        CohortError, match=r"case s1: heel and shin share \d+ voxels, 100.0 % of the shin; correct the mas"
    ):
        prepare_case(write_case(heel=heel), preparation, BONES)


def test_a_missing_structure_is_named(write_case, preparation: Preparation) -> None:
    with pytest.raises(CohortError, match="case s1 has no mask of talus; add it, or choose among heel, shin"):
        prepare_case(write_case(), preparation, ("heel", "talus"))


def test_a_mask_with_another_header_needs_a_decision(write_case, foot, affine, preparation: Preparation) -> None:
    shifted = affine.copy()
    shifted[:3, 3] += 30
    case = write_case(affines={"heel": shifted})
    with pytest.raises(GeometryError, match=r"s1_heel.nii.gz: fixable by header copy: .*; .*copy_headers=true"):
        prepare_case(case, preparation, BONES)
    label = prepare_case(case, preparation, BONES, copy_headers=True).label
    assert np.array_equal(label == 1, foot["heel"])


def test_a_mask_on_a_finer_grid_needs_a_decision(write_case, foot, affine, preparation: Preparation) -> None:
    fine = affine @ np.diag([1 / 3, 1 / 3, 1 / 3, 1.0])
    fine[:3, 3] = (affine @ [-1 / 3, -1 / 3, -1 / 3, 1])[:3]
    heel = np.repeat(np.repeat(np.repeat(foot["heel"], 3, 0), 3, 1), 3, 2)
    case = write_case(heel=heel, affines={"heel": fine})
    with pytest.raises(GeometryError, match=r"s1_heel.nii.gz: needs resampling: .*; set resample_masks=true"):
        prepare_case(case, preparation, BONES)
    label = prepare_case(case, preparation, BONES, resample_masks=True).label
    assert np.array_equal(label == 1, foot["heel"])


def test_a_mask_of_other_values_is_refused(write_case, foot, preparation: Preparation) -> None:
    case = write_case(heel=(foot["heel"] * 1 + foot["shin"] * 2).astype(np.uint8))
    with pytest.raises(FileError, match=r"s1_heel.nii.gz: is not a mask of 0 and 1: it holds the values 0, 1, 2"):
        prepare_case(case, preparation, BONES)


def test_the_size_in_bytes_is_that_of_the_arrays(write_case, foot, preparation: Preparation) -> None:
    assert prepare_case(write_case(), preparation, BONES).size_in_bytes == 6 * foot["image"].size
