"""Laws of a whole motion study: inputs stay, work is done once, whoever did it and whenever it stopped."""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from broken_studies import (
    LEFT,
    RIGHT,
    copy_subject,
    empty_mask,
    no_scan,
    only_nan,
    truncated_scan,
    truncated_sequence,
    wrong_sidecar,
)
from motion_studies import FRAMES, SEQUENCES, SETTINGS, motion_settings, times, tree, write_motion_study

from ankleseg.cohorts import load_cohort
from ankleseg.config import compose
from ankleseg.errors import CohortError, ConfigError
from ankleseg.motion import SubjectResult, describe, files, prepare_motion_cohort, registered, sequence
from ankleseg.motion.soft_tissue import SoftTissue
from ankleseg.prepare import main
from ankleseg.rigid.residual import Residual
from ankleseg.volumes import read_volume

ACTIVE, PASSIVE = SEQUENCES[RIGHT]
BONES = ["talus"]  # one bone is enough for what is asked here
Prepare = Callable[..., list[SubjectResult]]
opened: list[str] | None = None  # files opened while it is a list


def watch(event: str, arguments: tuple) -> None:
    if opened is not None and event == "open":
        opened.append(os.fsdecode(arguments[0]) if isinstance(arguments[0], (str, bytes, os.PathLike)) else "")


sys.addaudithook(watch)


