"""Laws of ``python -m ankleseg.prepare``: what it writes and tells, and that it can be trained on as it is."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from preparations import preparation
from small_foot import AFFINE, foot, write_foot

from ankleseg import keys
from ankleseg.cohorts import Case, Cohort, Reference, Split, load_cohort
from ankleseg.cohorts.prepared import preparation_of
from ankleseg.config import compose, to_plain
from ankleseg.data import PatchSampler, SegmentationData, prepared
from ankleseg.data.prepared_cohort import describe, prepare_cohort
from ankleseg.errors import CohortError, ConfigError
from ankleseg.labels import Labels
from ankleseg.prepare import main
from ankleseg.transforms import Preparation
from ankleseg.volumes import read_volume, write_volume

BONES = Labels(structures=("heel", "shin"))
WHOLE = preparation(side="right")


@pytest.fixture
def mixed(tmp_path: Path) -> Cohort:
    """A good case, one with a mask of another header, one truncated."""
    moved = AFFINE.copy()
    moved[:3, 3] += 30
    raw = tmp_path / "raw"
    cases = (write_foot(raw, "good", side="left"), write_foot(raw, "moved", affines={"heel": moved}))
    broken = write_foot(raw, "broken")
    broken.images[0].write_bytes(broken.images[0].read_bytes()[:2000])
    return Cohort(root=raw, cases=(*cases, broken), structures=BONES.structures)


def read_table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_every_case_has_its_verdict_and_the_others_go_on(mixed: Cohort, tmp_path: Path) -> None:
    rows = prepare_cohort(mixed, WHOLE, BONES, tmp_path / "out")
    assert rows == read_table(tmp_path / "out" / "preflight.csv")
    told = {row["case"]: row for row in rows}
    assert {name: (row["verdict"], row["status"]) for name, row in told.items()} == {
        "good": ("ok", "prepared"),
        "moved": ("fixable by header copy", "failed"),
        "broken": ("unreadable", "failed"),
    }
    assert "copy_headers=true" in told["moved"]["mend"] and told["broken"]["file"].endswith("broken_image.nii.gz")
    assert len(rows) == 3, "a problem is told once"
    assert "moved   failed    fixable by header copy  moved_heel.nii.gz: " in describe(rows)
    blind = preparation(foreground={"threshold": 30000})
    row = prepare_cohort(mixed, blind, BONES, tmp_path / "out")[0]
    assert (row["case"], row["verdict"], row["status"]) == ("good", "cannot be prepared", "failed")
    assert row["problem"] == "its foreground covers 0 % of the image" and row["file"].endswith("good_image.nii.gz")
    row = prepare_cohort(mixed, WHOLE, Labels(structures=("heel", "shin", "talus")), tmp_path / "out")[0]
    assert (row["status"], row["problem"]) == ("failed", "case good has no mask of talus")


def test_what_is_written_reads_back_as_prepared_and_nothing_of_a_case_that_fails_now(mixed, tmp_path: Path) -> None:
    out = tmp_path / "out"
    prepare_cohort(mixed, WHOLE, BONES, out, copy_headers=True)
    manifest = json.loads((out / "manifest.json").read_text())
    assert set(manifest["cases"]) == {"good", "moved"} and manifest["structures"] == {"heel": 1, "shin": 2}
    assert manifest["preparation"] == preparation_of(out) == json.loads(json.dumps(WHOLE.nodes))
    good, expected = manifest["cases"]["good"], prepared(mixed.cases[0], WHOLE, BONES)
    assert good["mirrored"] and good["side"] == "left"
    files = {keys.IMAGE: good["images"]["image"], keys.FOREGROUND: good["foreground"], keys.LABEL: good["labels"]}
    for key, file in files.items():
        volume = read_volume(out / file)
        assert np.array_equal(volume.data, expected[key][0]), key
        assert np.allclose(volume.affine, expected[key].affine, atol=1e-5)
    assert np.array_equal(volume.data, (foot()["heel"] * 1 + foot()["shin"] * 2)[:, :, ::-1])

    assert list((out / "moved").glob("*.nii.gz"))
    prepare_cohort(mixed, WHOLE, BONES, out)
    assert not list((out / "moved").glob("*"))
    assert "moved" not in json.loads((out / "manifest.json").read_text())["cases"]


def test_only_results_are_removed_whatever_the_name_of_a_case(tmp_path: Path) -> None:
    case = write_foot(tmp_path, "P[1] *?")
    cohort, folder = Cohort(tmp_path, (case,), BONES.structures), tmp_path / case.name
    folder.mkdir()
    beside = folder / f"{case.name}_T2w.nii.gz"
    beside.write_bytes(case.images[0].read_bytes())
    for _ in range(2):  # out is where the scans are
        prepare_cohort(cohort, WHOLE, BONES, tmp_path)
        assert len(list(folder.iterdir())) == 4 and beside.is_file() and case.images[0].is_file()
    taken = replace(case, channels={"image": folder / f"{case.name}_prepared.nii.gz"})
    with pytest.raises(ConfigError, match="is an input and would be replaced by a result; choose another out"):
        prepare_cohort(replace(cohort, cases=(taken,)), WHOLE, BONES, tmp_path)
    case.images[0].write_bytes(b"broken")
    prepare_cohort(cohort, WHOLE, BONES, tmp_path)
    assert list(folder.iterdir()) == [beside]


def test_a_bug_that_one_case_meets_does_not_stop_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from ankleseg.data import prepared_cohort

    def buggy(case: Case, *others: Any, **more: Any) -> Any:
        if case.name == "first":
            raise ZeroDivisionError("a bug")
        return prepared(case, *others, **more)

    monkeypatch.setattr(prepared_cohort, "prepared", buggy)
    cases = (write_foot(tmp_path, "first"), write_foot(tmp_path, "second"))
    rows = prepare_cohort(Cohort(tmp_path, cases, BONES.structures), WHOLE, BONES, tmp_path / "out")
    assert [row["status"] for row in rows] == ["failed", "prepared"]
    assert rows[0]["problem"].startswith("unexpected ZeroDivisionError: a bug; hydra.verbose=ankleseg shows where")


# trained on as it is


def patches_of(cohort: Cohort, whole: Preparation, labels: Labels) -> tuple[list[dict], list[dict]]:
    data = SegmentationData(
        cohort=cohort, split=Split(train=cohort.subjects), preparation=whole, labels=labels, batch_size=4,
        steps_per_epoch=2, sampler=PatchSampler(size=(12, 10), min_foreground=0.3, balance=0.5),
    )  # fmt: skip
    data.setup("fit")
    return data.samples("training", cohort.subjects), list(data.train_dataloader())


def test_training_on_what_was_prepared_is_training_on_the_raw_scans(tmp_path: Path) -> None:
    """Samples and patches, of one channel and of two, of structures and of regions, with what is not known."""
    feet = tuple(write_foot(tmp_path, name, side=side) for name, side in (("a", "left"), ("b", "right")))
    second = [
        write_volume(tmp_path / f"{case.name}_t2.nii.gz", 900 - read_volume(case.images[0]).data, AFFINE)
        for case in feet
    ]
    shared = write_volume(tmp_path / "map.nii.gz", (foot()["heel"] + 2 * foot()["shin"]).astype(np.uint8), AFFINE)
    nested = {"bones": Reference(shared, (1, 2)), "shin": Reference(shared, 2)}
    both = tuple(
        replace(case, channels={"t1": case.images[0], "t2": path}, references=nested)
        for case, path in zip(feet, second, strict=True)
    )
    lost = (feet[0], replace(feet[1], unknown=("heel",), group="control"))
    regions = Labels(structures=("bones", "shin"), regions=True)
    for number, (cases, labels) in enumerate(((feet, BONES), (lost, BONES), (both, regions))):
        raw = Cohort(tmp_path, cases, labels.structures)
        whole = preparation(side="right", spacing=(0.9, 0.9, None))
        out = tmp_path / f"out{number}"
        prepare_cohort(raw, whole, labels, out)
        found = load_cohort(out, structures=labels.structures)
        assert (found.structures, found.regions, found.channels) == (labels.structures, labels.regions, raw.channels)
        assert [(c.name, c.subject, c.group, c.side, c.unknown) for c in found.cases] == [
            (c.name, c.subject, c.group, c.side, c.unknown) for c in cases
        ]
        as_is = Preparation(to_plain(compose("train", ["prepare=as_is"]).prepare.transforms))
        for one, other in zip(patches_of(raw, whole, labels), patches_of(found, as_is, labels), strict=True):
            for expected, given in zip(one, other, strict=True):
                for key in expected.keys() - {keys.SCALE, keys.SEQUENCE, keys.SIDE, keys.CASE}:
                    assert torch.allclose(given[key].double(), expected[key].double(), atol=1e-5), (number, key)


# the command


def test_the_command_prepares_a_table_and_a_missing_file_costs_only_its_case(tiny_table, tmp_path, capsys) -> None:
    broken = tmp_path / "table.csv"
    lines = [line.split(",") for line in tiny_table.read_text().split()[1:]]
    moved = [[name, *(str(tiny_table.parent / file) for file in files)] for name, *files in lines]
    rows = [*moved[:2], ["gone", "gone.nii.gz", moved[0][2]], ["unnamed", "", moved[0][2]]]
    broken.write_text("\n".join(["subject,image,mask_ball", *(",".join(row) for row in rows)]) + "\n")
    main(compose("prepare", [f"cohort.root={broken}", f"out={tmp_path / 'out'}"]))
    assert "2 of 4 cases prepared" in capsys.readouterr().out
    told = {row["case"]: (row["status"], row["problem"]) for row in read_table(tmp_path / "out" / "preflight.csv")}
    assert told["gone"] == ("failed", "does not exist")
    assert told["unnamed"] == ("failed", "gives no image for case unnamed")
    assert told["s0"] == told["s1"] == ("prepared", "")
    assert (tmp_path / "out" / "s0" / "s0_prepared.nii.gz").is_file()


def test_the_command_fails_where_nothing_can_be_used_and_asks_for_a_cohort(tiny_table, tmp_path, capsys) -> None:
    with pytest.raises(CohortError, match="table.csv: no case can be used; see the table above"):
        main(compose("prepare", [f"cohort.root={tiny_table}", f"out={tmp_path / 'out'}", "structures=[cube]"]))
    assert "case s0 has no mask of cube; add it, or choose among ball" in capsys.readouterr().out
    with pytest.raises(ConfigError) as refused:
        main(compose("prepare", [f"out={tmp_path / 'out'}"]))
    assert str(refused.value) == "there is no cohort to prepare; add cohort.root=FOLDER or cohort.root=TABLE.csv"
