"""Bones that nobody drew are segmented by a network: a person's masks go first, and a doubt stays with the bone."""

from __future__ import annotations

import csv
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from broken_studies import BONES, LEFT, RIGHT, mask
from motion_studies import FRAMES, SETTINGS, motion_settings, times, write_motion_study
from small_models import model_of
from torch import nn

from ankleseg.cohorts import Case, Cohort, load_cohort
from ankleseg.config import compose
from ankleseg.inference import missing_masks, shipped
from ankleseg.inference.missing_masks import with_predicted_masks
from ankleseg.motion.cleaning import clean_case
from ankleseg.prepare import main

NET = "my_net"
DOUBT = {"calcaneus": {"status": "suspect", "reason": "in two pieces"}}


class Truth:
    """What predicts the masks of the whole study, and doubts the calcaneus."""

    def __init__(self, whole: Path, path: Path) -> None:
        self.whole, self.path, self.asked = whole, path, []
        self.model = model_of(nn.Identity(), structures=BONES, path=str(path))
        path.write_bytes(b"weights")

    def predict(self, cases: Sequence[Case], models: Any, out: Path, **_: Any) -> list[dict[str, Any]]:
        rows = []
        for case in cases:
            assert not case.references and not case.sequences
            self.asked.append(case.name)
            (out / case.name).mkdir(parents=True, exist_ok=True)
            masks = {bone: f"{case.name}/{bone}.nii.gz" for bone in BONES}
            for bone, file in masks.items():
                shutil.copy(mask(self.whole, case.name, bone), out / file)
            row = {"case": case.name, "status": "ok", "message": "", "image": str(case.images[0])}
            rows.append(row | {"masks": masks, "confidence": DOUBT})
        missing_masks._write(out / missing_masks.MANIFEST, {"cases": rows})
        return rows


@pytest.fixture
def net(whole_study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Truth:
    net = Truth(whole_study, tmp_path / NET)
    monkeypatch.setattr(missing_masks, "predict_cases", net.predict)
    monkeypatch.setattr("ankleseg.inference.load_model", lambda *_, **__: net.model, raising=False)
    return net


@pytest.fixture
def study(whole_study: Path, tmp_path: Path) -> Path:
    """A right foot whose talus was drawn, a left one without masks."""
    root = write_motion_study(whole_study, tmp_path / "study")
    for bone in BONES:
        mask(root, LEFT, bone).unlink()
        if bone != "talus":
            mask(root, RIGHT, bone).unlink()
    return root


def cohort_of(root: Path) -> Cohort:
    return load_cohort(root, strict=False)


def test_masks_of_a_person_go_first_and_each_says_where_it_comes_from(study: Path, net: Truth, tmp_path: Path):
    cohort, count = with_predicted_masks(cohort_of(study), net.model, tmp_path / "out", BONES, NET)
    right, left = sorted(cohort.cases, key=lambda case: case.name)
    assert count == 2 and (right.name, left.name) == (RIGHT, LEFT) and set(cohort.structures) == set(BONES)
    assert {bone: reference.network for bone, reference in right.references.items()} == {
        "talus": None, "calcaneus": NET, "tibia": NET,
    }  # fmt: skip
    assert right.references["talus"].path == mask(study, RIGHT, "talus")
    found = clean_case(right, motion_settings().cleaning)
    assert set(found.masks) == set(BONES) and found.doubts == {"calcaneus": "in two pieces"}
    assert found.origin == "network my_net (calcaneus, tibia); drawn (talus)"
    assert any("calcaneus.nii.gz: suspect: is a suspect mask: in two pieces" in line for line in found.reasons)
    assert clean_case(left, motion_settings().cleaning).origin == "network my_net"


def test_what_was_predicted_of_the_same_scan_by_the_same_network_is_not_predicted_again(
    study: Path, net: Truth, tmp_path: Path
):
    first, _ = with_predicted_masks(cohort_of(study), net.model, tmp_path / "out", BONES, NET)
    before = times(tmp_path / "out")
    again, _ = with_predicted_masks(cohort_of(study), net.model, tmp_path / "out", BONES, NET)
    assert again == first and times(tmp_path / "out") == before and net.asked == [RIGHT, LEFT]
    with_predicted_masks(cohort_of(study).select([LEFT]), net.model, tmp_path / "out", BONES, NET)
    (tmp_path / "out" / RIGHT / "tibia.nii.gz").unlink()
    with_predicted_masks(cohort_of(study), net.model, tmp_path / "out", BONES, NET)
    assert net.asked == [RIGHT, LEFT, RIGHT]
    net.path.write_bytes(b"others")
    with_predicted_masks(cohort_of(study), net.model, tmp_path / "out", BONES, NET)
    assert net.asked[3:] == [RIGHT, LEFT]


def test_a_bone_that_the_network_failed_on_is_left_out_and_told(
    study: Path, net: Truth, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setitem(DOUBT, "tibia", {"status": "failed", "reason": "not found"})
    cohort, _ = with_predicted_masks(cohort_of(study).select([LEFT]), net.model, tmp_path / "out", BONES, NET)
    found = clean_case(cohort.cases[0], motion_settings().cleaning)
    assert set(found.masks) == {"calcaneus", "talus"} and found.status == "partly"
    assert any("has no mask of the tibia: network my_net failed (not found)" in line for line in found.reasons)


def test_a_suspect_mask_makes_every_registration_of_its_bone_suspect_at_best(
    study: Path, net: Truth, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    out = tmp_path / "out"
    words = ["recipe=ankle_dynamic", f"cohort.root={study}", f"out={out}", f"segmentation.checkpoint={net.path}"]
    main(compose("prepare", [*words, f"subject={LEFT}", "bones=[calcaneus]", *SETTINGS]))
    with (out / "status.tsv").open(newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    assert len(rows) == FRAMES and {row["status"] for row in rows} <= {"suspect", "failed"}
    assert all("its mask is suspect: in two pieces" in row["reason"] for row in rows)
    assert "network my_net" in (out / LEFT / "report.html").read_text()
    with (out / "cleaning.tsv").open(newline="") as file:
        assert {row["masks"] for row in csv.DictReader(file, delimiter="\t")} == {"network my_net"}
    said = capsys.readouterr().out
    assert "scans without masks are segmented by my_net: look at them; not for diagnosis" in said


def test_without_a_network_in_the_package_nothing_is_segmented(
    study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr(shipped, "FOLDER", tmp_path)
    words = ["recipe=ankle_dynamic", f"cohort.root={study}", f"out={tmp_path / 'out'}", f"subject={LEFT}", *SETTINGS]
    with pytest.raises(Exception, match="no sequence can be used"):
        main(compose("prepare", words))
    assert "has no mask of the talus; draw it, or leave the bone out by bones=" in capsys.readouterr().out
