"""Datasets of the Decathlon and nnU-Net as they are handed on."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ankleseg.cohorts import load_cohort
from ankleseg.errors import CohortError

LABELS = {"labels": {"background": 0, "talus": 1}, "channel_names": {"0": "MRI"}, "file_ending": ".nii.gz"}


def described(folder: Path, content: dict, encoding: str = "utf-8") -> Path:
    (folder / "dataset.json").write_bytes(json.dumps(content).encode(encoding))
    return folder


def test_a_byte_order_mark_and_hidden_companions_do_no_harm(touch, tmp_path) -> None:
    for name in ("imagesTr/a_0000", "labelsTr/a", "imagesTr/._a_0000", "labelsTr/._a"):
        touch(f"{name}.nii.gz")
    assert [case.name for case in load_cohort(described(tmp_path, LABELS, "utf-8-sig")).cases] == ["a"]


def test_files_may_be_listed_elsewhere(touch, tmp_path) -> None:
    image, label = touch("raw/c1/image.nii.gz"), touch("raw/c1/seg.nii.gz")
    entry = {"images": ["raw/c1/image.nii.gz"], "label": "raw/c1/seg.nii.gz"}
    (case,) = load_cohort(described(tmp_path, LABELS | {"dataset": {"c1": entry}})).cases
    assert (case.name, case.images, case.masks) == ("c1", (image,), {label: (1,)})


def test_training_scans_may_be_plain_names(touch, tmp_path) -> None:
    image, label = touch("imagesTr/a_0000.nii.gz"), touch("labelsTr/a.nii.gz")
    (case,) = load_cohort(described(tmp_path, LABELS | {"training": ["./imagesTr/a_0000.nii.gz"]})).cases
    assert (case.name, case.images, case.masks) == ("a", (image,), {label: (1,)})


def test_a_folder_of_predictions_is_no_cohort(touch, tmp_path) -> None:
    touch("a.nii.gz")
    touch("plans.json")
    with pytest.raises(
        CohortError, match="is a folder of nnU-Net predictions, not a cohort; give it to ankleseg.evalu"
    ):
        load_cohort(described(tmp_path, LABELS))


def test_the_only_channel_may_lack_its_number_and_companions_may_be_listed(touch, tmp_path) -> None:
    image, label = touch("imagesTr/a.nii.gz"), touch("labelsTr/a.nii.gz")
    (case,) = load_cohort(described(tmp_path, LABELS)).cases
    assert (case.name, case.images, case.masks) == ("a", (image,), {label: (1,)})
    entries = [{"image": f"imagesTr/{name}.nii.gz", "label": f"labelsTr/{name}.nii.gz"} for name in ("a", "._a")]
    for name in ("imagesTr/._a", "labelsTr/._a"):
        touch(f"{name}.nii.gz")
    assert [case.name for case in load_cohort(described(tmp_path, LABELS | {"training": entries})).cases] == ["a"]
