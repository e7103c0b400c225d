"""Laws of the data module and of its cache."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import pytorch_lightning as pl
import torch

from ankleseg import keys
from ankleseg.cohorts import Cohort, Split, load_cohort
from ankleseg.config import build, compose
from ankleseg.data import Augmentation, PatchSampler, SegmentationData
from ankleseg.data.cache import CaseCache
from ankleseg.errors import FileError
from ankleseg.transforms import Otsu, Preparation, PreparedCase, ZScore, prepare_case
from ankleseg.volumes import read_volume, write_volume

PREPARATION = Preparation(orientation="RAS", foreground=Otsu(), scaling=ZScore())


@pytest.fixture
def cohort(tiny_table: Path) -> Cohort:
    return load_cohort(tiny_table)


def data_of(cohort: Cohort, **settings) -> SegmentationData:
    defaults = {
        "cohort": cohort,
        "split": Split(train=("s0", "s1"), validation=("s2",), test=("s3",)),
        "preparation": PREPARATION,
        "sampler": PatchSampler(size=(16, 16)),
        "augmentation": Augmentation(rotation=20),
        "batch_size": 3,
        "steps_per_epoch": 4,
    }
    return SegmentationData(**(defaults | settings))


def first_batch(data: SegmentationData) -> torch.Tensor:
    data.setup("fit")
    return next(iter(data.train_dataloader()))[keys.IMAGE]


def equal(first: PreparedCase, second: PreparedCase) -> bool:
    arrays = all(
        np.array_equal(getattr(first, n), getattr(second, n)) for n in ("image", "foreground", "label", "affine")
    )
    placements = first.placement.mirrored == second.placement.mirrored and np.array_equal(
        first.placement.input_affine, second.placement.input_affine
    )
    return arrays and placements and first.name == second.name and first.scales == second.scales


def test_training_draws_patches_and_validation_reads_volumes(cohort: Cohort) -> None:
    data = data_of(cohort)
    data.setup("fit")
    batches = list(data.train_dataloader())
    assert [batch[keys.IMAGE].shape for batch in batches] == [(3, 1, 16, 16)] * 4
    volumes = list(data.val_dataloader())
    assert [volume[keys.CASE] for volume in volumes] == [["s2"]]
    assert volumes[0][keys.IMAGE].shape == volumes[0][keys.LABEL].shape == (1, 1, 40, 36, 6)


def test_validation_alone_prepares_no_training_subject(cohort: Cohort, tiny_table: Path, tmp_path: Path) -> None:
    broken = replace(cohort.cases[0], channels={"image": tmp_path / "gone.nii.gz"})
    data = data_of(replace(cohort, cases=(broken, *cohort.cases[1:])))
    data.setup("validate")
    assert len(list(data.val_dataloader())) == 1
    with pytest.raises(FileError, match="gone.nii.gz: does not exist"):
        data.setup("fit")


def test_without_validation_subjects_there_is_nothing_to_validate(cohort: Cohort) -> None:
    data = data_of(cohort, split=Split(train=("s0",)))
    data.setup("fit")
    assert data.val_dataloader() == []


def test_the_memory_taken_is_said_before_it_is_taken(cohort: Cohort, caplog, tmp_path: Path) -> None:
    with caplog.at_level(logging.INFO):
        data_of(cohort).setup("fit")
    taken = 2 * 40 * 36 * 6 * 6  # two cases of float32, a bool and a uint8 a voxel
    assert f"training: 2 cases, {taken / 1000:.1f} kB prepared, in memory (" in caplog.text
    assert "validation: 1 case," in caplog.text
    with caplog.at_level(logging.INFO):
        data_of(cohort, cache=tmp_path / "cache").setup("fit")
    assert f"memory-mapped in {tmp_path / 'cache'}" in caplog.text


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
    through = trained(data_of(cohort), tmp_path, 3)
    assert len(set(through)) == 12
    trained(data_of(cohort), tmp_path, 1)
    resumed = trained(data_of(cohort), tmp_path, 3, tmp_path / "1.ckpt")
    assert resumed == through[4:]


def test_cached_cases_equal_those_in_memory(cohort: Cohort, tmp_path: Path) -> None:
    expected = first_batch(data_of(cohort))
    for _ in range(2):  # written, then found
        assert torch.equal(first_batch(data_of(cohort, cache=tmp_path)), expected)
    cached = CaseCache(tmp_path, PREPARATION, ["ball"])(cohort.cases[0])
    assert equal(cached, prepare_case(cohort.cases[0], PREPARATION, ["ball"]))
    assert isinstance(cached.image, np.memmap)


def test_a_cached_case_is_not_prepared_again(cohort: Cohort, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = CaseCache(tmp_path, PREPARATION, ["ball"])
    first = cache(cohort.cases[0])
    monkeypatch.setattr("ankleseg.data.cache.prepare_case", lambda *_, **__: pytest.fail("prepared again"))
    assert equal(cache(cohort.cases[0]), first)


@pytest.mark.parametrize("damage", ["truncated", "flipped bit", "empty", "missing", "no description"])
def test_a_broken_cache_file_is_made_again(cohort: Cohort, tmp_path: Path, damage: str) -> None:
    cache, case = CaseCache(tmp_path, PREPARATION, ["ball"]), cohort.cases[0]
    cache(case)
    (image,) = tmp_path.glob("*_image.npy")
    content = image.read_bytes()
    if damage == "missing":
        image.unlink()
    elif damage == "no description":
        next(tmp_path.glob("*.json")).write_text("{")
    else:
        flipped = content[:-40] + bytes([content[-40] ^ 1]) + content[-39:]
        image.write_bytes({"truncated": content[:-40], "flipped bit": flipped, "empty": b""}[damage])
    assert equal(cache(case), prepare_case(case, PREPARATION, ["ball"]))
    assert image.read_bytes() == content
    assert not list(tmp_path.glob("*.part*"))


def test_a_changed_file_or_recipe_makes_a_new_entry(cohort: Cohort, tmp_path: Path) -> None:
    def entries() -> int:
        return len(list((tmp_path / "cache").glob("*.json")))

    def cache(**others) -> CaseCache:
        preparation = replace(PREPARATION, **others)
        return CaseCache(tmp_path / "cache", preparation, ["ball"])

    case = cohort.cases[0]
    volume = read_volume(case.images[0])
    own = replace(case, channels={"image": write_volume(tmp_path / "own.nii.gz", volume.data, volume.affine)})
    cache()(own)
    cache()(own)
    assert entries() == 1
    cache(orientation="PSR")(own)
    assert entries() == 2
    write_volume(own.images[0], volume.data + 1, volume.affine)
    cache()(own)
    assert entries() == 3
    cache(bring_to_side="right")(replace(own, side="left"))
    cache(bring_to_side="right")(replace(own, side="right"))
    assert entries() == 5


def test_writing_to_a_cached_array_does_not_reach_the_file(cohort: Cohort, tmp_path: Path) -> None:
    cache = CaseCache(tmp_path, PREPARATION, ["ball"])
    cache(cohort.cases[0]).image[...] = 0
    assert cache(cohort.cases[0]).image.std() > 0


def test_every_recipe_of_patches_builds(cohort: Cohort) -> None:
    from ankleseg.config import conf_dir

    found = [path.stem for path in (conf_dir() / "patches").glob("*.yaml")]
    nodes = {recipe: compose("train", [f"patches={recipe}"]).patches for recipe in found}
    recipes = {name: node for name, node in nodes.items() if node._target_ == "ankleseg.data.SegmentationData"}
    assert {"ankle", "ankle_published", "cord"} <= set(recipes)
    for node in recipes.values():
        data = build(node, cohort=cohort, split=Split(train=("s0",)), preparation=PREPARATION, seed=1)
        assert isinstance(data, SegmentationData) and data.structures == ("ball",)
        assert node.augmentation is None or "LR" not in node.augmentation.flips


def test_several_processes_get_whole_batches_only(cohort: Cohort, monkeypatch) -> None:
    data = data_of(cohort, batch_size=3, steps_per_epoch=4)
    data.setup("fit")
    monkeypatch.setattr("ankleseg.data.dataset._place", lambda: (1, 5))
    assert [len(batch[keys.IMAGE]) for batch in data.train_dataloader()] == []
    monkeypatch.setattr("ankleseg.data.dataset._place", lambda: (1, 3))
    assert [len(batch[keys.IMAGE]) for batch in data.train_dataloader()] == [3]
