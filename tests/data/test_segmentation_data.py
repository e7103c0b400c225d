"""Laws of the data of a segmentation: what is trained on, by whatever transforms, and what is kept of it."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from monai import transforms as monai
from preparations import preparation

from ankleseg import keys
from ankleseg.cohorts import Case, Cohort, Reference, Split, load_cohort
from ankleseg.config import build, compose, conf_dir, to_plain
from ankleseg.data import PatchSampler, SegmentationData
from ankleseg.errors import CohortError, ConfigError, FileError
from ankleseg.labels import Labels
from ankleseg.transforms import RandAnatomicalFlipd, RandWorldAffined
from ankleseg.volumes import read_volume, write_volume
from ankleseg.volumes.geometry import axis_codes

BOTH = [keys.IMAGE, keys.LABEL]
RAS = preparation(axcodes="RAS")
TURNED = [RandWorldAffined(BOTH, rotate=20)]
LABELS = Labels(structures=("ball",))


@pytest.fixture
def cohort(tiny_table: Path) -> Cohort:
    return load_cohort(tiny_table)


def data_of(cohort: Cohort, **settings: Any) -> SegmentationData:
    defaults: dict[str, Any] = {
        "cohort": cohort,
        "split": Split(train=("s0", "s1"), validation=("s2",), test=("s3",)),
        "preparation": RAS,
        "labels": LABELS,
        "sampler": PatchSampler(size=(16, 16)),
        "augment": TURNED,
        "batch_size": 3,
        "steps_per_epoch": 4,
    }
    return SegmentationData(**(defaults | settings))


def first_batch(data: SegmentationData) -> dict[str, torch.Tensor]:
    data.setup("fit")
    return next(iter(data.train_dataloader()))


def test_training_draws_patches_and_validation_reads_volumes(cohort: Cohort, caplog, tmp_path: Path) -> None:
    """And the memory taken is said before it is taken."""
    data = data_of(cohort)
    with caplog.at_level(logging.INFO):
        data.setup("fit")
    assert [batch[keys.IMAGE].shape for batch in data.train_dataloader()] == [(3, 1, 16, 16)] * 4
    (volume,) = data.val_dataloader()
    assert volume[keys.CASE] == ["s2"] and volume[keys.IMAGE].shape == volume[keys.LABEL].shape == (1, 1, 40, 36, 6)
    taken = 2 * 40 * 36 * 6 * 6  # two cases of float32, a bool and a uint8 a voxel
    assert f"training: 2 cases, {taken / 1000:.1f} kB prepared, in memory (" in caplog.text
    assert "validation: 1 case," in caplog.text
    alone = data_of(cohort, split=Split(train=("s0",)), cache=tmp_path / "cache")
    with caplog.at_level(logging.INFO):
        alone.setup("fit")
    assert f"memory-mapped in {tmp_path / 'cache'}" in caplog.text and alone.val_dataloader() == []


def test_more_than_there_is_of_memory_is_told_with_a_mend(cohort: Cohort, caplog, monkeypatch) -> None:
    monkeypatch.setattr("ankleseg.data.volumes.available_memory", lambda: 1000)
    with caplog.at_level(logging.INFO):
        data_of(cohort).setup("validate")
    assert "in memory (1.0 kB free); set patches.cache=FOLDER to keep them on disk" in caplog.text


def test_validation_alone_prepares_no_training_subject(cohort: Cohort, tmp_path: Path) -> None:
    broken = replace(cohort.cases[0], channels={"image": tmp_path / "gone.nii.gz"})
    data = data_of(replace(cohort, cases=(broken, *cohort.cases[1:])))
    data.setup("validate")
    assert len(list(data.val_dataloader())) == 1
    with pytest.raises(FileError, match="gone.nii.gz: does not exist"):
        data.setup("fit")


class Recorder(pl.LightningModule):
    """Keeps the sum of every batch."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.seen: list[float] = []

    def training_step(self, batch, index):
        self.seen.append(float(batch[keys.IMAGE].sum()))
        return self.weight.sum()

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


