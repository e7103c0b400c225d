"""A run that is killed and resumed ends as one that was never interrupted."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from ankleseg.inference import read_checkpoint

EPOCHS = 6


EXPERIMENTS = {
    "ankle_static_unet": [
        *("network.dropout=0.2", "network.widths=[4,8,8,8]"),
        *("patches.sampler.size=[16,16]", "patches.sampler.min_foreground=0.3", "patches.steps_per_epoch=8"),
    ],
    "brain_segsrgan": [
        *("network.kernel=2", "discriminator.kernel=2", "task.critic_steps=2", "task.adversarial_from=1"),
        *("patches.sampler.size=[32,32,32]", "patches.sampler.min_foreground=0", "patches.steps_per_epoch=2"),
        *("patches.thick.finest=[null,null,6.0]", "patches.thick.coarsest=[null,null,8.0]"),
    ],
}


def command(experiment: str, table: Path, run: Path, *more: str) -> list[str]:
    return [
        *(sys.executable, "-m", "ankleseg.train", f"+experiment={experiment}", f"cohort.root={table}"),
        *("structures=[ball]", *EXPERIMENTS[experiment]),
        *("cohort/split=explicit", "cohort.split.train=[s0,s1]", "cohort.split.validation=[s2]"),
        *("cohort.split.test=[]", "cohort.suffix=null"),
        *("patches.batch_size=2", f"trainer.max_epochs={EPOCHS}", "trainer.accelerator=cpu", "test=false"),
        *(
            "scheduler=polynomial",
            "~callbacks.progress",
            "+trainer.enable_progress_bar=false",
            f"hydra.run.dir={run}",
            *more,
        ),
    ]


def weights(run: Path) -> dict[str, torch.Tensor]:
    return read_checkpoint(run / "checkpoints" / "last.ckpt")["state_dict"]


@pytest.mark.slow
@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_killed_and_resumed_equals_uninterrupted(experiment: str, tiny_table: Path, tmp_path: Path):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    subprocess.run(command(experiment, tiny_table, whole), check=True, capture_output=True)

    training = subprocess.Popen(
        command(experiment, tiny_table, killed), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    last = killed / "checkpoints" / "last.ckpt"
    deadline = time.monotonic() + 120
    while not last.exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(random.uniform(0.0, 0.4))
    os.kill(training.pid, signal.SIGKILL)
    training.wait()
    reached = read_checkpoint(last)["epoch"] + 1
    assert reached > 0

    subprocess.run(
        [sys.executable, "-m", "ankleseg.train", f"resume={killed}"], check=True, capture_output=True, cwd=tmp_path
    )
    expected, found = weights(whole), weights(killed)
    assert expected.keys() == found.keys()
    for name, value in expected.items():
        assert torch.equal(value, found[name]), f"{name} differs after a kill at epoch {reached}"
    assert (whole / "metrics.csv").read_text() == (killed / "metrics.csv").read_text()
    assert not (tmp_path / "runs").exists(), "a resumed run writes nothing elsewhere"


def test_resume_without_a_run_is_told(tmp_path: Path):
    mistyped = tmp_path / "mistyped"
    result = subprocess.run(
        [sys.executable, "-m", "ankleseg.train", f"resume={mistyped}"], capture_output=True, text=True, cwd=tmp_path
    )
    assert result.returncode == 1
    assert result.stderr == (
        f"ankleseg: {mistyped}: holds no run to resume; give a folder with config.yaml and checkpoints/last.ckpt\n"
    )
    assert not list(tmp_path.iterdir()), "a mistyped folder is not made"
