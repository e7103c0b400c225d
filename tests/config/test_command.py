"""Laws of running a command: one line for every problem, before any work, and nothing left behind."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hydra.core.hydra_config import HydraConfig
from omegaconf import OmegaConf

from ankleseg.config import compose, require_folder, run_command
from ankleseg.config.command import check_kinds
from ankleseg.errors import ConfigError

Done = tuple[int, str, str]  # status, standard output, standard error


@pytest.fixture
def run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Iterator[Callable[..., Done]]:
    """Run a command whose main is given, in this process; what Hydra writes goes to a temporary folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("HYDRA_FULL_ERROR", raising=False)

    def running(command: str, *words: str, main: Callable[[Any], Any] = lambda config: config.out) -> Done:
        quiet = ["hydra/job_logging=none", "hydra/hydra_logging=none"] if words else []
        monkeypatch.setattr(sys, "argv", ["command", *quiet, *words])
        try:
            status = run_command(command, main) or 0
        except SystemExit as stop:
            status = int(stop.code or 0)
        return (status, *capsys.readouterr())

    yield running
    HydraConfig.instance().cfg = None


TOLD = {
    "typo": ("predict", ["imput=x"], "imput is unknown; did you mean input?"),
    "typo below": ("predict", ["predict.overlop=1"], "predict.overlop is unknown; did you mean predict.overlap?"),
    "last word": ("train", ["max_epochs=3"], "max_epochs is unknown; did you mean trainer.max_epochs?"),
    "no plus": ("train", ["experiment=cord_static"], "experiment needs a +; write +experiment=cord_static"),
    "too much plus": ("train", ["+seed=1"], "seed is already set; write seed=… without +"),
    "group with plus": ("train", ["+network=fcn"], "network is given twice; write network=… once, and without +"),
    "no such choice": ("train", ["optimizer=adamm"], "unknown optimizer 'adamm'; did you mean adam? Or one of "),
    "in a mapping": ("predict", ["select={rnu: 2}"], "select.rnu is unknown; did you mean select.run?"),
    "list for settings": (
        "prepare",
        ["cohort.select=[run: 2]"],
        "cohort.select: expected settings, got [run: 2]; set one of them: cohort.select.KEY=VALUE",
    ),
    "no such recipe": (
        "prepare",
        ["recipe=ankle"],
        "unknown recipe 'ankle'; choose ankle_dynamic, low_resolution, static",
    ),
    "recipe of another command": (
        "evaluate",
        ["recipe=static"],
        "unknown recipe 'static'; choose cord, motion, quality, registration, segmentation, sweep, tumour, volumetry",
    ),
    "no such method": ("predict", ["method=kmean"], "unknown method 'kmean'; did you mean kmeans? Or one of edges, "),
    "setting without method": (
        "predict",
        ["method.filter=sobel"],
        "method.filter is a setting of a method that has it; add method=NAME, one of edges, fuzzy_c_means, kmeans, ",
    ),
    "setting of another method": (
        "predict",
        ["method=kmeans", "method.filter=sobel"],
        "method.filter is a setting of a method that has it; add method=NAME",
    ),
    "setting of another recipe": (
        "prepare",
        ["workers=2"],
        "workers is a setting of recipe=ankle_dynamic; add recipe=ankle_dynamic, or leave it out",
    ),
    "group of another recipe": (
        "prepare",
        ["recipe=low_resolution", "prepare=sharp"],
        "prepare is a setting of recipe=static; add recipe=static, or leave it out",
    ),
    "of another command": ("prepare", ["subjects=1"], "subjects is unknown; did you mean subject?"),
    "empty path": ("train", ["cohort.root="], "cohort.root is empty; give a path: cohort.root=PATH"),
    "empty in quotes": ("predict", ["out=''"], "out is empty; give a path: out=PATH"),
    "blanks": (
        "predict",
        ["input=Mes", "scans", "(2)", "out=x"],
        "scans: expected key=value; put quotes around a value with blanks: 'input=Mes scans (2)'",
    ),
    "folder for cohort": (
        "train",
        ["cohort=/usr"],
        "invalid cohort=/usr: expected a kind of cohort; write cohort.root=/usr",
    ),
    "option": (
        "predict",
        ["--input", "out=x"],
        "--input: unknown option; settings are given as key=value, without dashes",
    ),
    "no value": ("predict", ["x"], "x: expected key=value; python -m ankleseg.predict --help lists the keys"),
    "blank": (
        "predict",
        ["input=a", "b.nii"],
        "b.nii: expected key=value; put quotes around a value with blanks: 'input=a b.nii'",
    ),
    "bracket": (
        "predict",
        ["device=(a"],
        """device=(a: cannot be read as a value; correct it, or write it as text: 'device="(a"'""",
    ),
    "comma": (
        "predict",
        ["device=a,b"],
        """device=a,b: several values for one run; write a list 'device=[a,b]', a text 'device="a,b"', """
        "or add -m to sweep",
    ),
    "interpolation": (
        "predict",
        ["out=${x}/y"],
        r"out: ${x} is not a setting; correct it, or write \${ where it is text",
    ),
    "missing": ("predict", ["input=x"], "out is missing; add out=…"),
    "kind in a recipe": (
        "prepare",
        ["copy_headers=maybe", "out=x"],
        "copy_headers: expected true or false, got 'maybe'",
    ),
    "kind": ("predict", ["predict=fast"], "predict: expected settings, got 'fast'; set one of them: predict.KEY=VALUE"),
}