def trained(data: SegmentationData, folder: Path, epochs: int, resume: Path | None = None) -> list[float]:
    module = Recorder()
    trainer = pl.Trainer(
        max_epochs=epochs, accelerator="cpu", logger=False, enable_checkpointing=False, default_root_dir=folder,
        enable_progress_bar=False, enable_model_summary=False, limit_val_batches=0,
    )  # fmt: skip
    trainer.fit(module, data, ckpt_path=resume)
    trainer.save_checkpoint(folder / f"{epochs}.ckpt")
    return module.seen


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_every_epoch_of_a_training_draws_anew_and_a_resumed_one_goes_on(cohort: Cohort, tmp_path: Path) -> None:
    through = trained(data_of(cohort, workers=2), tmp_path, 3)
    assert len(set(through)) == 12
    assert trained(data_of(cohort), tmp_path, 1) == through[:4]
    assert trained(data_of(cohort), tmp_path, 3, tmp_path / "1.ckpt") == through[4:]


def test_several_processes_get_whole_batches_only(cohort: Cohort, monkeypatch) -> None:
    data = data_of(cohort)
    data.setup("fit")
    for together, batches in ((5, []), (3, [3])):
        monkeypatch.setattr("ankleseg.data.dataset.rank_and_processes", lambda together=together: (1, together))
        assert [len(batch[keys.IMAGE]) for batch in data.train_dataloader()] == batches


def test_a_cache_changes_no_patch_and_what_is_prepared_otherwise_is_prepared_anew(cohort, tmp_path: Path) -> None:
    expected = first_batch(data_of(cohort))[keys.IMAGE]
    for _ in range(2):  # written, then found
        assert torch.equal(first_batch(data_of(cohort, cache=tmp_path))[keys.IMAGE], expected)
    regions = Labels(structures=("ball",), regions=True)
    for number, other in enumerate(({"preparation": preparation()}, {"copy_headers": True}, {"labels": regions})):
        assert len(list(tmp_path.glob("*.pt"))) == 3 * (number + 1)
        first_batch(data_of(cohort, cache=tmp_path, **other))
    assert len(list(tmp_path.glob("*.pt"))) == 12


def test_all_that_is_kept_is_deterministic_to_monai(cohort: Cohort) -> None:
    """A list inside the list would count as random, and be done again whenever a sample is asked for."""
    steps = data_of(cohort).transform()
    assert steps.get_index_of_first(lambda step: isinstance(step, monai.Randomizable)) is None
    assert steps.get_index_of_first(lambda step: not isinstance(step, monai.Transform)) is None


def test_processes_that_train_together_share_what_one_of_them_prepared(cohort: Cohort, tmp_path, monkeypatch) -> None:
    one, other = (data_of(cohort) for _ in range(2))
    for data in (one, other):
        data.trainer = SimpleNamespace(world_size=2, default_root_dir=str(tmp_path))
    one.prepare_data()
    assert len(list((tmp_path / "prepared").iterdir())) == 3
    monkeypatch.setattr("ankleseg.data.volumes.FolderCache._pre_transform", lambda *_: pytest.fail("prepared again"))
    assert first_batch(other)[keys.IMAGE].shape == (3, 1, 16, 16)


# transforms of MONAI and of users


def test_transforms_of_monai_in_the_configuration_change_what_they_say(cohort: Cohort) -> None:
    noise = "{_target_: monai.transforms.RandGaussianNoised, keys: [image], prob: 1.0, mean: 7.0}"
    chosen = {"cohort": cohort, "split": Split(train=("s0", "s1")), "preparation": RAS, "labels": LABELS, "seed": 0}
    small = ["patches.sampler.size=[16,16]", "patches.steps_per_epoch=2"]

    def drawn(override: str) -> torch.Tensor:
        return first_batch(build(compose("train", [override, *small]).patches, **chosen))[keys.IMAGE]

    plain = drawn("augment=none")
    assert 6.8 < (drawn(f"augment.transforms=[{noise}]") - plain).mean() < 7.2
    assert drawn("augment=ankle").shape == plain.shape and not torch.equal(drawn("augment=ankle"), plain)


