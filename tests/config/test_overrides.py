"""Laws of what is typed: a path or name arrives as it was typed, all else keeps the meaning that Hydra gives it."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from ankleseg.config import compose, names_in, to_plain
from ankleseg.config.overrides import as_typed, literal, parsed, quoted
from ankleseg.errors import ConfigError

NAMES = [
    *("Mes scans (2)", "Téléchargements", "Ærø og Århus", "患者 01", "T1=0.5,fs#2~.nii.gz", "scan (1).nii.gz", "a[b]"),
    *("~x", "x~", "#", "a=b", "=", "it's", 'a"b', "'", "a&b", "50%", "a@b", "wow!", "$HOME", "${", "back\\slash"),
    *(
        "end\\",
        " lead",
        "trail ",
        "12",
        "02",
        "1e5",
        "1_0",
        "true",
        "nan",
        "(a)",
        "a;b|c",
        "a*b?",
        "a\tb",
        "a\nb",
        "é'(,",
    ),
    *("???x", "`id`", "-x", "+x", "C:\\data\\x"),
]


def arrived(override: str, command: str = "predict") -> Any:
    """What a configuration holds after Hydra and OmegaConf read what was typed."""
    from hydra.core.override_parser.overrides_parser import OverridesParser

    (word,) = as_typed([override], command)
    return to_plain(OmegaConf.create({"read": OverridesParser.create().parse_override(word).value()}))["read"]


@pytest.mark.parametrize("name", NAMES)
def test_one_path_or_name_arrives_as_it_was_typed(name: str):
    for key in ("input", "group", "suffix", "cohort.root", "hydra.run.dir", "resume", "checkpoint", "predictions"):
        assert arrived(f"{key}={name}") == name
        assert arrived(f"++{key}=/data/{name}/below") == f"/data/{name}/below"


@pytest.mark.parametrize("name", [name for name in NAMES if not {",", "'"} & {name} and name == name.strip()])
def test_paths_and_names_in_lists_and_mappings_arrive_too(name: str):
    if "," not in name:
        assert arrived(f"checkpoint=[{name}, /b/{name}]") == [name, f"/b/{name}"]
        for key in ("subjects", "suffix", "cohort.suffix"):
            assert arrived(f"{key}=[{name},x]") == [name, "x"]
    assert arrived(f"predictions={{a: {name}, b 2: /b/{name}}}") == {"a": name, "b 2": f"/b/{name}"}


def test_commands_and_notebooks_compose_what_was_typed():
    name = "Mes scans (2) é患[a]{b}#=,'\"&%@+!$~\\ ${x"
    config = compose("predict", [f"input={name}", f"out=/data/{name}", "checkpoint=[1,02]", "subjects=12"])
    assert [config.input, config.out] == [name, f"/data/{name}"]
    assert (names_in(config.checkpoint), names_in(config.subjects)) == (["1", "02"], ["12"])


@pytest.mark.parametrize("name", ["[a]", "{a}", "{a: b}", "a,b", ",", "'a'", "${HOME}", "choice(a,b)", "~", "[1,2]"])
def test_what_exists_as_it_was_typed_is_a_path_whatever_it_looks_like(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / name).mkdir()
    assert [arrived(f"input={name}"), arrived(f"checkpoint={name}")] == [name, name]
    (word,) = as_typed([f"cohort.root={name}"], "train", multirun=True)
    value = parsed(word.removeprefix("cohort.root="))
    assert getattr(value, "text", value) == literal(name)


def test_an_existing_path_with_a_comma_is_one_of_a_list(tmp_path: Path):
    (tmp_path / "a,b").mkdir()
    assert arrived(f"checkpoint=[{tmp_path}/a,b,{tmp_path}/c]") == [f"{tmp_path}/a,b", f"{tmp_path}/c"]


def test_home_is_where_the_tilde_says(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HOME", "/home/marie curie")
    assert arrived("input=~/scans (1)") == "/home/marie curie/scans (1)"
    assert arrived("checkpoint=[~/a,b]") == ["/home/marie curie/a", "b"]


KEPT = [
    *(
        "seed=1",
        "optimizer.lr=1e-3",
        "seed=1,2",
        "seed=range(0,7)",
        "~callbacks.progress",
        "+trainer.fast_dev_run=true",
    ),
    *("++seed=3", "cohort.root=null", "structures=[]", "cohort.root='a b'", 'cohort.root="a b"', "hydra.verbose=true"),
    *("prepare.spacing=[1,2,null]", "patches.schedule=[{epoch: 1, size: [8, 8]}]", "cohort.split.validation=1"),
    *("hydra.run.dir=runs/${name}/${now:%H-%M}", "cohort.root=${oc.env:HOME}/study", "resume=runs/a", "bone=talus"),
]


@pytest.mark.parametrize("override", KEPT)
def test_all_else_is_left_to_hydra(override: str):
    assert as_typed([override], "train") == [override]


def test_a_count_of_subjects_is_a_number_and_a_name_is_none():
    assert (arrived("subjects=2", "phantoms"), arrived("subjects=2")) == (2, "2")
    assert names_in(12) == ["12"] and names_in([1, "02"]) == ["1", "02"] and names_in(None) is None


def test_names_with_commas_are_a_list_and_in_a_sweep_one_run_each():
    assert as_typed(["structures=talus,02"], "train") == ["structures=[talus,02]"]
    assert as_typed(["structures=talus,02"], "train", multirun=True) == ["structures=talus,02"]
    assert as_typed(["structures=[a],[b,1]"], "train", multirun=True) == ["structures=[a],[b,1]"]
    assert as_typed(["cohort.root=a b,c#"], "train", multirun=True) == ['cohort.root=a b,"c#"']
    assert as_typed(["cohort.root=choice(a,b)"], "train", multirun=True) == ["cohort.root=choice(a,b)"]
    assert as_typed(["hydra.sweep.dir=a,b"], "train", multirun=True) == ['hydra.sweep.dir="a,b"']


def test_quoting_twice_is_quoting_once():
    words = [f"input={name}" for name in NAMES]
    assert as_typed(once := as_typed(words, "predict"), "predict") == once


@pytest.mark.parametrize("text", NAMES)
def test_quotes_and_escapes_say_the_text_itself(text: str):
    assert parsed(quoted(text)).text == text
    assert OmegaConf.create({"read": literal(text)}).read == text


def test_a_name_that_no_mapping_takes_is_told():
    with pytest.raises(ConfigError) as caught:
        as_typed(["predictions={é: a}"], "evaluate")
    assert str(caught.value) == (
        "predictions: invalid pair 'é: a': expected name:value, with a name of ASCII letters and digits; "
        "write 'predictions={first:DIR}'"
    )


def test_a_shell_gives_a_command_what_was_typed(tmp_path: Path):
    name = "Mes scans (2) é患[a]{b}#=,'\"&%@+!$~\\ x"
    out = tmp_path / "arrived.json"
    code = (
        "import json, pathlib\nfrom ankleseg.config import run_command, to_plain\n"
        f"def main(config): pathlib.Path({str(out)!r}).write_text(json.dumps(to_plain(config)))\n"
        "run_command('predict', main)"
    )
    words = [f"input={name}", f"checkpoint=[{name.replace(',', '')}, b]", f"out={tmp_path / name}", "subjects=[1,02]"]
    line = " ".join(map(shlex.quote, [sys.executable, "-c", code, *words]))
    done = subprocess.run(["bash", "-c", line], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    arrived = json.loads(out.read_text())
    assert arrived["input"] == name and arrived["out"] == str(tmp_path / name)
    assert arrived["checkpoint"] == [name.replace(",", ""), "b"] and arrived["subjects"] == ["1", "02"]
