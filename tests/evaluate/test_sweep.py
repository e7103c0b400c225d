"""The table of a sweep: a row a run, by the settings in which the runs differ, and what they came to."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from ankleseg.config import compose
from ankleseg.errors import AnklesegError, ConfigError
from ankleseg.evaluate.__main__ import main
from ankleseg.evaluate.sweep import evaluate_sweep

TABLE = "case,structure,dice\n"


def write_run(folder: Path, overrides: list[str], dice: dict[str, str], forgotten: str = "", done: bool = True) -> None:
    """What a run leaves of its result."""
    (folder / "test").mkdir(parents=True)
    (folder / "config.yaml").write_text("seed: 0\n")
    results = {"val/dice": 0.9} if done else {}
    manifest = {"overrides": overrides, "results": results, "wall_seconds": 90.0}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    rows = "".join(f"{case},cord,{value}\n" for case, value in dice.items())
    (folder / "test/metrics.csv").write_text(TABLE + rows)
    if forgotten:
        (folder / "metrics").mkdir()
        (folder / "metrics/forgetting.csv").write_text(f"case,structure,before,after,change\nmean,,{forgotten},0\n")


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    folder = tmp_path / "sweep"
    shared = ["+experiment=cord_finetune", "cohort/split=k_fold"]
    runs: list[tuple[str, str, dict[str, str]]] = [
        ("init.surgery=[]", "0", {"a": "0.8", "b": "0.6"}),
        ("init.surgery=[]", "1", {"c": "0.9", "d": ""}),  # a case that could not be scored
        ("init.surgery=[bottleneck]", "0", {"a": "0.5", "b": "0.0"}),
    ]
    for number, (surgery, fold, dice) in enumerate(runs):
        given = [*shared, surgery, f"cohort.split.fold={fold}"]
        write_run(folder / str(number), given, dice, forgotten="0.95,0.9" if number == 0 else "")
    write_run(folder / "3", [*shared, "init.surgery=[bottleneck]", "cohort.split.fold=1"], {}, done=False)
    return folder


def test_a_row_for_each_run_by_what_it_was_given(sweep: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    main(compose("evaluate", ["recipe=sweep", f"predictions={sweep}", f"out={tmp_path / 'out'}"]))
    rows = list(csv.DictReader((tmp_path / "out/sweep.csv").open()))
    assert list(rows[0])[:3] == ["run", "init.surgery", "cohort.split.fold"], "not what all were given"
    assert [row["test"] for row in rows] == ["0.7", "0.9", "0.25", ""]
    assert [row["tested"] for row in rows] == ["2", "1", "2", "0"]
    assert (rows[0]["source_before"], rows[0]["source_after"], rows[1]["source_after"]) == ("0.95", "0.9", "")
    assert [(row["validation"], row["minutes"]) for row in rows[2:]] == [("0.9", "1.5"), ("", "")], "one was stopped"
    assert (tmp_path / "out/sweep.png").read_bytes().startswith(b"\x89PNG")
    said = capsys.readouterr().out.splitlines()
    assert said[0] == (
        "surgery=[]: 2 runs, validation 0.900, test Dice 0.800 (0.700 to 0.900) over 3, "
        "source cohort 0.950 before, 0.900 after"
    )
    assert said[1].startswith("surgery=[bottleneck]: 2 runs, validation 0.900, test Dice 0.250 (0.250 to 0.250) over 2")


def test_several_sweeps_are_told_apart_by_their_folders(sweep: Path, tmp_path: Path):
    write_run(sweep.parent / "other/0", ["+experiment=cord_unet3d", "cohort.split.fold=0"], {"a": "0.4"})
    found = evaluate_sweep(tmp_path, tmp_path / "out")
    assert found.keys == ("init.surgery", "cohort.split.fold")
    assert [run.label for run in found.runs] == [
        "other",
        *["sweep\nsurgery=[]"] * 2,
        *["sweep\nsurgery=[bottleneck]"] * 2,
    ]


def test_runs_stand_in_the_order_they_were_started_in(tmp_path: Path):
    for number in (2, 10, 1):
        write_run(tmp_path / "sweep" / str(number), [f"seed={number}"], {"a": "0.5"})
    assert [run.name for run in evaluate_sweep(tmp_path / "sweep", tmp_path / "out").runs] == ["1", "2", "10"]


def test_what_is_no_sweep_is_refused(sweep: Path, tmp_path: Path):
    with pytest.raises(AnklesegError, match="holds no run; give the folder of a sweep"):
        evaluate_sweep(sweep / "0/test", tmp_path / "out")
    with pytest.raises(ConfigError, match="the runs of a sweep were tested already"):
        main(compose("evaluate", ["recipe=sweep", f"predictions={sweep}", "references=x", f"out={tmp_path}"]))
