"""Laws of the foreground rules, and of single damaged voxels."""

from __future__ import annotations

from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch
from preparations import in_memory, preparation

from ankleseg.errors import ConfigError, FileError
from ankleseg.transforms import ClipSpikesd, ForegroundMaskd


def found(image: np.ndarray, **rule: Any) -> np.ndarray:
    sample = ForegroundMaskd("image", **rule)(in_memory(image, np.eye(4)))
    assert sample["foreground"].dtype == torch.bool and sample["foreground"].shape == (1, *image.shape)
    return sample["foreground"][0].numpy()


def test_a_tube_is_filled_slice_by_slice_and_a_speck_is_dropped() -> None:
    """Open at both ends, so that no hole is enclosed in three dimensions; without the clean-up as published."""
    x, y, _ = np.meshgrid(*(np.arange(n) - n // 2 for n in (30, 30, 6)), indexing="ij")
    radius = np.hypot(x, y)
    tube = (radius > 5) & (radius < 10)
    tube[0, 0, 0] = True
    image = np.where(tube, 1000.0, 10.0)
    for rule in ({"threshold": 250}, {"rule": "otsu"}):
        assert np.array_equal(found(image, **rule), radius < 10)
    assert np.array_equal(found(image, threshold=250, largest=False, fill_holes=False), tube)
    box = np.zeros((12, 12, 12))
    box[2:10, 2:10, 2:10] = 1000
    hollow = box.copy()
    hollow[4:8, 4:8, 4:8] = 0
    assert np.array_equal(found(hollow, threshold=250), box > 0)


def test_a_threshold_is_exclusive_and_the_other_rules_are_what_they_say() -> None:
    image = np.full((6, 6, 6), 250.0)
    image[1:3, 1:3, 1:3] = 251
    assert found(image, threshold=250).sum() == 8
    image = np.zeros((6, 6, 6))
    image[1:4, 1:4, 1:4] = -3
    assert np.array_equal(found(image, rule="nonzero"), image < 0)
    assert found(image, rule="whole_image").all()


def test_otsu_parts_body_from_air_whatever_the_scale_and_however_bright_fat_is(foot: dict[str, np.ndarray]) -> None:
    image = foot["image"].astype(np.float32)
    image[foot["heel"] | foot["shin"]] *= 4
    mask = found(image)
    assert 2 * (mask & foot["body"]).sum() / (mask.sum() + foot["body"].sum()) > 0.99
    assert np.array_equal(mask, found(image * 0.01 - 7))


def test_otsu_finds_the_leg_in_a_real_scan(shared_data) -> None:
    leg = nib.as_closest_canonical(nib.load(shared_data / "ankle" / "lower_leg_mri.nii.gz"))
    image = np.asarray(leg.dataobj)
    mask = found(image, largest=False)
    assert 0.05 < mask.mean() < 0.12
    assert mask[image > 300].mean() > 0.999


def test_what_holds_no_foreground_is_refused_with_a_mend() -> None:
    image = np.zeros((20, 20, 20))
    mend = r"; choose a lower prepare\.foreground\.threshold, or prepare/foreground=otsu or whole_image"
    for rule in ({"threshold": 2000}, {"rule": "nonzero"}):
        with pytest.raises(FileError, match="its foreground covers 0 % of the image" + mend):
            found(image, **rule)
    image[3, 3, 3] = 900
    with pytest.raises(FileError, match=r"its foreground covers 0\.013 % of the image"):
        found(image, threshold=250)
    with pytest.raises(FileError, match=r"is \(almost\) constant: it has no foreground; check that this is the right"):
        found(np.full((5, 5, 5), 7.0))
    with pytest.raises(ConfigError, match=r"invalid keys \('t1', 't2'\): expected one image"):
        ForegroundMaskd(["t1", "t2"])


def test_a_damaged_voxel_moves_neither_foreground_nor_scale(
    affine, foot: dict[str, np.ndarray], caplog: pytest.LogCaptureFixture
) -> None:
    sound = preparation()(in_memory(foot["image"], affine))
    for spike in (1e30, -1e30, 3e38, 1e6, -1e6):
        caplog.clear()
        damaged = foot["image"].astype(np.float32)
        damaged[20, 18, 5] = spike
        assert np.array_equal(found(damaged), found(foot["image"]))
        prepared = preparation()(in_memory(damaged, affine))
        assert (prepared["foreground"] != sound["foreground"]).float().mean() < 1e-3
        assert prepared["image"].isfinite().all() and (prepared["image"] - sound["image"]).abs().mean() < 0.02
        assert "clipped 1 voxel far outside the range of all others" in caplog.text


def test_each_channel_is_clipped_on_its_own_and_bright_vessels_are_no_spikes(foot, affine, caplog) -> None:
    image = foot["image"].astype(np.float32)
    image[20, 18, 4:6] = 50 * image.max()
    both = np.stack([image, image])
    both[1, 3, 4, 5] = 1e20
    sample = in_memory(both, affine)
    clipped = ClipSpikesd("image")(sample)["image"]
    assert np.array_equal(clipped[0], image) and clipped[1].max() == image.max()
    assert caplog.text.count("clipped") == 1 and sample["image"][1].max() > 1e19, "the input stays"
    assert np.array_equal(ClipSpikesd("image")({"image": both})["image"], clipped), "an array without metadata"


def test_a_slice_and_damaged_voxels_are_refused_in_one_line(foot: dict[str, np.ndarray]) -> None:
    with pytest.raises(
        ConfigError, match="invalid image of 2 axes: expected three, after that of the channels; take sl"
    ):
        ForegroundMaskd("image")({"image": torch.rand(1, 8, 8)})
    image = foot["image"].astype(np.float32)
    image[0, 0, 0] = np.nan
    for rule in ("otsu", "nonzero", "whole_image"):
        with pytest.raises(FileError, match="holds NaN or infinite voxels; replace them"):
            ForegroundMaskd("image", rule=rule)({"image": torch.from_numpy(image)[None]})