def test_whatever_reverses_left_and_right_is_refused_by_name_unless_the_labels_follow(cohort: Cohort) -> None:
    """Left–right is the first axis of these scans; patches in sagittal slices do not have it."""
    flips = {
        "RandFlipd": monai.RandFlipd(BOTH, prob=0.5, spatial_axis=0),
        "RandAxisFlipd": monai.RandAxisFlipd(BOTH, prob=0.1),
        "Compose": monai.Compose([monai.RandFlipd(BOTH, prob=0.5, spatial_axis=0)]),
        "RandAnatomicalFlipd": RandAnatomicalFlipd(BOTH, ["LR"], pairs=[]),
    }
    for name, flip in flips.items():
        data = data_of(cohort, augment=[*TURNED, flip])
        with pytest.raises(ConfigError, match=f"^{name} reverses left and right, which turns a right foot into a left"):
            data.setup("fit")
        data_of(cohort, augment=[flip], labels=replace(LABELS, pairs=())).setup("fit")
    sagittal = {"preparation": preparation(), "sampler": PatchSampler(size=(6, 6), min_foreground=0)}
    for harmless in ({"augment": [flips["RandFlipd"]], **sagittal}, {"augment": [monai.RandFlipd(BOTH, 0.5, 1)]}):
        data_of(cohort, **harmless).setup("fit")


def test_every_file_of_patches_builds(cohort: Cohort) -> None:
    from ankleseg.transforms import RandAnatomicalFlipd as Flip

    found = sorted(path.stem for path in (conf_dir() / "patches").glob("*.yaml"))
    assert {"ankle", "ankle_published", "cord"} <= set(found)
    for name in found:
        node = compose("train", [f"patches={name}"]).patches
        if node._target_ != "ankleseg.data.SegmentationData":
            continue
        node = to_plain(node) | {"augment": [build(one) for one in to_plain(node.augment)]}
        data = build(node, cohort=cohort, split=Split(train=("s0",)), preparation=RAS, labels=LABELS, seed=1)
        assert isinstance(data, SegmentationData) and data.channels == ("image",)
        assert not any("LR" in one.axes for one in node["augment"] if isinstance(one, Flip))


# channels, regions, and what is not known


@pytest.fixture
def tumours(tmp_path: Path) -> Cohort:
    """Two subjects with two channels and a core inside a whole tumour, listed in another order of the channels."""
    cases = []
    grid = np.stack(np.meshgrid(*(np.arange(n) for n in (30, 28, 6)), indexing="ij"), -1) - [15, 13, 2.5]
    radius = np.sqrt((grid**2).sum(-1))
    label = (radius < 9).astype(np.uint8) + (radius < 4)
    for number, names in enumerate((("t1", "flair"), ("flair", "t1"))):
        noise = np.random.default_rng(number)
        arrays = {"t1": 300.0 + 200.0 * label, "flair": 900.0 - 100.0 * label}
        channels = {}
        for name in names:
            image = (arrays[name] + noise.normal(0, 5, label.shape)).astype(np.float32)
            channels[name] = write_volume(tmp_path / f"{number}_{name}.nii.gz", image, np.eye(4))
        path = write_volume(tmp_path / f"{number}_labels.nii.gz", label, np.eye(4))
        references = {"whole": Reference(path, (1, 2)), "core": Reference(path, 2)}
        cases.append(Case(f"s{number}", f"s{number}", channels, references))
    return Cohort(tmp_path, tuple(cases), ("whole", "core"))


def test_channels_and_regions_reach_the_network_by_name(tumours: Cohort) -> None:
    assert tumours.regions
    settings = {
        "split": Split(train=("s0", "s1")),
        "preparation": preparation(axcodes="RAS", foreground={"rule": "whole_image"}),
        "labels": Labels(structures=("whole", "core"), regions=True),
        "sampler": PatchSampler(size=(12, 12, 4), min_foreground=0, balance=0.5),
    }
    for channels, first_is_bright in ((("t1", "flair"), True), (("flair", "t1"), False), (None, True)):
        data = data_of(tumours, channels=channels, **settings)
        batch = first_batch(data)
        assert data.channels == (channels or ("t1", "flair"))
        assert batch[keys.IMAGE].shape == batch[keys.LABEL].shape == (3, 2, 12, 12, 4)
        whole, core = batch[keys.LABEL].bool().unbind(1)
        assert core.any() and not (core & ~whole).any(), "the core lies inside"
        first, second = batch[keys.IMAGE].unbind(1)
        assert (first[core].mean() > first[~whole].mean()) == first_is_bright
        assert (second[core].mean() < second[~whole].mean()) == first_is_bright
    with pytest.raises(CohortError, match=r"case s0 has the channels t1, flair: expected t1, t2 \(missing t2; unexpec"):
        data_of(tumours, channels=("t1", "t2"), **settings)


