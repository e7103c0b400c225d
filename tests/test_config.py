"""A configuration names only what may be built, and says what is wrong."""

from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from omegaconf import DictConfig, OmegaConf

from ankleseg.config import build, compose, conf_dir, resolve_target, to_plain
from ankleseg.errors import ConfigError
from ankleseg.labels import Labels
from ankleseg.runs.network import warn_of_norms, warn_of_scaling
from ankleseg.transforms import Preparation

REFUSED = [
    "os.system",
    "subprocess.Popen",
    "builtins.eval",
    "torch.os.system",
    "torch.hub.load",
    "torch.load",
    "monai.utils.module.import_module",
    "ankleseg.config.building.importlib.import_module",
    "ankleseg.config.command.sys.exit",
    "pytorch_lightning.trainer.trainer.os.system",
]


@pytest.mark.parametrize("target", REFUSED)
def test_code_is_refused_also_by_alias(target: str):
    with pytest.raises(ConfigError, match="is refused|does not exist"):
        resolve_target(target)


@pytest.mark.parametrize("target", REFUSED)
def test_nested_code_is_refused(target: str, tmp_path):
    marker = tmp_path / "ran"
    node = {"_target_": "torch.nn.Sequential", "_args_": [{"_target_": target, "_args_": [f"touch {marker}"]}]}
    with pytest.raises(ConfigError):
        build(node)
    assert not marker.exists()


def test_a_class_is_built_with_its_arguments():
    layer = build({"_target_": "torch.nn.Linear", "in_features": 2, "out_features": 3})
    assert isinstance(layer, torch.nn.Linear) and layer.out_features == 3


def test_wrong_argument_names_the_class():
    with pytest.raises(ConfigError, match=r"cannot build torch\.nn\.Linear: .*sides"):
        build({"_target_": "torch.nn.Linear", "sides": 2})


def test_unknown_name_is_told():
    with pytest.raises(ConfigError, match=r"'torch\.nn\.Lineal' does not exist; check its spelling"):
        build({"_target_": "torch.nn.Lineal"})


def test_what_is_missing_is_told_by_its_full_name():
    config = compose("train", ["+experiment=cord_segsrgan", "cohort.root=necks.csv", "run_dir=run"])
    with pytest.raises(ConfigError) as caught:
        build(config.cohort.split)
    assert str(caught.value) == "cohort.split.train is missing; add cohort.split.train=…"


@pytest.mark.parametrize("cohort", ["ankle_dynamic"])
def test_a_cohort_without_a_phantom_of_its_own_is_refused_at_once(cohort: str, tmp_path):
    from ankleseg.phantoms.__main__ import main

    with pytest.raises(ConfigError, match="no phantom to be written alone; choose cohort=ankle"):
        main(compose("phantoms", [f"cohort={cohort}", f"out={tmp_path / 'out'}"]))
    assert not (tmp_path / "out").exists()


def test_plain_values_pass_through():
    assert build(None) is None and build(3) == 3 and build([1, {"a": 2}]) == [1, {"a": 2}]


@pytest.mark.parametrize("bone,outputs", [("calcaneus", 1), ("talus", 1), ("tibia", 1), ("all", 4)])
def test_bone_chooses_the_target(bone: str, outputs: int):
    config = compose("train", ["+experiment=ankle_static_unet", f"bone={bone}", "run_dir=x"])
    assert Labels(structures=tuple(to_plain(config.structures))).outputs == outputs
    assert list(config.structures) == (["calcaneus", "talus", "tibia"] if bone == "all" else [bone])


HOW_LONG = (  # and how large: all that a budget may change
    "patches.sampler patches.batch_size patches.steps_per_epoch task.validation.overlap test trainer.max_epochs "
    "trainer.check_val_every_n_epoch"
).split()


def test_a_budget_changes_how_long_and_how_large_and_never_what():
    budgets = sorted((conf_dir() / "budget").rglob("*.yaml"))
    assert budgets
    for file in budgets:
        node = OmegaConf.load(file)
        assert "defaults" not in node, f"{file.name} chooses another part"
        other = [key for key in keys_of(node) if not f"{key}.".startswith(tuple(f"{part}." for part in HOW_LONG))]
        assert not other, f"{file.name} changes the method"


def keys_of(node: DictConfig, above: str = "") -> list[str]:
    nested = [(f"{above}{key}", value) for key, value in node.items()]
    return [k for key, v in nested for k in (keys_of(v, f"{key}.") if isinstance(v, DictConfig) else [key])]