@pytest.mark.parametrize("case", TOLD)
def test_what_hydra_objects_to_is_told_in_one_line(case: str, run: Callable[..., Done]):
    command, words, said = TOLD[case]
    status, shown, error = run(command, *words)
    assert (status, shown) == (1, "")
    assert error.startswith(f"ankleseg: {said.rstrip()}") and error.count("\n") == 1


@pytest.mark.parametrize("argument", ["device=(a", "device=it's (", "device=a,b", "device='x", 'device=#~ "é'])
def test_the_quoting_that_is_shown_works_in_a_shell(argument: str, run: Callable[..., Done]):
    said = run("predict", argument, "out=x")[2]
    shown = said.partition(" text ")[2] or said.partition("as text: ")[2]
    shown = shown.partition(", or add")[0].strip()
    value = subprocess.run(["bash", "-c", f"printf %s {shown}"], capture_output=True, text=True, check=True).stdout
    assert compose("predict", [value]).device == argument.partition("=")[2]
    assert shlex.split(shown) == [value]


def test_options_and_overrides_may_be_mixed(tmp_path: Path, run: Callable[..., Done]):
    ran: list[str] = []
    run("predict", f"out={tmp_path}/a", "-m", "device=a,b", main=lambda config: ran.append(config.device))
    assert ran == ["a", "b"]


def test_a_sweep_goes_on_after_a_failure_and_fails_in_the_end(tmp_path: Path, run: Callable[..., Done]):
    ran: list[str] = []

    def main(config: Any) -> None:
        assert config.device != "a", "bad"
        ran.append(config.device)

    status, _, error = run("predict", "-m", f"out={tmp_path}/a", "device=a,b", main=main)
    assert (status, ran) == (1, ["b"]) and error.startswith("ankleseg: AssertionError: bad")


def test_a_number_that_a_setting_gives_for_a_path_is_its_name(run: Callable[..., Done]):
    ran: list[str] = []
    run("predict", "-m", "out=${hydra:job.num}", "device=a,b", main=lambda config: ran.append(config.out))
    assert ran == ["0", "1"]


def buggy(_: Any) -> None:
    raise KeyError("x")


def test_a_bug_is_one_line_and_a_traceback_on_request(
    tmp_path: Path, run: Callable[..., Done], monkeypatch: pytest.MonkeyPatch
):
    status, _, error = run("predict", f"out={tmp_path}/a", main=buggy)
    assert status == 1 and error.count("\n") == 1
    assert re.match(
        "ankleseg: KeyError: 'x' \\(unforeseen, in test_command.py line [0-9]+\\); set HYDRA_FULL_ERROR=1", error
    )
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    monkeypatch.setattr(sys, "argv", ["command", f"out={tmp_path}/a", "hydra/job_logging=none"])
    with pytest.raises(KeyError):
        run_command("predict", buggy)


def test_a_bug_leaves_its_traceback_in_the_log_of_a_run_and_an_interruption_is_one_line(tmp_path: Path):
    code = (
        "import os, signal, sys\nfrom ankleseg.config import run_command\n"
        "def main(config):\n    if config.seed: os.kill(os.getpid(), signal.SIGINT)\n    {}['x']\n"
        "run_command('train', main)"
    )
    done = [
        subprocess.run(
            [sys.executable, "-c", code, f"hydra.run.dir={tmp_path}/a b", f"seed={seed}"],
            capture_output=True,
            text=True,
        )
        for seed in (0, 1)
    ]
    assert "Traceback" not in done[0].stderr and "KeyError" in (tmp_path / "a b/train.log").read_text()
    assert (done[1].returncode, done[1].stderr) == (128 + signal.SIGINT, "ankleseg: interrupted\n")


