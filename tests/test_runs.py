"""The test that ends a training: predictions of subjects it never saw, and their scores."""

from __future__ import annotations

import csv
import hashlib
import json
import math
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from pytorch_lightning import Trainer

from ankleseg.cohorts import Split, load_cohort
from ankleseg.config import compose, conf_dir
from ankleseg.errors import ConfigError
from ankleseg.runs import Manifest, cohort_root, precision_of, resumed, slurm_tasks, trainer_of
from ankleseg.train import main
from ankleseg.volumes import read_volume, write_volume

SHORT = [
    *("trainer.max_epochs=1", "trainer.accelerator=cpu", "~callbacks.progress", "+trainer.enable_progress_bar=false"),
    *("patches.steps_per_epoch=1", "patches.batch_size=1", "task.validation.roi_size=[32,32,32]"),
    *("patches.sampler.size=[32,32,32]", "patches.sampler.min_foreground=0.05"),
]
SPLIT = ["cohort.split.train=[s0]", "cohort.split.validation=[]", "cohort.split.test=[s3]"]
# 40 sharp voxels of 1 mm are no whole number of slices
ACROSS = ["patches.thick.finest=[4.5,null,null]", "patches.thick.coarsest=[4.5,null,null]"]


@pytest.mark.parametrize(
    ("experiment", "table", "small"),
    [
        ("brain_segsrgan", "quality.csv", ["network.kernel=2", "discriminator.kernel=2"]),
        ("brain_interpolated_unet", "metrics.csv", ["network.widths=[4,8]"]),
    ],
)
def test_thick_test_scans_are_scored_on_the_grid_of_the_sharp_ones(
    tiny_table: Path, tmp_path: Path, experiment: str, table: str, small: list[str]
):
    cohort = [f"cohort.root={tiny_table}", "cohort.suffix=null", "structures=[ball]", *SPLIT]
    run = tmp_path / "run"
    main(compose("train", [f"+experiment={experiment}", *cohort, *SHORT, *ACROSS, *small, f"run_dir={run}"]))
    (predicted,) = json.loads((run / "test/predictions/predictions.json").read_text())["cases"]
    assert (predicted["status"], predicted["message"]) == ("ok", ""), "slices lie as in training"
    rows = list(csv.DictReader((run / "test" / table).open()))
    assert rows and {row["status"] for row in rows} == {"ok"}


def test_masks_that_training_resampled_are_scored(tiny_table: Path, tmp_path: Path):
    for number in (0, 3):
        mask = read_volume(tiny_table.parent / f"{number}_ball.nii.gz", dtype=None)
        affine = mask.affine @ np.diag([2.0, 2.0, 1.0, 1.0])
        affine[:3, 3] = (mask.affine @ [0.5, 0.5, 0.0, 1.0])[:3]
        write_volume(tmp_path / f"{number}_coarse.nii.gz", mask.data[::2, ::2], affine)
    rows = [f"s{number},{tiny_table.parent / f'{number}.nii.gz'},{number}_coarse.nii.gz,right" for number in (0, 3)]
    (tmp_path / "table.csv").write_text("\n".join(["subject,image,mask_ball,side", *rows]) + "\n")
    run = tmp_path / "run"
    words = ["+experiment=ankle_static_unet", f"cohort.root={tmp_path / 'table.csv'}", "structures=[ball]", *SHORT[:5]]
    words += ["cohort/split=explicit", *SPLIT, "patches.sampler.size=[16,16]", "patches.sampler.min_foreground=0.05"]
    main(compose("train", [*words, "resample_masks=true", f"run_dir={run}"]))
    (row,) = csv.DictReader((run / "test" / "metrics.csv").open())
    assert row["status"] == "ok"
    assert "lies on another grid" in row["message"]


@pytest.mark.parametrize(("every", "validated"), [(10, [False, False, True]), (2, [False, True, False, True, True])])
def test_the_last_epoch_is_validated_however_seldom_the_others_are(
    tiny_table: Path, tmp_path: Path, every: int, validated: list[bool]
):
    cohort = [f"cohort.root={tiny_table}", "cohort.suffix=null", "structures=[ball]", "cohort.split.train=[s0]"]
    split = ["cohort.split.validation=[s1]", "cohort.split.test=[]"]
    small = ["network.widths=[4,8]", f"trainer.max_epochs={len(validated)}", f"trainer.check_val_every_n_epoch={every}"]
    run = tmp_path / "run"
    words = ["+experiment=brain_interpolated_unet", *cohort, *split, *SHORT, *ACROSS, *small, f"run_dir={run}"]
    assert 0 <= main(compose("train", words)) <= 1
    assert (run / "checkpoints/best.ckpt").is_file()
    with (run / "metrics.csv").open() as file:
        assert [bool(row["val/dice"]) for row in csv.DictReader(file)] == validated


