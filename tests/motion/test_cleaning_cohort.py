"""Cleaned cohorts on disk: what is written, what is kept, what is done again."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from broken_studies import BONES, LEFT, RIGHT, fourteen_frames, mask, of_subject, sequence, static, truncated_scan

from ankleseg.cohorts import load_cohort
from ankleseg.errors import ConfigError, FileError
from ankleseg.motion.cleaning import CleaningRules, clean_case, clean_cohort, clean_into, cohort, read_cleaned
from ankleseg.volumes import read_header, same_grid


@pytest.fixture
def study(whole_study: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole_study, tmp_path / "study"))


@pytest.fixture(scope="module")
def cleaned_study(whole_study: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("cleaned")
    clean_cohort(load_cohort(whole_study, strict=False), out)
    return out


def tree(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def test_a_bids_derivative_is_written(cleaned_study: Path, whole_study: Path) -> None:
    files = {str(file.relative_to(cleaned_study)) for file in cleaned_study.rglob("*") if file.is_file()}
    assert files == {
        *("cleaning.tsv", "participants.tsv", "dataset_description.json"),
        *(f"{name}/.clean.json" for name in (RIGHT, LEFT)),
        *(f"{name}/anat/{name}_T1w.nii.gz" for name in (RIGHT, LEFT)),
        *(f"{name}/anat/{name}_label-{label}_mask.nii.gz" for name in (RIGHT, LEFT) for label in ("foot", *BONES)),
        *(f"{name}/dyn/{name}_task-active_dynamic{end}" for name in (RIGHT, LEFT) for end in (".nii.gz", ".json")),
    }
    assert (cleaned_study / "participants.tsv").read_bytes() == (whole_study / "participants.tsv").read_bytes()
    assert json.loads((cleaned_study / "dataset_description.json").read_text())["DatasetType"] == "derivative"
    for written, given in ((static, static), (sequence, sequence)):
        one, other = read_header(written(cleaned_study, RIGHT)), read_header(given(whole_study, RIGHT))
        assert one.shape == other.shape and same_grid(one.shape, one.affine, other.shape, other.affine, 1e-3)
    with (cleaned_study / "cleaning.tsv").open(newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    assert list(rows[0]) == ["subject", "file", "verdict", "problem", "mend", "status", "masks"]
    assert [(row["subject"], row["verdict"], row["status"]) for row in rows] == [
        (RIGHT, "ok", "usable"),
        (LEFT, "ok", "usable"),
    ]


def test_what_was_written_reads_back_as_it_was_cleaned(cleaned_study: Path, whole_study: Path, tmp_path: Path) -> None:
    case = load_cohort(whole_study, strict=False).cases[0]
    again, fresh = read_cleaned(case, cleaned_study), clean_case(case)
    assert again is not None and again.static is not None and fresh.static is not None
    assert (again.name, again.side, again.group, again.status) == (RIGHT, "right", "control", "usable")
    assert again.static.data.dtype == fresh.static.data.dtype == np.int16
    np.testing.assert_array_equal(again.static.data, fresh.static.data)
    np.testing.assert_array_equal(again.foot, fresh.foot)
    assert {bone: mask.tobytes() for bone, mask in again.masks.items()} == {
        bone: mask.tobytes() for bone, mask in fresh.masks.items()
    }
    (one,), (other,) = again.sequences.values(), fresh.sequences.values()
    np.testing.assert_array_equal(one.volume.data, other.volume.data)
    assert (one.name, one.sidecar, one.unusable) == (other.name, other.sidecar, other.unusable)
    assert read_cleaned(case, tmp_path) is None


def test_what_is_whole_is_not_done_again_and_what_changed_is(study: Path, tmp_path: Path, monkeypatch) -> None:
    out = tmp_path / "out"
    first = clean_cohort(load_cohort(study, strict=False), out)
    before = tree(out)
    done = []
    monkeypatch.setattr(cohort, "clean_case", lambda case, rules: (done.append(case.name), clean_case(case, rules))[1])
    assert clean_cohort(load_cohort(study, strict=False), out) == first
    assert (done, tree(out)) == ([], before)

    (out / RIGHT / "anat" / f"{RIGHT}_label-talus_mask.nii.gz").unlink()
    assert clean_cohort(load_cohort(study, strict=False), out) == first
    assert (done, tree(out)) == ([RIGHT], before)

    mask(study, RIGHT, "talus").unlink()
    fourteen_frames(study, LEFT)
    rows = clean_cohort(load_cohort(study, strict=False), out)
    assert done == [RIGHT, RIGHT, LEFT]
    assert {row["subject"]: row["status"] for row in rows} == {RIGHT: "partly", LEFT: "usable"}
    assert not (out / RIGHT / "anat" / f"{RIGHT}_label-talus_mask.nii.gz").exists(), "nothing stale looks new"
    clean_cohort(load_cohort(study, strict=False), out, CleaningRules(frames=None))
    assert done == [RIGHT, RIGHT, LEFT, RIGHT, LEFT], "other rules, other results"


def test_a_case_that_is_excluded_now_leaves_nothing_of_an_earlier_run(study: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    rules = CleaningRules()
    clean_into(load_cohort(study, strict=False).cases[0], out, rules)
    truncated_scan(study, RIGHT)
    case = load_cohort(study, strict=False).cases[0]
    (row,) = clean_into(case, out, rules)
    assert (row["status"], row["verdict"]) == ("excluded", "unreadable")
    assert [file.name for file in out.rglob("*") if file.is_file()] == [".clean.json"]
    cleaned = read_cleaned(case, out)
    assert cleaned is not None and cleaned.status == "excluded" and cleaned.reasons[0].endswith("copy the file again")


def test_a_run_killed_midway_goes_on_and_ends_as_one_that_was_not(
    whole_study: Path, cleaned_study: Path, tmp_path: Path, monkeypatch
) -> None:
    out = tmp_path / "out"
    writes = []

    def killed(path, *given, **named):
        writes.append(path)
        if len(writes) == 9:  # in the second case
            raise KeyboardInterrupt
        return write_volume(path, *given, **named)

    write_volume = cohort.write_volume
    monkeypatch.setattr(cohort, "write_volume", killed)
    with pytest.raises(KeyboardInterrupt):
        clean_cohort(load_cohort(whole_study, strict=False), out)
    assert not (out / LEFT / ".clean.json").exists() and not (out / "cleaning.tsv").exists()
    clean_cohort(load_cohort(whole_study, strict=False), out)
    assert [path.name for path in writes].count(static(out, RIGHT).name) == 1, "the first case was whole"
    assert tree(out) == tree(cleaned_study)


def test_a_table_is_cleaned_too_and_names_become_those_of_bids(study: Path, tmp_path: Path) -> None:
    image, *masks, sequence_file, _ = (file.relative_to(study) for file in of_subject(study, RIGHT))
    columns = ["subject", "case", "image", *(f"mask_{bone}" for bone in BONES), "dynamic_walk", "side", "group"]
    cells = ["p1", "p1_late", image, *masks, sequence_file, "right", "control"]
    other = ["p2", "p2_late", "nowhere.nii.gz", *masks, "", "", "control"]
    lines = [",".join(map(str, line)) for line in (columns, cells, other)]
    (study / "table.csv").write_text("\n".join(lines) + "\n")
    rows = clean_cohort(load_cohort(study / "table.csv", strict=False), tmp_path / "out")
    assert [(row["subject"], row["status"]) for row in rows] == [("p1_late", "usable"), ("p2_late", "excluded")]
    assert rows[1]["problem"] == "does not exist"
    assert (tmp_path / "out/sub-p1_late/dyn/p1_late_walk_dynamic.nii.gz").is_file()
    participants = (tmp_path / "out/participants.tsv").read_text().splitlines()
    assert participants[1] == "sub-p1_late\tcontrol\tright\tsub-p1"


def test_a_damaged_result_is_told(cleaned_study: Path, whole_study: Path, tmp_path: Path) -> None:
    out = Path(shutil.copytree(cleaned_study, tmp_path / "out"))
    broken = static(out, RIGHT)
    broken.write_bytes(broken.read_bytes()[:-100])
    with pytest.raises(FileError, match="is truncated"):
        read_cleaned(load_cohort(whole_study, strict=False).cases[0], out)


def test_a_derivative_never_takes_the_place_of_scans(study: Path, tmp_path: Path) -> None:
    before = {file: file.read_bytes() for file in study.rglob("*") if file.is_file()}
    cohort = load_cohort(study, strict=False)
    with pytest.raises(ConfigError, match="is the cohort, whose files would be replaced; choose another out"):
        clean_cohort(cohort, study)
    other = tmp_path / "other"
    (other / "sub-01").mkdir(parents=True)
    (other / "dataset_description.json").write_text('{"Name": "of somebody else"}')
    with pytest.raises(ConfigError, match="is another dataset, whose files would be replaced"):
        clean_cohort(cohort, other)
    table = tmp_path / "study.csv"
    scan = next(study.glob("sub-*/anat/*_T1w.nii.gz"))
    table.write_text(f"subject,image\n{scan.parents[1].name},{scan}\n")
    (study / "dataset_description.json").unlink(missing_ok=True)
    with pytest.raises(ConfigError, match="is an input and would be replaced by a result"):
        clean_cohort(load_cohort(table, strict=False), study)
    assert all(file.read_bytes() == content for file, content in before.items() if file.exists()) and scan.exists()
