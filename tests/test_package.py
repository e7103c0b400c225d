"""The commands work from any directory, from the source tree and from the built wheel."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    subprocess.run(command, check=True, capture_output=True)
    (built,) = folder.glob("*.whl")
    return built


def test_the_wheel_carries_the_configuration_and_no_tests(wheel: Path):
    names = zipfile.ZipFile(wheel).namelist()
    shipped = {n.removeprefix("ankleseg/conf/") for n in names if n.startswith("ankleseg/conf/")}
    assert shipped == {str(p.relative_to(ROOT / "conf")) for p in (ROOT / "conf").rglob("*.yaml")}
    assert "ankleseg/report/page.html" in names
    assert not [n for n in names if n.startswith(("tests/", "conf/", "docs/"))]


@pytest.fixture(scope="module", params=["source", "wheel"])
def environment(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    if request.param == "source":
        return {**os.environ, "PYTHONPATH": str(ROOT)}
    target = tmp_path_factory.mktemp("installed")
    zipfile.ZipFile(request.getfixturevalue("wheel")).extractall(target)
    return {**os.environ, "PYTHONPATH": str(target)}


def test_configuration_is_found_from_any_directory(environment: dict[str, str], tmp_path: Path):
    code = "from ankleseg.config import conf_dir; print(conf_dir())"
    found = subprocess.run(
        [sys.executable, "-c", code], env=environment, cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert found.stdout.startswith(environment["PYTHONPATH"])


@pytest.mark.slow
def test_from_table_to_report(environment: dict[str, str], tiny_table: Path, tmp_path: Path):
    def run(*words: str) -> str:
        result = subprocess.run(
            [sys.executable, "-m", *words], env=environment, cwd=tmp_path, capture_output=True, text=True
        )
        assert result.returncode == 0, result.stderr
        return result.stdout

    run("ankleseg.prepare", f"cohort.root={tiny_table}", "out=prepared")
    run(
        *("ankleseg.train", "+experiment=ankle_static_unet", f"cohort.root={tiny_table}", "structures=[ball]"),
        *("network.widths=[4,8,8,8]", "cohort/split=explicit", "cohort.split.train=[s0,s1]"),
        *("cohort.split.validation=[s2]", "cohort.split.test=[s3]", "patches.sampler.size=[16,16]"),
        *("patches.steps_per_epoch=4", "patches.batch_size=2", "trainer.max_epochs=1", "trainer.accelerator=cpu"),
    )
    (folder,) = (tmp_path / "runs" / "ankle_static_unet").iterdir()
    expected = "config.yaml manifest.json metrics.csv progress.png checkpoints tensorboard test".split()
    assert all((folder / name).exists() for name in expected)
    run("ankleseg.predict", "checkpoint=runs/ankle_static_unet", f"input={tiny_table}", "out=predictions")
    run("ankleseg.evaluate", "predictions=predictions", f"references={tiny_table}", "out=evaluation")
    assert (tmp_path / "evaluation" / "report.html").is_file()