def test_a_failing_test_leaves_the_result_of_the_training(
    tiny_table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def failing(*_others, **_more):
        raise MemoryError

    monkeypatch.setattr("ankleseg.runs.test", failing)
    cohort = [f"cohort.root={tiny_table}", "cohort.suffix=null", "structures=[ball]", "cohort.split.train=[s0]"]
    split = ["cohort.split.validation=[s1]", "cohort.split.test=[s3]", "trainer.check_val_every_n_epoch=1"]
    small = ["network.kernel=2", "discriminator.kernel=2", f"run_dir={tmp_path / 'run'}"]
    with pytest.raises(MemoryError):
        main(compose("train", ["+experiment=brain_segsrgan", *cohort, *split, *SHORT, *ACROSS, *small]))
    manifest = json.loads((tmp_path / "run/manifest.json").read_text())
    assert manifest["results"]["val/psnr"] > 0
    assert all(noted.keys() == {"bytes", "modified"} for noted in manifest["inputs"].values()), "not hashed yet"


def test_two_processes_train_and_one_tests(tiny_table: Path, tmp_path: Path):
    run = tmp_path / "run"
    settings = [
        *("+experiment=brain_segsrgan", f"cohort.root={tiny_table}", "cohort.suffix=null", "structures=[ball]"),
        *(*SPLIT, *SHORT, *ACROSS, "network.kernel=2", "discriminator.kernel=2", "patches.steps_per_epoch=2"),
        *("trainer.devices=2", "trainer.strategy=ddp_find_unused_parameters_true", f"hydra.run.dir={run}"),
    ]
    done = subprocess.run([sys.executable, "-m", "ankleseg.train", *settings], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert [done.stdout.count(word) for word in ("no validation:", "report:")] == [1, 1], done.stdout
    assert [row["status"] for row in csv.DictReader((run / "test/quality.csv").open())]
    assert json.loads((run / "manifest.json").read_text())["overrides"] == settings[:-1], "as typed"


def test_what_follows_a_training_in_mixed_precision_is_as_precise():
    quiet = {"accelerator": "cpu", "logger": False, "enable_checkpointing": False}
    for precision, mixed in (("bf16-mixed", True), ("32-true", False), ("64-true", False)):
        with precision_of(Trainer(precision=precision, **quiet)):
            assert torch.is_autocast_enabled("cpu") == mixed
            assert torch.get_default_dtype() == torch.float32


REFUSED = {
    "2-D patches": (["patches.sampler.size=[32,32]"], "invalid patches of 2 sides: expected 3"),
    "nonzero": (["prepare/foreground=nonzero"], "foreground=nonzero does not suit thick scans"),
    "no spacing": (["prepare.spacing=[1.0,1.0,null]"], "without a spacing across the slices"),
    "no common spacing": (["common_spacing=false"], "without a spacing across the slices"),
    "slices last": (
        ["prepare=whole_image", "prepare/foreground=otsu", "prepare.spacing=[1,1,1]"],
        "depends on the scan does not suit thick scans; name one",
    ),
    "the whole of an axis": (
        ["window=[64,64,-1]"],
        r"invalid window \[64, 64, -1\]: expected 2 or 3 sides of at least 8 voxels; predict.mode=slices of blocks",
    ),
    "no end": (["trainer.max_epochs=-1"], "trainer.max_epochs is missing; set it, or trainer.max_steps"),
    "null epochs": (["trainer.max_epochs=null"], "trainer.max_epochs is missing; set it, or trainer.max_steps"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_prediction_could_not_follow_is_refused_before_training(tiny_table: Path, tmp_path: Path, case: str):
    asked, said = REFUSED[case]
    words = [f"cohort.root={tiny_table}", "cohort.suffix=null", "structures=[ball]", *SPLIT, *SHORT]
    words += ["network.kernel=2", "discriminator.kernel=2", f"run_dir={tmp_path / 'run'}", *asked]
    with pytest.raises(ConfigError, match=said):
        main(compose("train", ["+experiment=brain_segsrgan", *words]))
    assert not (tmp_path / "run").exists()


def test_super_resolution_needs_no_structures(tiny_table: Path, tmp_path: Path):
    words = [f"cohort.root={tiny_table}", "cohort.suffix=null", "structures=[]", "cohort.split.train=[s0]"]
    words += ["cohort.split.validation=[s1]", "cohort.split.test=[s3]", *SHORT, *ACROSS]
    words += ["network.kernel=2", "discriminator.kernel=2", "task.reconstruction.segmentation=dice_cross_entropy"]
    words += ["trainer.check_val_every_n_epoch=1", f"run_dir={tmp_path / 'run'}"]
    assert math.isfinite(main(compose("train", ["+experiment=brain_segsrgan", *words])))
    rows = list(csv.DictReader((tmp_path / "run/test/quality.csv").open()))
    assert rows and {row["status"] for row in rows} == {"ok"}, rows


def test_a_run_that_was_moved_is_not_resumed(tmp_path: Path):
    moved = tmp_path / "moved"
    (moved / "checkpoints").mkdir(parents=True)
    (moved / "checkpoints/last.ckpt").touch()
    (moved / "config.yaml").write_text(f"run_dir: {tmp_path / 'first'}\n")
    with pytest.raises(
        ConfigError, match=rf"moved: was written as {tmp_path / 'first'}, where it would go on; move it"
    ):
        resumed(compose("train", ["+experiment=ankle_static_unet", f"resume={moved}", "run_dir=x"]))


def test_a_run_of_an_earlier_version_is_not_resumed(tmp_path: Path):
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints/last.ckpt").touch()
    (tmp_path / "config.yaml").write_text(f"run_dir: {tmp_path}\nprepare: {{orientation: PSR}}\n")
    with pytest.raises(ConfigError, match="was begun by an earlier version of ankleseg and cannot be resumed"):
        resumed(compose("train", ["+experiment=ankle_static_unet", f"resume={tmp_path}", "run_dir=x"]))


def test_inputs_are_hashed_once_and_after_all_else(tiny_table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    shutil.copytree(tiny_table.parent, tmp_path / "study")
    hashed: list[str] = []
    true = hashlib.file_digest
    monkeypatch.setattr(hashlib, "file_digest", lambda file, kind: hashed.append(file.name) or true(file, kind))
    cohort = load_cohort(tmp_path / "study/table.csv")
    about = {"cohort": {"root": "study"}, "run_name": "a"}
    config = OmegaConf.create(
        {**about, "run_dir": "${here}", "seed": 0, "name": "a ${b}", "here": str(tmp_path / "run")}
    )
    config.name = "a \\${b}"
    manifest = Manifest(tmp_path / "run", config, cohort, Split(train=("s0",)), 0.0)
    assert hashed == [] and OmegaConf.load(tmp_path / "run/config.yaml").name == "a ${b}"
    manifest.write(**{"val/dice": 0.5})
    (tmp_path / "study/1.nii.gz").write_bytes(b"another scan")
    manifest.add_hashes()
    content = json.loads((tmp_path / "run/manifest.json").read_text())
    assert content["results"] == {"val/dice": 0.5}
    assert len(hashed) == len(set(hashed)) == 7
    for name, noted in content["inputs"].items():
        if name.endswith("study/1.nii.gz"):
            assert noted["changed"] and "sha256" not in noted
        else:
            assert noted["sha256"] == hashlib.sha256(Path(name).read_bytes()).hexdigest()


SRUN = {"SLURM_PROCID": "0", "SLURM_LOCALID": "0", "SLURM_NODEID": "0", "SLURM_JOB_ID": "1", "SLURM_NODELIST": "n1"}
JOBS = {
    "no SLURM": ({}, 1),
    "interactive shell": ({"SLURM_NTASKS": "2"}, 0),
    "named shell": ({"SLURM_NTASKS": "2", "SLURM_JOB_NAME": "interactive"}, 0),
    "script without srun": ({"SLURM_NTASKS": "2", **SRUN}, 0),
    "one task": ({"SLURM_NTASKS": "1", **SRUN}, 1),
    "srun of two": ({"SLURM_NTASKS": "2", "SLURM_STEP_NUM_TASKS": "2", "SLURM_NTASKS_PER_NODE": "2", **SRUN}, 2),
    "torchrun": ({"SLURM_NTASKS": "2", "TORCHELASTIC_RUN_ID": "1"}, 1),
}


@pytest.fixture
def job(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    for name in [name for name in os.environ if name.startswith("SLURM")]:
        monkeypatch.delenv(name)
    variables, tasks = JOBS[request.param]
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    return tasks


@pytest.mark.parametrize("job", JOBS, indirect=True)
def test_a_process_that_srun_did_not_start_is_alone(job: int):
    assert slurm_tasks() == job


def trainer_in(run: Path) -> Trainer:
    words = ["+experiment=ankle_static_unet", f"run_dir={run}", "trainer.accelerator=cpu", *SHORT[:1]]
    return trainer_of(compose("train", words), Split(train=("s0",)))


@pytest.mark.parametrize("job", ["interactive shell", "named shell", "script without srun", "one task"], indirect=True)
def test_a_training_in_a_job_of_slurm_is_one_process(job: int, tmp_path: Path):
    trainer = trainer_in(tmp_path)
    assert trainer.world_size == 1 and trainer.is_global_zero


@pytest.mark.parametrize("job", ["srun of two"], indirect=True)
def test_two_tasks_do_not_train_one_run_twice(job: int, tmp_path: Path):
    with pytest.raises(ConfigError, match="srun started 2 tasks, each of which would train the whole run; start one"):
        trainer_in(tmp_path)


def test_what_the_trainer_refuses_is_one_line(tmp_path: Path):
    words = ["+experiment=ankle_static_unet", f"run_dir={tmp_path}", "trainer.accelerator=quantum"]
    with pytest.raises(ConfigError, match="the trainer cannot be built: .*; check trainer.accelerator"):
        trainer_of(compose("train", words), Split(train=("s0",)))


def test_names_of_a_run_are_lists_of_names(tmp_path: Path):
    words = ["structures=12", "cohort/split=explicit", "cohort.split.train=s0", "cohort.split.validation=s1"]
    config = resumed(compose("train", ["+experiment=ankle_static_unet", *words, f"run_dir={tmp_path}"]))
    assert list(config.structures) == ["12"] and config.network.out_channels == 1
    assert [list(config.cohort.split[part]) for part in ("train", "validation", "test")] == [["s0"], ["s1"], []]


@pytest.mark.parametrize("experiment", sorted(file.stem for file in (conf_dir() / "experiment").glob("*.yaml")))
def test_a_run_on_the_phantom_is_named_so(experiment: str):
    words = [f"+experiment={experiment}", "run_dir=x"]
    cord = experiment.startswith("cord")  # which has no phantom
    assert compose("train", words).run_name == (experiment if cord else f"{experiment}_phantom")
    assert compose("train", [*words, "cohort.root=study"]).run_name == experiment


def test_a_training_on_the_phantom_says_so_first_and_in_its_folder(
    phantom_cohort: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    from hydra import compose as hydra_compose
    from hydra import initialize_config_dir

    made = [f"cohort.phantom.out={phantom_cohort}", "cohort.phantom.subjects=4", "cohort.phantom.seed=7"]
    words = ["+experiment=ankle_static_unet", *made, f"run_dir={tmp_path}"]
    config = compose("train", words)
    assert cohort_root(config) == phantom_cohort
    assert capsys.readouterr().out.startswith("Training on the built-in phantom: cohort.root is not given\n")
    Manifest(tmp_path, config, load_cohort(phantom_cohort), Split(train=("sub-C01",)), 0.0)
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    assert manifest["phantom"] and manifest["name"] == "ankle_static_unet_phantom"
    assert OmegaConf.load(tmp_path / "config.yaml").run_name == "ankle_static_unet_phantom"
    with initialize_config_dir(config_dir=str(conf_dir()), version_base="1.3"):
        hydra = hydra_compose("train", words, return_hydra_config=True).hydra
    assert hydra.run.dir.startswith("runs/ankle_static_unet_phantom/")
    assert hydra.sweep.dir.startswith("runs/ankle_static_unet_phantom/sweep_")
    with pytest.raises(ConfigError, match="cohort.root is missing; add cohort.root="):
        cohort_root(
            compose("train", ["+experiment=cord_static", "cohort.root=null", "cohort.phantom=null", "run_dir=x"])
        )


def test_the_folder_of_a_phantom_that_cannot_be_written_is_told_by_its_own_key():
    with pytest.raises(ConfigError, match="choose another cohort.phantom.out, or give cohort.root"):
        cohort_root(compose("train", ["cohort.phantom.out=/proc/ankleseg/x", "run_dir=x"]))
