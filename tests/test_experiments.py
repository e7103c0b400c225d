"""Every experiment is composed and run for two steps on a phantom, and its checkpoint predicts."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from registered_sequences import write_registered
from repeated_scans import write_repeats

from ankleseg.config import compose, conf_dir
from ankleseg.inference import cases_of, load_model
from ankleseg.train import main

EXPERIMENTS = sorted(p.stem for p in (conf_dir() / "experiment").glob("**/*.yaml"))

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


FRAMES = ("ankle_dynamic", "ankle_any", "ankle_reconstruction")
# small enough for a bone at half the resolution
SMALL_PATCHES = ["patches.sampler.size=[16,16]", "patches.min_correlation=0.2", "patches.validation_frames=1"]


def sharpening(experiment: str) -> list[str]:
    """Small networks on blocks of a coarse grid; slices are thick along the third prepared axis."""
    spacing = "[2.5,2.5,2.4]" if experiment.startswith("ankle") else "[null,2.5,2.5]"
    small = ["network.widths=[4,8]"] if "unet" in experiment else ["network.kernel=2", "discriminator.kernel=2"]
    subjects = ["cohort.suffix=null", "cohort.split.train=[sub-C01]", "cohort.split.validation=[sub-C02]"]
    return [
        *("patches.sampler.size=[32,32,32]", "patches.sampler.min_foreground=0.1", f"prepare.spacing={spacing}"),
        *([] if experiment.startswith("ankle") else ["structures=[talus]", *subjects, "cohort.split.test=[]"]),
        *small,
    ]


def test_experiments_were_found():
    published = {"fcn", "unet", "resnet", "resnet_bottleneck", "monai_unet", "segresnet", "basicunet"}
    assert {f"ankle_static_{name}" for name in published} <= set(EXPERIMENTS)
    assert {"ankle_dynamic_unet", "ankle_any_unet", "ankle_noise2noise"} <= set(EXPERIMENTS)
    assert {f"{part}_segsrgan" for part in ("brain", "cord", "ankle")} <= set(EXPERIMENTS)
    assert {f"ankle_reconstruction_{name}" for name in ("resnet", "unet", "fcn")} <= set(EXPERIMENTS)


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_two_steps_of(experiment: str, phantom_cohort: Path, registered: Path, repeated: Path, tmp_path: Path):
    ankle, frames = experiment.startswith("ankle"), experiment.startswith(FRAMES)
    root = registered if frames else repeated if experiment == "ankle_noise2noise" else phantom_cohort
    overrides = [
        f"+experiment={experiment}",
        f"cohort.root={root}",
        f"run_dir={tmp_path}",
        *SHORT,
        *(SMALL_PATCHES if experiment.startswith("ankle_reconstruction") else []),
        # two controls: one to train, one to validate; no test, which only costs time here
        "test=false",
        # half the resolution, so that whole volumes are validated quickly
        *(
            sharpening(experiment)
            if experiment.endswith("segsrgan") or experiment.startswith("brain")
            else ["prepare.spacing=[1.68,1.68,null]"]
            if ankle
            else ["structures=[talus]", "cohort/split=hold_out_group", "cohort.split.test=equinus"]
        ),
    ]
    main(compose("train", overrides))
    assert json.loads((tmp_path / "manifest.json").read_text())["split"]["train"]
    rows = list(csv.DictReader((tmp_path / "metrics.csv").open()))
    assert len(rows) == 1 and float(rows[0]["train/loss"]) > 0
    assert (tmp_path / "progress.png").read_bytes().startswith(b"\x89PNG")
    model, config = load_model(tmp_path), compose("train", overrides)
    assert model.structures == tuple(config.structures) and model.images == tuple(config.images)
    assert cases_of(phantom_cohort, group="equinus")