def test_a_case_of_which_nothing_is_known_is_left_out_and_one_of_which_something_is_says_what(tumours: Cohort) -> None:
    first, second = tumours.cases
    settings = {
        "split": Split(train=("s0", "s1")), "labels": Labels(structures=("whole", "core"), regions=True),
        "preparation": preparation(axcodes="RAS", foreground={"rule": "whole_image"}),
    }  # fmt: skip
    half = replace(tumours, cases=(replace(first, unknown=("core",)), second))
    data = data_of(half, batch_size=24, **settings)
    assert set(map(tuple, first_batch(data)[keys.KNOWN].tolist())) == {(True, False), (True, True)}
    lost = replace(first, unknown=("whole", "core"))
    one = data_of(replace(tumours, cases=(lost, second)), **settings)
    assert [sample[keys.CASE] for sample in one.samples("training", ("s0", "s1"))] == ["s1"]
    with pytest.raises(CohortError, match="in no case of training is a structure known; look at its status.tsv"):
        data_of(replace(tumours, cases=(lost,)), **settings | {"split": Split(train=("s0",))}).setup("fit")


def test_the_sample_is_the_scan_of_the_case(cohort: Cohort) -> None:
    (sample,) = data_of(cohort).samples("training", ("s0",))
    raw = read_volume(cohort.cases[0].images[0]).data
    assert np.corrcoef(sample[keys.IMAGE].numpy().ravel(), raw.ravel())[0, 1] > 0.9999
    assert all(type(value) is torch.Tensor for value in sample.values() if isinstance(value, torch.Tensor))


def test_scans_are_seen_in_every_plane_and_thick_ones_in_their_own_alone(tmp_path: Path) -> None:
    rows = ["subject,image,mask_ball"]
    for name, mm in (("thin", 3.0), ("thick", 12.0)):
        ball = np.zeros((30, 28, 24), np.uint8)
        ball[10:20, 10:20, 8:16] = 1
        scan = np.random.default_rng(0).normal(100.0 + 50 * ball, 5).astype(np.float32)
        write_volume(tmp_path / f"{name}.nii.gz", scan, np.diag([1.0, 1.0, mm, 1.0]))
        write_volume(tmp_path / f"{name}_ball.nii.gz", ball, np.diag([1.0, 1.0, mm, 1.0]))
        rows.append(f"{name},{name}.nii.gz,{name}_ball.nii.gz")
    (tmp_path / "table.csv").write_text("\n".join(rows) + "\n")
    split = Split(train=("thin", "thick"))
    given = {"split": split, "sampler": PatchSampler(size=(16, 16), min_foreground=0.0)}
    data = data_of(load_cohort(tmp_path / "table.csv"), planes=["coronal", "axial"], **given)
    found = [(sample[keys.CASE], axis_codes(sample[keys.AFFINE].numpy())) for sample in data.training_samples()]
    assert found == [("thin", "RSA"), ("thin", "RAS"), ("thick", "RAS")]
    assert data.planes == ("coronal", "axial") and data.slice_axis is None and data.cohort.cases[0].subject == "thin"
    assert first_batch(data)[keys.IMAGE].shape == (3, 1, 16, 16)
    with pytest.raises(ConfigError, match="invalid plane 'oblique': expected sagittal, coronal, axial; choose one"):
        data_of(load_cohort(tmp_path / "table.csv"), planes=["oblique"])
    alone = data_of(load_cohort(tmp_path / "table.csv"), planes=["coronal"], split=Split(train=("thick",)))
    with pytest.raises(CohortError, match="no scan of training shows coronal slices: all have few or thick ones"):
        alone.training_samples()
