"""Laws of ``python -m ankleseg.prepare``."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ankleseg.cohorts import Cohort
from ankleseg.config import build, compose
from ankleseg.data.preflight import describe, prepare_cohort
from ankleseg.errors import ConfigError
from ankleseg.transforms import Otsu, Preparation, Threshold, ZScore
from ankleseg.volumes import read_volume

BONES = ("heel", "shin")


@pytest.fixture
def preparation() -> Preparation:
    return Preparation(foreground=Otsu(), scaling=ZScore(), bring_to_side="right")


@pytest.fixture
def mixed(write_case, affine, tmp_path: Path) -> Cohort:
    """A good case, one with a mask of another header, one truncated."""
    shifted = affine.copy()
    shifted[:3, 3] += 30
    cases = (write_case("good", side="left"), write_case("moved", affines={"heel": shifted}), write_case("broken"))
    image = cases[2].images[0]
    image.write_bytes(image.read_bytes()[:2000])
    return Cohort(root=tmp_path, cases=cases, structures=BONES)


def read_table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_every_case_has_its_verdict_and_the_others_go_on(
    mixed: Cohort, preparation: Preparation, tmp_path: Path
) -> None:
    rows = prepare_cohort(mixed, preparation, BONES, tmp_path / "out")
    assert rows == read_table(tmp_path / "out" / "preflight.csv")
    told = {row["case"]: row for row in rows}
    assert {name: (row["verdict"], row["status"]) for name, row in told.items()} == {
        "good": ("ok", "prepared"),
        "moved": ("fixable by header copy", "failed"),
        "broken": ("unreadable", "failed"),
    }
    assert "copy_headers=true" in told["moved"]["mend"]
    assert told["broken"]["file"].endswith("broken_image.nii.gz")
    assert len(rows) == 3, "a problem is told once"
    text = describe(rows)
    assert "moved   failed    fixable by header copy  moved_heel.nii.gz: " in text


def test_what_is_written_reads_back_as_prepared(mixed: Cohort, preparation: Preparation, tmp_path: Path, foot) -> None:
    out = tmp_path / "out"
    prepare_cohort(mixed, preparation, BONES, out, copy_headers=True)
    manifest = json.loads((out / "manifest.json").read_text())
    assert set(manifest["cases"]) == {"good", "moved"}
    assert Preparation.from_node(manifest["preparation"]) == preparation
    assert manifest["structures"] == {"heel": 1, "shin": 2}
    good = manifest["cases"]["good"]
    assert good["mirrored"] and good["side"] == "left"
    expected = preparation(mixed.cases[0])
    assert np.array_equal(read_volume(out / good["images"][0]).data, expected.image[0])
    assert np.array_equal(read_volume(out / good["foreground"]).data, expected.foreground)
    label = read_volume(out / good["labels"])
    assert np.array_equal(label.data, (foot["heel"] * 1 + foot["shin"] * 2)[:, :, ::-1])
    assert np.allclose(label.affine, expected.affine, atol=1e-5)


def test_a_case_that_fails_now_leaves_no_files_of_an_earlier_run(
    mixed: Cohort, preparation: Preparation, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    prepare_cohort(mixed, preparation, BONES, out, copy_headers=True)
    assert list((out / "moved").glob("*.nii.gz"))
    prepare_cohort(mixed, preparation, BONES, out)
    assert not list((out / "moved").glob("*"))
    assert "moved" not in json.loads((out / "manifest.json").read_text())["cases"]


def test_a_case_that_reads_well_but_has_no_foot_is_told(mixed: Cohort, tmp_path: Path) -> None:
    too_high = Preparation(foreground=Threshold(value=30000), scaling=ZScore())
    row = prepare_cohort(mixed, too_high, BONES, tmp_path / "out")[0]
    assert (row["case"], row["verdict"], row["status"]) == ("good", "cannot be prepared", "failed")
    assert row["problem"] == "its foreground covers 0 % of the image"


def test_a_structure_that_a_case_lacks_is_told(mixed: Cohort, preparation: Preparation, tmp_path: Path) -> None:
    row = prepare_cohort(mixed, preparation, (*BONES, "talus"), tmp_path / "out")[0]
    assert (row["status"], row["problem"]) == ("failed", "case good has no mask of talus")


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "ankleseg.prepare", *arguments], capture_output=True, text=True)


def test_the_command_prepares_a_table(tiny_table: Path, tmp_path: Path) -> None:
    done = run(f"cohort.root={tiny_table}", f"out={tmp_path / 'out'}")
    assert done.returncode == 0, done.stderr
    assert "4 of 4 cases prepared" in done.stdout
    assert {row["status"] for row in read_table(tmp_path / "out" / "preflight.csv")} == {"prepared"}
    assert (tmp_path / "out" / "s0" / "s0_prepared.nii.gz").is_file()


def test_the_command_fails_where_nothing_can_be_used(tiny_table: Path, tmp_path: Path) -> None:
    done = run(f"cohort.root={tiny_table}", f"out={tmp_path / 'out'}", "structures=[cube]")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].endswith("table.csv: no case can be used; see the table above")
    assert "case s0 has no mask of cube; add it, or choose among ball" in done.stdout


def test_the_command_asks_for_a_cohort(tmp_path: Path) -> None:
    done = run(f"out={tmp_path / 'out'}")
    assert done.returncode == 1
    assert done.stderr.strip() == (
        "ankleseg: there is no cohort to prepare; add cohort.root=FOLDER or cohort.root=TABLE.csv"
    )


def test_every_recipe_builds_and_survives_its_node() -> None:
    from ankleseg.config import conf_dir

    recipes = [path.stem for path in (conf_dir() / "prepare").glob("*.yaml")]
    assert {"ankle", "cord", "brain", "whole_image"} <= set(recipes)
    for recipe in recipes:
        preparation = build(compose("prepare", [f"prepare={recipe}", "out=x"]).prepare)
        assert Preparation.from_node(preparation.to_node()) == preparation


def test_the_published_threshold_is_one_word_away() -> None:
    config = compose("prepare", ["prepare/foreground=threshold", "out=x"])
    assert build(config.prepare).foreground == Threshold(value=250)


def test_a_missing_file_costs_only_its_case(tiny_table: Path, tmp_path: Path) -> None:
    broken = tmp_path / "table.csv"
    lines = [line.split(",") for line in tiny_table.read_text().split()[1:]]
    moved = [[name, *(str(tiny_table.parent / file) for file in files)] for name, *files in lines]
    rows = [*moved[:2], ["gone", "gone.nii.gz", moved[0][2]], ["unnamed", "", moved[0][2]]]
    broken.write_text("\n".join(["subject,image,mask_ball", *(",".join(row) for row in rows)]) + "\n")
    done = run(f"cohort.root={broken}", f"out={tmp_path / 'out'}")
    assert done.returncode == 0, done.stderr
    assert "2 of 4 cases prepared" in done.stdout
    told = {row["case"]: (row["status"], row["problem"]) for row in read_table(tmp_path / "out" / "preflight.csv")}
    assert told["gone"] == ("failed", "does not exist")
    assert told["unnamed"] == ("failed", "gives no image for case unnamed")


def test_a_case_that_fails_now_leaves_no_result_of_before_whatever_its_name(
    write_case, preparation: Preparation, tmp_path: Path
) -> None:
    case = write_case("P[1] *?")
    cohort = Cohort(root=tmp_path, cases=(case,), structures=BONES)
    prepare_cohort(cohort, preparation, BONES, tmp_path / "out")
    folder = tmp_path / "out" / case.name
    assert len(list(folder.iterdir())) == 3
    case.images[0].write_bytes(b"broken")
    prepare_cohort(cohort, preparation, BONES, tmp_path / "out")
    assert list(folder.iterdir()) == []


def test_a_bug_that_one_case_meets_does_not_stop_the_others(
    write_case, preparation: Preparation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ankleseg.data import preflight

    true = preflight.prepare_case

    def buggy(case, *others, **more):
        if case.name == "first":
            raise ZeroDivisionError("a bug")
        return true(case, *others, **more)

    monkeypatch.setattr(preflight, "prepare_case", buggy)
    cases = (write_case("first"), write_case("second"))
    rows = prepare_cohort(Cohort(root=tmp_path, cases=cases, structures=BONES), preparation, BONES, tmp_path / "out")
    assert [row["status"] for row in rows] == ["failed", "prepared"]
    assert rows[0]["problem"].startswith("unexpected ZeroDivisionError: a bug; hydra.verbose=ankleseg shows where")


def test_nothing_but_results_is_removed_where_the_scans_are(write_case, preparation, tmp_path: Path) -> None:
    case = write_case("foot")
    beside = tmp_path / "foot" / "foot_T2w.nii.gz"
    beside.parent.mkdir(exist_ok=True)
    beside.write_bytes(case.images[0].read_bytes())
    for _ in range(2):
        prepare_cohort(Cohort(tmp_path, (case,), BONES), preparation, BONES, tmp_path)
        assert beside.is_file() and case.images[0].is_file()
    taken = replace(case, channels={"image": tmp_path / "foot" / "foot_prepared.nii.gz"})
    with pytest.raises(ConfigError, match="is an input and would be replaced by a result; choose another out"):
        prepare_cohort(Cohort(tmp_path, (taken,), BONES), preparation, BONES, tmp_path)
