"""Laws of training on label maps: what labels are moved by moves them, and scans are prepared as ever."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from preparations import preparation

from ankleseg import keys
from ankleseg.cohorts import Split, load_cohort
from ankleseg.data import LabelMapData, PatchSampler
from ankleseg.errors import CohortError, ConfigError
from ankleseg.labels import Labels
from ankleseg.transforms import RandImageFromLabelsd
from ankleseg.volumes import write_volume
from ankleseg.volumes.geometry import axis_codes, spacing

TISSUES = {0, 3, 7, 9}


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """Two label maps, whose 7 and 9 are the cord, and a scan."""
    tissues = np.zeros((40, 36, 10), np.uint8)
    tissues[5:35, 5:30], tissues[12:26, 12:22], tissues[16:20, 14:18] = 3, 7, 9
    affine = np.diag([0.8, 0.8, 2.0, 1.0])
    scan = np.random.default_rng(0).normal(100 * tissues + 50.0, 20)
    write_volume(tmp_path / "tissues.nii.gz", tissues, affine)
    write_volume(tmp_path / "scan.nii.gz", scan.astype(np.int16), affine)
    maps = [f"{name},{name}.nii.gz,{name}.nii.gz,7+9" for name in ("tissues", "other")]
    (tmp_path / "other.nii.gz").write_bytes((tmp_path / "tissues.nii.gz").read_bytes())
    rows = ["subject,image,labels,value_cord", *maps, "scan,scan.nii.gz,tissues.nii.gz,7+9"]
    (tmp_path / "table.csv").write_text("\n".join(rows) + "\n")
    return tmp_path / "table.csv"


def data_of(table: Path, **settings: object) -> LabelMapData:
    own = {
        "cohort": load_cohort(table),
        "split": Split(train=("tissues", "other"), validation=("scan",)),
        "preparation": preparation(axcodes="RAS", spacing=(0.5, 0.5, None), foreground={"rule": "whole_image"}),
        "labels": Labels(structures=("cord",)),
        "sampler": PatchSampler(size=(48, 48), min_foreground=0.0),
        "batch_size": 2,
        "steps_per_epoch": 2,
    }
    data = LabelMapData(**(own | settings))
    data.setup("fit")
    return data


def test_maps_keep_their_numbers_and_scans_are_scaled(table: Path, tmp_path: Path) -> None:
    for cache in (None, tmp_path / "cache"):
        data = data_of(table, cache=cache)
        for batch in data.train_dataloader():
            assert set(batch[keys.IMAGE].unique().tolist()) <= TISSUES
            assert torch.equal(batch[keys.LABEL] == 1, (batch[keys.IMAGE] == 7) | (batch[keys.IMAGE] == 9))
        (volume,) = data.val_dataloader()
        assert volume[keys.IMAGE].shape == (1, 1, 64, 58, 10), "both are brought to the spacing"
        assert abs(float(volume[keys.IMAGE].mean())) < 1e-3 and len(volume[keys.IMAGE].unique()) > 1000


def test_the_augmentation_makes_images_of_them(table: Path) -> None:
    draw = RandImageFromLabelsd("image", label_key="image", noise=0.0)
    first, second = (batch for batch in data_of(table, augment=[draw]).train_dataloader())
    shades = [frozenset(image.unique().tolist()) for batch in (first, second) for image in batch[keys.IMAGE]]
    assert all(len(shade) <= len(TISSUES) for shade in shades) and len(set(shades)) == 4


def test_a_scan_among_the_maps_is_refused_by_name(table: Path) -> None:
    with pytest.raises(CohortError, match="the image of scan is a scan: expected a label map"):
        data_of(table, split=Split(train=("tissues", "scan")))


def test_slices_of_each_plane_are_as_many_and_have_the_spacing_within_slices(table: Path) -> None:
    sampler = PatchSampler(size=(8, 8, 4), min_foreground=0.0)
    data = data_of(table, planes=("sagittal", "coronal", "axial"), sampler=sampler)
    samples = data.training_samples()
    codes = [axis_codes(np.asarray(sample[keys.AFFINE])) for sample in samples]
    assert codes == ["PSR"] * 2 + ["RSA"] * 2 + ["RAS"] * 2 and data.slice_axis is None
    within = np.array([spacing(np.asarray(sample[keys.AFFINE]))[:2] for sample in samples])
    assert np.allclose(within, 0.5) and samples[-1][keys.IMAGE].dtype == torch.uint8
    with pytest.raises(ConfigError, match="invalid plane 'oblique': expected sagittal, coronal, axial"):
        data_of(table, planes=("oblique",))
