"""The test that ends a training: predictions of subjects it never saw, and their scores."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path

import pytest

from ankleseg.config import compose
from ankleseg.train import main

SHORT = [
    *("trainer.max_epochs=1", "trainer.accelerator=cpu", "~callbacks.progress", "+trainer.enable_progress_bar=false"),
    *("patches.steps_per_epoch=1", "patches.batch_size=1", "task.validation.window=[32,32,32]"),
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


def test_the_last_epoch_is_validated_however_seldom_the_others_are(tiny_table: Path, tmp_path: Path):
    cohort = [f"cohort.root={tiny_table}", "cohort.suffix=null", "structures=[ball]", "cohort.split.train=[s0]"]
    split = ["cohort.split.validation=[s1]", "cohort.split.test=[]"]
    small = ["network.widths=[4,8]", "trainer.max_epochs=3", "trainer.check_val_every_n_epoch=10"]
    run = tmp_path / "run"
    words = ["+experiment=brain_interpolated_unet", *cohort, *split, *SHORT, *ACROSS, *small, f"run_dir={run}"]
    assert 0 <= main(compose("train", words)) <= 1
    assert (run / "checkpoints/best.ckpt").is_file()
    with (run / "metrics.csv").open() as file:
        assert [bool(row["val/dice"]) for row in csv.DictReader(file)] == [False, False, True]


def test_a_failing_test_leaves_the_result_of_the_training(
    tiny_table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def failing(*_others):
        raise MemoryError

    monkeypatch.setattr("ankleseg.runs.test", failing)
    cohort = [f"cohort.root={tiny_table}", "cohort.suffix=null", "structures=[ball]", "cohort.split.train=[s0]"]
    split = ["cohort.split.validation=[s1]", "cohort.split.test=[s3]", "trainer.check_val_every_n_epoch=1"]
    small = ["network.kernel=2", "discriminator.kernel=2", f"run_dir={tmp_path / 'run'}"]
    with pytest.raises(MemoryError):
        main(compose("train", ["+experiment=brain_segsrgan", *cohort, *split, *SHORT, *ACROSS, *small]))
    manifest = json.loads((tmp_path / "run/manifest.json").read_text())
    assert manifest["results"]["val/psnr"] > 0


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