def test_a_budget_leaves_the_published_method_what_it_is():
    words = ["+experiment=brain_segsrgan", "discriminator.patch=64", "run_dir=x"]
    published, short = compose("train", words), compose("train", [*words, "+budget=two_cores"])
    for part in ("network", "discriminator", "optimizer", "scheduler", "callbacks"):
        assert short[part] == published[part], part
    assert short.task.reconstruction == published.task.reconstruction and short.task.adversarial_from == 0


def test_prediction_takes_the_patches_that_end_training():
    settings = ["+experiment=brain_segsrgan", "run_dir=x"]
    assert list(compose("train", settings).window) == [64, 64, 64]
    steps = "patches.schedule=[{epoch: 1, size: [80, 80, 80]}, {epoch: 2, size: [96, 96, 96]}]"
    assert list(compose("train", [*settings, steps]).window) == [96, 96, 96]
    assert list(compose("train", ["+experiment=ankle_noise2noise", "run_dir=x"]).window) == [96, 96]


COMMANDS = ["phantoms", "prepare", "train", "predict", "evaluate", "export"]


def command(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *words], capture_output=True, text=True)


@pytest.mark.parametrize("name", COMMANDS)
def test_help_and_typos_answer_without_heavy_libraries(name: str):
    result = command("-X", "importtime", "-m", f"ankleseg.{name}", "--help")
    assert result.returncode == 0 and "Config" in result.stdout
    loaded = {line.split("|")[-1].strip() for line in result.stderr.splitlines() if line.startswith("import time:")}
    assert not loaded & {"torch", "monai", "itk", "pytorch_lightning", "matplotlib", "skimage"}
    typo = command("-m", f"ankleseg.{name}", "outt=x")
    assert typo.returncode == 1 and "ankleseg: outt is unknown; did you mean " in typo.stderr


@pytest.mark.parametrize("command", ["predict", "evaluate", "prepare", "phantoms", "export"])
def test_an_output_folder_that_is_a_file_is_told_in_one_line(tmp_path: Path, command: str):
    (tmp_path / "file").write_text("mine")
    for out in ("file", "file/below"):
        done = subprocess.run(
            [sys.executable, "-m", f"ankleseg.{command}", f"out={out}"], cwd=tmp_path, capture_output=True, text=True
        )
        assert (done.returncode, done.stderr) == (
            1,
            "ankleseg: file: is a file, but a folder is expected; choose another out\n",
        )
    assert (tmp_path / "file").read_text() == "mine"


def test_an_augmentation_made_for_other_intensities_is_told(caplog: pytest.LogCaptureFixture):
    def said(*overrides: str) -> str:
        caplog.clear()
        config = compose("train", overrides)
        warn_of_scaling(config, Preparation(to_plain(config.prepare.transforms)))
        return caplog.text

    for scaling in ("percentile", "min_max", "bright_end"):
        asked = f"prepare/scaling={scaling}"
        assert "made for intensities of NormalizeInForegroundd, the preparation scales by ScaleInForegroundd" in said(
            asked
        )
    for other in ("augment=none", "augment=contrast", "augment.made_for=null", "patches=ankle_published"):
        assert said("prepare/scaling=percentile", other) == ""
    for experiment in ("ankle_static_unet", "cord_static", "ankle_sharp_unet", "brain_interpolated_unet"):
        assert said(f"+experiment={experiment}") == "", experiment


def test_a_run_too_short_for_its_norms_is_told(caplog: pytest.LogCaptureFixture) -> None:
    network = torch.nn.Sequential(torch.nn.Conv3d(1, 2, 1), torch.nn.BatchNorm3d(2, momentum=0.01))
    kept = "+callbacks.norms={_target_: ankleseg.tasks.FrozenStatistics, share: 1}"
    for overrides, epochs, told in (
        (["patches.steps_per_epoch=40"], 1, "in 40 steps the batch norms renew 33 % of the statistics that prediction"),
        (["patches.steps_per_epoch=40"], 10, ""),
        (["patches.steps_per_epoch=40"], math.inf, ""),
        (["patches.steps_per_epoch=40", kept], 1, ""),
    ):
        caplog.clear()
        warn_of_norms(compose("train", ["+experiment=cord_unet3d", *overrides]), network, epochs)
        assert told in caplog.text and bool(told) == bool(caplog.text)
    warn_of_norms(compose("train", ["+experiment=cord_unet3d"]), torch.nn.Conv3d(1, 2, 1), 1)
    assert not caplog.text
