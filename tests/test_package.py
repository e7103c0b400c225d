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


def test_the_wheel_carries_the_package_with_its_configuration_and_no_tests(wheel: Path):
    archive = zipfile.ZipFile(wheel)
    shipped = {name for name in archive.namelist() if name.startswith("ankleseg/")}
    files = [path for path in (ROOT / "ankleseg").rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    package = {path.relative_to(ROOT): path for path in files}
    package |= {"ankleseg" / path.relative_to(ROOT): path for path in (ROOT / "conf").rglob("*.yaml")}
    assert shipped == {path.as_posix() for path in package}
    assert all(archive.read(name.as_posix()) == path.read_bytes() for name, path in package.items())
    assert "ankleseg/report/page.html" in shipped
    assert not [name for name in archive.namelist() if name.startswith(("tests/", "conf/", "docs/"))]


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("installed")
    zipfile.ZipFile(wheel).extractall(target)
    return target


def python(package: Path, *words: str, cwd: Path) -> str:
    """Run Python with a package in a folder; return what it prints."""
    environment = {**os.environ, "PYTHONPATH": str(package)}
    result = subprocess.run([sys.executable, *words], env=environment, cwd=cwd, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_configuration_is_found_from_any_directory(installed: Path, tmp_path: Path):
    for package in (ROOT, installed):
        found = python(package, "-c", "from ankleseg.config import conf_dir; print(conf_dir())", cwd=tmp_path)
        assert found.startswith(str(package))


COMMANDS = """
import runpy, sys
for command in {commands}:
    sys.argv = command
    runpy.run_module(command[0], run_name="__main__", alter_sys=True)
"""


@pytest.mark.slow
def test_from_table_to_report(installed: Path, tiny_table: Path, tmp_path: Path):
    """From the wheel, whose files are those of the source tree; one process runs the commands, and loads MONAI once."""

    def run(*commands: list[str]) -> None:
        python(installed, "-c", COMMANDS.format(commands=commands), cwd=tmp_path)

    run(
        ["ankleseg.prepare", f"cohort.root={tiny_table}", "out=prepared"],
        [
            *("ankleseg.train", "+experiment=ankle_static_unet", f"cohort.root={tiny_table}", "structures=[ball]"),
            *("network.widths=[4,8,8,8]", "cohort/split=explicit", "cohort.split.train=[s0,s1]"),
            *("cohort.split.validation=[s2]", "cohort.split.test=[s3]", "patches.sampler.size=[16,16]"),
            *("patches.steps_per_epoch=4", "patches.batch_size=2", "trainer.max_epochs=1", "trainer.accelerator=cpu"),
        ],
        ["ankleseg.predict", "checkpoint=runs/ankle_static_unet", f"input={tiny_table}", "out=predictions"],
        ["ankleseg.evaluate", "predictions=predictions", f"references={tiny_table}", "out=evaluation"],
    )
    (folder,) = (tmp_path / "runs" / "ankle_static_unet").iterdir()
    expected = "config.yaml manifest.json metrics.csv progress.png checkpoints tensorboard test".split()
    assert all((folder / name).exists() for name in expected)
    assert (tmp_path / "evaluation" / "report.html").is_file()
