"""A region is a set of label values: read from nnU-Net and from tables, the larger one first."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from ankleseg.cohorts import Cohort, Reference, load_cohort, read_reference
from ankleseg.errors import CohortError, FileError
from ankleseg.volumes import check_case, read_mask, write_volume

VALUES = {"whole": (1, 2, 3), "core": (2, 3), "enhancing": 3}
MAP = np.arange(5 * 6 * 4, dtype=np.uint8).reshape(5, 6, 4) % 5  # holds 4 too, which is in no region


@pytest.fixture(params=["nnunet", "table"])
def cohort(request: pytest.FixtureRequest, tmp_path: Path) -> Cohort:
    """One case whose regions are named from the smallest to the largest."""
    image = write_volume(tmp_path / "imagesTr/a_0000.nii.gz", MAP.astype(np.float32), np.eye(4))
    label = write_volume(tmp_path / "labelsTr/a.nii.gz", MAP, np.eye(4))
    if request.param == "nnunet":
        labels = {"background": 0, "enhancing": 3, "core": [3, 2], "whole": [1, 2, 3]}
        told = {"labels": labels, "regions_class_order": [3, 2, 1], "channel_names": {"0": "T1"}}
        (tmp_path / "dataset.json").write_text(json.dumps(told | {"file_ending": ".nii.gz"}))
        return load_cohort(tmp_path)
    table = tmp_path / "table.csv"
    columns = "case,image,labels,value_enhancing,value_core,value_whole"
    table.write_text(f"{columns}\na,{image},{label},3,3+2, 1 + 2.0 + 3\n")
    return load_cohort(table)


def test_regions_are_read_as_their_values_and_the_larger_one_comes_first(cohort: Cohort) -> None:
    (case,) = cohort.cases
    assert cohort.structures == ("whole", "core", "enhancing") and cohort.regions
    assert {name: reference.value for name, reference in case.references.items()} == VALUES
    for name, reference in case.references.items():
        assert np.array_equal(read_reference(case, name).data, np.isin(MAP, reference.values))
    assert set(case.masks) == {case.references["whole"].path}
    assert sorted(case.masks[case.references["whole"].path] or ()) == [1, 2, 3]
    assert check_case(case.name, case.images, case.masks).verdict == "ok"


def test_the_order_asked_for_is_kept_and_one_that_hides_a_region_is_said(
    cohort: Cohort, caplog: pytest.LogCaptureFixture
) -> None:
    hides = "whole holds all of core and hides it in label maps; name whole first in structures"
    for structures, regions in ((("whole", "core"), True), (("whole",), False), (("core", "whole"), True)):
        assert hides not in caplog.text
        chosen = load_cohort(cohort.root, structures=structures)
        assert (chosen.structures, chosen.regions) == (structures, regions)
        assert f"{'regions' if regions else 'structures'} {', '.join(structures)}" in chosen.describe()
    assert hides in caplog.text


def test_sets_that_share_no_value_are_structures_that_exclude_each_other(tmp_path: Path) -> None:
    for name in ("a.nii", "l.nii"):
        (tmp_path / name).touch()
    table = tmp_path / "table.csv"
    table.write_text("case,image,labels,value_oedema,value_core\na,a.nii,l.nii,2,1+4\n")
    cohort = load_cohort(table)
    assert (cohort.structures, cohort.regions) == (("oedema", "core"), False)
    assert cohort.cases[0].references["core"] == Reference(tmp_path / "l.nii", (1, 4))
    for cell in ("1+", "1+x", "1-3"):
        table.write_text(f"case,image,labels,value_core\na,a.nii,l.nii,{cell}\n")
        with pytest.raises(
            CohortError, match=r"the label value .* for core .*; write a whole number, or several like 1"
        ):
            load_cohort(table)
    table.write_text("case,image,labels,value_core\na,a.nii,l.nii,0+1\n")
    with pytest.raises(CohortError, match="0 is the background"):
        load_cohort(table)


def test_a_region_without_a_voxel_is_empty_and_told_by_all_its_values(tmp_path: Path) -> None:
    path = write_volume(tmp_path / "l.nii.gz", (MAP == 1).astype(np.uint8), np.eye(4))
    mask = read_mask(path, value=(2, 3), used=(1, 2, 3))
    assert not mask.data.any() and mask.header is not None
    assert [remark.problem for remark in mask.header.remarks] == ["has no voxel of the values 2, 3; it holds 1"]
    with pytest.raises(FileError, match=r"holds the labels 1 and none of those asked for \(2, 3\)"):
        read_mask(path, value=(2, 3), used=(2, 3))