@pytest.fixture(scope="module")
def study(whole_study: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_motion_study(whole_study, tmp_path_factory.mktemp("motion") / "study")


@pytest.fixture(scope="module")
def remembered() -> Iterator[None]:
    """The same frames are registered only once in all tests."""
    register, poses = registered.register_sequence, {}

    def once(*given, **named):
        key = repr((named, given[-1])) + "".join(
            str(hash(part.tobytes())) for part in (*given[:2], *given[3].values(), *given[4:7])
        )
        if key not in poses:
            poses[key] = register(*given, **named)
        return poses[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(registered, "register_sequence", once)
        yield


@pytest.fixture(scope="module")
def whole(study: Path, remembered: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What one run, one subject after the other, made of the study; to be read only."""
    global opened
    out = tmp_path_factory.mktemp("whole") / "out"
    before = tree(study)
    opened = []
    try:
        results = prepare_motion_cohort(study, out, motion_settings(), bones=BONES)
        seen, opened = opened, None
    finally:
        opened = None
    assert [result.status for result in results] == ["usable", "usable"], describe(results)
    assert tree(study) == before, "inputs stay as they were"
    assert any(file.endswith(f"{RIGHT}_T1w.nii.gz") for file in seen), "the watch works"
    assert not [file for file in seen if "truth" in Path(file).parts], "the truth is for evaluation alone"
    return out


@pytest.fixture
def out(whole: Path, tmp_path: Path) -> Path:
    """A copy of that run."""
    return Path(shutil.copytree(whole, tmp_path / "out"))


@pytest.fixture
def prepare(study: Path, remembered: None) -> Prepare:
    """Prepare the study."""
    return lambda out, root=study, **named: prepare_motion_cohort(root, out, motion_settings(), bones=BONES, **named)


def of(files: dict, *sequences: str) -> dict:
    """Those of the files that belong to sequences, not counting what cleaning wrote and kept registrations."""
    return {
        name: value
        for name, value in files.items()
        if any(sequence in name for sequence in sequences)
        and not any(kept in name for kept in ("_dynamic.", "_registered."))
    }


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file, delimiter="\t"))


def poses_of(out: Path, name: str) -> list[dict]:
    return json.loads((out / name.partition("_")[0] / "dyn" / f"{name}_poses.json").read_text())


def words(study: Path, out: Path) -> list[str]:
    return ["recipe=ankle_dynamic", f"cohort.root={study}", f"out={out}", "bones=[talus]", *SETTINGS]


def test_a_second_run_repeats_nothing(out: Path, study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registered, "register_sequence", None)
    before, written = tree(out), times(out)
    results = prepare_motion_cohort(load_cohort(study, strict=False), out, motion_settings(), bones=BONES)
    assert tree(out) == before
    assert {name: at for name, at in times(out).items() if "/" in name} == {
        name: at for name, at in written.items() if "/" in name
    }
    assert [len(result.quality) for result in results] == [2 * FRAMES, FRAMES]


@pytest.mark.parametrize(
    "lost", [f"{PASSIVE}_poses.json", f"{PASSIVE}_label-talus_fraction.nii.gz", f".{PASSIVE}.json"]
)
def test_a_lost_file_costs_its_sequence_alone(out: Path, prepare: Prepare, lost: str) -> None:
    before, written = tree(out), times(out)
    (out / RIGHT / "dyn" / lost).unlink()
    prepare(out)
    assert tree(out) == before, "the same bytes again"
    now = times(out)
    assert of(now, ACTIVE, LEFT) == of(written, ACTIVE, LEFT)
    assert all(at > written[name] for name, at in of(now, PASSIVE).items())


def test_what_fails_beside_the_registration_fails_the_subject_and_leaves_no_record(out: Path, prepare: Prepare) -> None:
    blocked = out / RIGHT / "anat" / f"{RIGHT}_label-talus_weights.nii.gz"
    blocked.unlink()
    (blocked / "folder").mkdir(parents=True)
    (out / RIGHT / "dyn" / f"{ACTIVE}_poses.json").unlink()
    (result,) = prepare(out, subjects=[RIGHT])
    assert result.status == "failed" and result.problem.startswith(str(blocked)), result.problem
    assert "cannot be written" in result.problem
    assert not (out / RIGHT / "dyn" / f".{ACTIVE}.json").exists()


def test_other_settings_do_all_anew(out: Path, study: Path, prepare: Prepare) -> None:
    before = tree(out)
    prepare_motion_cohort(study, out, motion_settings("motion.criteria.explained=[0.999,0.998]"), bones=BONES)
    assert {row["status"] for row in rows_of(out / "status.tsv")} == {"failed"}
    assert not list(out.rglob("*_displacement.nii.gz")), "nothing of the first run is left"
    assert all(row["frame_from_static"] is None for row in poses_of(out, ACTIVE) if row["bone"] == "talus")
    assert not read_volume(out / RIGHT / "dyn" / f"{ACTIVE}_label-talus_mask.nii.gz", dimensions=4).data.any()
    prepare(out)
    assert tree(out) == before


def test_a_page_that_was_lost_is_written_again_with_its_sequences(out: Path, prepare: Prepare) -> None:
    before = tree(out)
    (out / RIGHT / "report.html").unlink()
    prepare(out)
    assert tree(out) == before


def test_registered_soft_tissue_is_told_and_carried_by_the_field_without_registering_a_bone_again(
    out: Path, study: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shift = Residual(np.full((2, 2, 2, 3), 2, np.float32), np.diag([1e3, 1e3, 1e3, 1]))
    monkeypatch.setattr(registered, "register_sequence", None)
    monkeypatch.setattr(files, "register_soft_tissue", lambda *_: SoftTissue(shift, 0.5, 0.75, 0.0))
    field = out / LEFT / "dyn" / f"{LEFT}_task-active_frame-00_displacement.nii.gz"
    before = read_volume(field, dimensions=None).data
    settings = motion_settings("motion.soft_tissue=registered")
    prepare_motion_cohort(study, out, settings, bones=BONES, subjects=[LEFT])
    rows = rows_of(out / LEFT / "dyn" / f"{LEFT}_task-active_soft-tissue.tsv")
    assert [tuple(row.values()) for row in rows] == [
        (str(frame), "yes", "0.5", "0.75", "0.0") for frame in range(FRAMES)
    ]
    page = (out / LEFT / "report.html").read_text()
    assert "registered to each frame beyond the polyrigid blend" in page
    assert f"blend on {FRAMES} of {FRAMES} frames, where the mean squared local correlation rose by 0.250" in page
    assert "<h3>Soft tissue</h3>" not in (out / RIGHT / "report.html").read_text()
    moved = np.abs(read_volume(field, dimensions=None).data - before)
    assert moved.max() == pytest.approx(2, abs=1.0) and moved.min() < 0.1


def test_a_person_has_the_last_word(out: Path, prepare: Prepare, monkeypatch: pytest.MonkeyPatch, caplog) -> None:
    monkeypatch.setattr(registered, "register_sequence", None)  # a word does not move a bone
    before, written = tree(out), times(out)
    own = {int(row["frame"]): row["status"] for row in rows_of(out / "status.tsv") if row["sequence"] == PASSIVE}
    empty = (out / "overrule.tsv").read_bytes()
    with (out / "overrule.tsv").open("a") as table:
        table.write(f"{RIGHT}\t{PASSIVE}\t1\ttalus\tfailed\tmoved\n{RIGHT}\t{PASSIVE}\t70\ttalus\tok\t\n")
    prepare(out)
    row = next(row for row in rows_of(out / "status.tsv") if (row["sequence"], row["frame"]) == (PASSIVE, "1"))
    assert (row["status"], row["reason"]) == ("failed", f"overruled from {own[1]}: moved")
    assert [line for line in caplog.messages if "overrule" in line] == [
        f"{out / 'overrule.tsv'}: {PASSIVE} has no talus on frame 70; the row is ignored"
    ]
    pose = next(row for row in poses_of(out, PASSIVE) if (row["frame"], row["bone"]) == (1, "talus"))
    assert (pose["status"], pose["correlation"], pose["frame_from_static"]) == ("failed", None, None)
    mask = read_volume(out / RIGHT / "dyn" / f"{PASSIVE}_label-talus_mask.nii.gz", dimensions=4).data
    assert mask[..., 0].any() and not mask[..., 1].any()
    stem = f"{PASSIVE}_frame-01_bone-talus_from-static_to-frame"
    assert not list((out / RIGHT / "dyn" / "transforms").glob(f"{stem}.*"))
    assert of(times(out), ACTIVE, LEFT) == of(written, ACTIVE, LEFT), "nothing else is done again"
    assert "moved" in (out / RIGHT / "report.html").read_text()

    (out / "overrule.tsv").write_bytes(empty)
    prepare(out)
    assert tree(out) == before, "a word taken back leaves no trace"


def test_a_table_of_overrules_that_makes_no_sense_stops_the_run_before_it_begins(tmp_path: Path, prepare) -> None:
    (tmp_path / "overrule.tsv").write_text(f"sequence\tframe\tbone\tstatus\n{ACTIVE}\t1\ttalus\tperhaps\n")
    with pytest.raises(CohortError, match="overrule.tsv: has a status 'perhaps'; write ok, suspect, failed$"):
        prepare(tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["overrule.tsv"]


def test_broken_subjects_do_not_stop_the_others(
    study: Path, whole: Path, prepare: Prepare, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = Path(shutil.copytree(study, tmp_path / "study"))
    breaks = (truncated_scan, truncated_sequence, only_nan, no_scan, wrong_sidecar, talus_is_empty)
    names = {f"sub-{number:02d}": change for number, change in enumerate(breaks)}
    for name, change in names.items():
        copy_subject(root, RIGHT, name)
        change(root, name)
    copy_subject(root, RIGHT, "sub-99")
    move = sequence.move_sequence

    def failing(cleaned, *given):
        if cleaned.name == "sub-99":
            raise RuntimeError("a bug")
        return move(cleaned, *given)

    monkeypatch.setattr(sequence, "move_sequence", failing)
    results = {result.name: result for result in prepare(tmp_path / "out", root)}
    assert set(results) == {RIGHT, LEFT, "sub-99", *names}
    told = describe(list(results.values()))
    for name, change in names.items():
        line = next(line for line in told.splitlines() if line.startswith(name))
        assert results[name].status != "usable" or results[name].cleaning[0]["problem"], (change.__name__, line)
        assert (tmp_path / "out" / name / "report.html").is_file(), "a page tells why"
    for name in ("sub-00", "sub-03", "sub-05"):
        assert results[name].status == "excluded" and not results[name].quality
    assert (results["sub-99"].status, results["sub-99"].problem) == ("failed", "unexpected RuntimeError: a bug")
    for name in (ACTIVE, PASSIVE, *SEQUENCES[LEFT]):
        assert poses_of(tmp_path / "out", name) == poses_of(whole, name)
    assert "a bug" in (tmp_path / "out" / "manifest.json").read_text()
    assert "sub-99" in (tmp_path / "out" / "report.html").read_text()


def talus_is_empty(root: Path, name: str) -> None:
    for file in (root / "derivatives" / "manual" / name / "anat").glob("*talus*"):
        file.rename(file.with_name(file.name.replace("talus", "tibia")))
    empty_mask(root, name)


def test_what_cannot_be_done_is_told(study: Path, tmp_path: Path, prepare: Prepare, monkeypatch) -> None:
    with pytest.raises(ConfigError, match="^invalid number of workers 0: expected at least 1$"):
        prepare(tmp_path, workers=0)
    with pytest.raises(CohortError, match="sub-none"):
        prepare(tmp_path, subjects=["sub-none"])
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(ConfigError, match="^dask is not installed; pip install 'ankleseg\\[cluster\\]'$"):
        prepare(tmp_path, dask="tcp://127.0.0.1:1")


def test_a_cohort_without_any_sequence_is_told(study: Path, tmp_path: Path, capsys) -> None:
    root = Path(shutil.copytree(study, tmp_path / "study"))
    for name in (RIGHT, LEFT):
        shutil.rmtree(root / name / "dyn")
    config = compose("prepare", ["recipe=ankle_dynamic", f"cohort.root={root}", f"out={tmp_path / 'out'}", *SETTINGS])
    with pytest.raises(CohortError, match="no sequence can be used; see .*cleaning.tsv$"):
        main(config)
    assert (tmp_path / "out" / "report.html").is_file()
    assert "0 bones on frames" in capsys.readouterr().out


@pytest.mark.slow
def test_a_run_that_is_killed_goes_on_with_two_workers_and_ends_as_one_that_was_not(
    study: Path, whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    first = out / RIGHT / "dyn" / f".{ACTIVE}.json"
    command = [sys.executable, "-m", "ankleseg.prepare", *words(study, out)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as running:
        try:
            while running.poll() is None and not first.is_file():
                time.sleep(0.02)
        finally:
            running.send_signal(signal.SIGKILL)
    assert running.returncode == -signal.SIGKILL, "it was still at work"
    assert first.is_file() and not (out / RIGHT / "dyn" / f".{PASSIVE}.json").is_file()
    written = times(out)
    main(compose("prepare", [*words(study, out), "workers=2"]))
    told = capsys.readouterr().out
    assert f"report: {out}/report.html" in told and f"{3 * FRAMES} bones on frames" in told
    assert told.index(RIGHT) < told.index(LEFT)
    assert tree(out) == tree(whole)
    assert of(times(out), ACTIVE) == of(written, ACTIVE), "the first sequence was whole"


@pytest.fixture
def dask_address(tmp_path: Path) -> Iterator[str]:
    distributed = pytest.importorskip("distributed", reason="dask is not installed")
    settings = {"n_workers": 2, "threads_per_worker": 1, "dashboard_address": None, "host": "127.0.0.1"}
    with distributed.LocalCluster(**settings, processes=True, local_directory=str(tmp_path / "dask")) as cluster:
        yield cluster.scheduler_address


@pytest.mark.slow
def test_a_dask_cluster_writes_the_same_bytes(study: Path, whole: Path, tmp_path: Path, dask_address: str) -> None:
    results = prepare_motion_cohort(study, tmp_path / "out", motion_settings(), bones=BONES, dask=dask_address)
    assert [result.name for result in results] == [RIGHT, LEFT]
    assert np.array_equal([len(result.quality) for result in results], [2 * FRAMES, FRAMES])
    assert tree(tmp_path / "out") == tree(whole)


def test_a_bone_that_the_cohort_does_not_have_is_refused(study: Path, tmp_path: Path) -> None:
    with pytest.raises(CohortError, match="has no bone '3'; known are: "):
        prepare_motion_cohort(study, tmp_path / "out", motion_settings(), bones=["3"])
    assert not (tmp_path / "out").exists()
