"""Every experiment is composed and run for two steps on a phantom, and its checkpoint predicts."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from omegaconf import DictConfig, OmegaConf
from registered_sequences import write_registered
from repeated_scans import write_repeats

from ankleseg.config import compose, conf_dir
from ankleseg.inference import cases_of, load_model
from ankleseg.train import main

EXPERIMENTS = sorted(p.stem for p in (conf_dir() / "experiment").glob("**/*.yaml"))
assert EXPERIMENTS

SHORT = [
    "trainer.max_epochs=1",
    "patches.steps_per_epoch=2",
    "patches.batch_size=2",
    "patches.sampler.size=[64,64]",
    "patches.sampler.min_foreground=0.5",
    "~callbacks.progress",
    "+trainer.enable_progress_bar=false",
    "trainer.accelerator=cpu",
]


@pytest.fixture(scope="module")
def registered(phantom_cohort: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two controls in motion; a bone is unknown in training, another in validation."""
    subjects = ("sub-C01", "sub-C02", "sub-E01")
    status = {("sub-C02", 0, "talus"): "failed", ("sub-C01", 1, "tibia"): "failed"}
    return write_registered(phantom_cohort, tmp_path_factory.mktemp("registered") / "out", status, subjects)


@pytest.fixture(scope="module")
def repeated(phantom_cohort: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The scans of two controls, taken twice."""
    subjects = ("sub-C01", "sub-C02", "sub-E01")
    return write_repeats(phantom_cohort, tmp_path_factory.mktemp("repeated") / "out", subjects)


@pytest.fixture(scope="module")
def label_maps(phantom_cohort: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The taluses of two controls as label maps, and a scan."""
    rows = ["subject,image,mask_talus"]
    for subject, is_map in (("sub-C01", True), ("sub-C02", False)):
        scan = phantom_cohort / subject / "anat" / f"{subject}_T1w.nii.gz"
        mask = phantom_cohort / "derivatives/manual" / subject / "anat" / f"{subject}_label-talus_mask.nii.gz"
        rows.append(f"{subject},{mask if is_map else scan},{mask}")
    table = tmp_path_factory.mktemp("maps") / "maps.csv"
    table.write_text("\n".join(rows) + "\n")
    return table


def small(config: DictConfig) -> list[str]:
    """Whatever makes an experiment quick on the phantom of the ankle, by what it is made of."""
    words = ["cohort/split=hold_out_group"]  # two controls: one to train, one to validate
    if "prepare" not in config:  # all is that of the source
        return words
    sagittal, blocks = config.prepare.get("orientation") == "PSR", len(config.patches.sampler.size) == 3
    if str(config.patches._target_).endswith(".LabelMapData"):
        words = ["cohort/split=explicit", "cohort.split.train=[sub-C01]", "cohort.split.validation=[sub-C02]"]
        words.append("structures=[talus]")
    registers = str(config.task._target_).endswith(".Registration")
    if registers and config.patches.pairs is not None:  # two of each
        words = ["cohort/split=explicit", "cohort.split.train=[sub-C01,sub-C02]"]
        words += ["cohort.split.validation=[sub-E01,sub-E02]", "prepare.size=[32,32,32]"]
    if "suffix" in config.cohort:
        words.append("cohort.suffix=null")
    if not set(config.structures) <= {"calcaneus", "talus", "tibia"}:
        words += ["structures=[talus]", "label_values=null"]
    if config.cohort.get("channels"):
        words.append("cohort.channels=null")
    if "size" in config.prepare:
        words.append("prepare.size=[48,48,48]")
    if str(OmegaConf.select(config, "patches.pairs._target_")).endswith("FramePairs"):
        # small enough for a bone at half the resolution
        words += ["patches.sampler.size=[16,16]", "patches.min_correlation=0.2", "patches.validation_frames=1"]
    if blocks:  # of a coarse grid; slices are thick along the third prepared axis
        words += ["patches.sampler.size=[32,32,32]", "patches.sampler.min_foreground=0.1"]
        spacing = "[2.5,2.5,2.4]" if sagittal else "[2.5,2.5,2.5]" if registers else "[null,2.5,2.5]"
        words.append(f"prepare.spacing={spacing}")
        less = {
            "widths": 4,
            "network.widths": 4,
            "features": 4,
            "filters": 4,
            "init_filters": 8,
            "kernel": 2,
            "ascending": 8,
            "last": 8,
        }
        for key, few in less.items():
            many = OmegaConf.select(config.network, key)
            if many is not None:
                words.append(f"network.{key}={few if isinstance(many, int) else [few] * len(many)}")
        words += ["discriminator.kernel=2"] if "discriminator" in config else []
    elif sagittal:  # half the resolution, so that whole volumes are validated quickly
        words.append("prepare.spacing=[1.68,1.68,null]")
    return words


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_two_steps_of(
    experiment: str, phantom_cohort: Path, registered: Path, repeated: Path, label_maps: Path, tmp_path: Path
):
    made = [f"+experiment={experiment}", f"run_dir={tmp_path}"]
    config = compose("train", [*made, f"cohort.root={phantom_cohort}"])
    roots = {"load_dynamic": registered, "load_repeats": repeated}
    root = roots.get(config.cohort.load._target_.rpartition(".")[2], phantom_cohort)
    root = label_maps if config.patches._target_.endswith(".LabelMapData") else root
    # no test, which only costs time here
    overrides = [*made, f"cohort.root={root}", *SHORT, *small(config), "test=false"]
    if OmegaConf.is_missing(config.init, "checkpoint") or config.init.checkpoint:  # here of the same network
        source, chosen = tmp_path / "source", ["network=unet", "prepare=ankle"] if "network" not in config else []
        main(compose("train", [*overrides, *chosen, "init.checkpoint=null", "freeze=null", f"run_dir={source}"]))
        overrides.append(f"init.checkpoint={source}")
    main(compose("train", overrides))
    assert json.loads((tmp_path / "manifest.json").read_text())["split"]["train"]
    rows = list(csv.DictReader((tmp_path / "metrics.csv").open()))
    assert len(rows) == 1 and float(rows[0]["train/loss"]) > 0
    assert (tmp_path / "progress.png").read_bytes().startswith(b"\x89PNG")
    model, config = load_model(tmp_path), compose("train", overrides)
    assert (model.labels.structures, model.labels.images) == (tuple(config.structures), tuple(config.images))
    assert cases_of(phantom_cohort, group="equinus")