@pytest.mark.parametrize("command", ["phantoms", "prepare", "train", "predict", "evaluate"])
def test_a_command_without_arguments_says_how_it_is_called(command: str, run: Callable[..., Done]):
    status, shown, error = run(command)
    assert (status, shown) == (1, "")
    assert error.startswith(f"usage: python -m ankleseg.{command} ") and error.count("\n") < 6


def test_an_output_folder_that_cannot_be_made_is_refused_and_nothing_is_left(tmp_path: Path):
    (tmp_path / "file").touch()
    (tmp_path / "lost").symlink_to(tmp_path / "nowhere")
    for below in ("file", "file/below/that"):
        with pytest.raises(ConfigError, match="file: is a file, but a folder is expected; choose another out"):
            require_folder(tmp_path / below)
    with pytest.raises(ConfigError, match="lost: is a link that leads nowhere"):
        require_folder(tmp_path / "lost/below")
    with pytest.raises(ConfigError, match=r"/proc/ankleseg/out: cannot be made in /proc \(.+\); choose another here"):
        require_folder("/proc/ankleseg/out", "here")
    require_folder(tmp_path / "new/below")
    require_folder(None)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "lost"]


@pytest.mark.skipif(os.access("/", os.W_OK), reason="rights do not bind this user")
def test_a_folder_without_the_right_to_write_is_refused(tmp_path: Path):
    (tmp_path / "read_only").mkdir(mode=0o500)
    with pytest.raises(ConfigError, match=r"read_only: cannot be written \(Permission denied\)"):
        require_folder(tmp_path / "read_only")


@pytest.mark.parametrize("command", ["predict", "train"])
def test_a_command_refuses_such_a_folder_before_it_begins(command: str, run: Callable[..., Done]):
    key = "hydra.run.dir" if command == "train" else "out"
    status, shown, error = run(command, f"{key}=/proc/ankleseg/x", main=buggy)
    assert (status, shown) == (1, "")
    assert error.startswith("ankleseg: /proc/ankleseg") and error.endswith(f"; choose another {key}\n")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"a": "x"}, "a: expected a number, got 'x'; e.g. a=1"),
        ({"b": "yes"}, "b: expected true or false, got 'yes'; e.g. b=true"),
        ({"c": {"d": "x"}}, "c.d: expected a number, got 'x'; e.g. c.d=0.5"),
        ({"c": 1}, "c: expected settings, got 1; set one of them: c.KEY=VALUE"),
    ],
)
def test_text_where_there_is_to_be_a_number_is_told(given: dict, said: str):
    root = OmegaConf.create({"a": 1, "b": False, "c": {"d": 0.5}, "e": None})
    with pytest.raises(ConfigError) as caught:
        check_kinds(root, OmegaConf.create({**root, **given}))
    assert str(caught.value) == said
    check_kinds(root, OmegaConf.create({"a": 2.5, "b": True, "c": None, "e": "x"}))


def test_what_is_logged_stands_in_its_own_line_beside_a_progress_bar(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
):
    said = """import logging, sys
from tqdm import tqdm
from ankleseg.config import run_command

def main(config):
    with tqdm(range(2), desc="working", file=sys.stdout) as bar:
        for step in bar:
            logging.getLogger("ankleseg").warning("a remark")

sys.argv = ["predict", "checkpoint=x", "input=y", "out=z"]
run_command("predict", main)
"""
    subprocess.run([sys.executable, "-c", said], check=True)
    lines = re.split("[\r\n]", capfd.readouterr().out)
    assert lines.count("a remark") == 2


def test_a_setting_of_an_earlier_version_is_told_with_its_new_name():
    from ankleseg.config.problems import RENAMED, _renamed, described

    assert _renamed("patches.augmentation.gamma") == "augment.gamma=…"
    assert _renamed("prepare.foreground.value") == "prepare.foreground.threshold=…"
    assert _renamed("patches.sampler.size") is None
    for old in RENAMED:
        with pytest.raises(Exception, match="Could not override") as error:
            compose("train", [f"{old.removesuffix('.')}=1"])
        said = str(described(error.value, [f"{old}=1"], "train"))
        assert "has another name now; write" in said, said
