"""Laws of a case from its files to a prepared sample."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from preparations import preparation
from small_foot import AFFINE, foot, write_foot

from ankleseg.cohorts import Case
from ankleseg.data import prepared
from ankleseg.errors import FileError, GeometryError
from ankleseg.labels import Labels
from ankleseg.transforms import Preparation
from ankleseg.volumes import write_volume

LABELS = Labels(structures=("heel", "shin"))


def test_image_label_and_foreground_lie_together_and_the_files_stay(tmp_path: Path) -> None:
    shapes = foot()
    expected = shapes["heel"] * 1 + shapes["shin"] * 2
    whole = preparation(side="right")
    for side in ("right", "left"):
        case = write_foot(tmp_path, side=side)
        before = case.images[0].read_bytes()
        sample = prepared(case, whole, LABELS)
        image, label = sample["image"], sample["label"][0].numpy()
        assert label.dtype == np.uint8 and sample["foreground"].dtype == torch.bool
        assert np.array_equal(label, expected[:, :, ::-1] if side == "left" else expected)
        assert image[0][label == 2].min() > np.percentile(image[0][label == 0], 95)
        back = whole.restore(sample["label"].as_tensor(), image, nearest=True)
        assert np.array_equal(back[0], expected)
        assert "label" not in prepared(case, whole)
        assert case.images[0].read_bytes() == before
    everywhere = prepared(case, Preparation([]))["foreground"]
    assert everywhere.all() and everywhere.shape == image.shape, "where a preparation looks for none"


def test_what_is_told_of_a_file_is_told_once_however_many_frames_it_has(tmp_path: Path, caplog) -> None:
    path = write_volume(tmp_path / "a.nii.gz", np.stack([foot()["image"]] * 2, axis=-1), AFFINE)
    image = nib.load(path)
    moved = AFFINE.copy()
    moved[0, 3] += 9
    image.set_qform(moved, 1)
    nib.save(image, path)
    with caplog.at_level(logging.WARNING):
        for frame in (0, 1):
            prepared(Case("a", "a", {"image": path}, frame=frame), preparation(side="right"))
    assert caplog.text.count("a.nii.gz: its side is unknown and is taken as right") == 1
    assert caplog.text.count("its qform and sform put voxels up to 9.0 mm apart") == 1


def test_errors_name_the_file(tmp_path: Path) -> None:
    case, strict = write_foot(tmp_path), preparation(foreground={"threshold": 30000})
    with pytest.raises(FileError, match=r"^\S*s1_image.nii.gz: its foreground covers 0 % of the image; choose a lower"):
        prepared(case, strict)
    flat = write_foot(tmp_path, "flat", image=np.full_like(foot()["image"], 7))
    with pytest.raises(FileError, match=r"flat_image.nii.gz: is constant in the foreground"):
        prepared(flat, preparation(foreground={"rule": "whole_image"}))
    both = replace(case, channels={"a": case.images[0], "b": flat.images[0]})
    with pytest.raises(FileError, match=r"flat_image.nii.gz: is constant in the foreground"):
        prepared(both, preparation(foreground={"rule": "whole_image"}))
    spiked = foot()["image"].astype(np.float32)
    spiked[20, 18, 5] = 1e30
    moved = write_foot(tmp_path, "moved", affines={"image": AFFINE + np.diag([0, 0, 0.2, 0])})
    with pytest.raises(GeometryError, match=r"moved_image.nii.gz: is not on the grid of .*s1_image.nii.gz; resample"):
        prepared(replace(case, channels={"a": case.images[0], "b": moved.images[0]}), preparation())


def test_a_spike_is_told_with_its_file(tmp_path: Path, caplog) -> None:
    spiked = foot()["image"].astype(np.float32)
    spiked[20, 18, 5] = 1e30
    prepared(write_foot(tmp_path, image=spiked), preparation())
    assert "s1_image.nii.gz: clipped 1 voxel far outside the range of all others" in caplog.text


def test_what_is_not_moved_with_the_image_is_refused_even_where_its_shape_is_right(tmp_path: Path) -> None:
    body = write_volume(tmp_path / "body.nii.gz", foot()["body"].astype(np.uint8), AFFINE)
    case = replace(write_foot(tmp_path, side="left"), foreground=body)
    turn = {"_target_": "monai.transforms.Orientationd", "axcodes": "AIL", "labels": None}
    mirror = {"_target_": "ankleseg.transforms.MirrorToSided", "side": "right"}
    every = ["image", "label", "foreground"]
    for node in (turn, mirror):
        moved = prepared(case, Preparation([node | {"keys": every}]), LABELS)
        inside = moved["label"][0] > 0
        assert moved["foreground"][0][inside].float().mean() > 0.9
        for left_out in ("label", "foreground"):
            keys = [key for key in every if key != left_out]
            with pytest.raises(GeometryError) as refused:
                prepared(case, Preparation([node | {"keys": keys}]), LABELS)
            assert str(refused.value) == (
                f"{case.images[0]}: its {left_out} is not on the grid of its prepared image; give it on the grid of "
                f"the scan, and list {left_out} in the keys of every transform of prepare.transforms that moves the "
                "image"
            )
