"""Frames of registered sequences as cases: what failed to be registered is neither taught nor scored."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from registered_sequences import BONES, FRAMES, sequence_name, write_registered
from small_models import model_of, prepared_by, tiles_of

from ankleseg import keys
from ankleseg.cohorts import Case, Cohort, Explicit, HoldOutGroup, is_dynamic, load_dynamic
from ankleseg.cohorts.registrations import read_registrations
from ankleseg.data import PatchDataset, PatchSampler, PatchTransforms, SegmentationData, prepared
from ankleseg.data.dataset import by_scan
from ankleseg.data.pairs import spread
from ankleseg.data.prepared_cohort import prepare_cohort
from ankleseg.errors import CohortError, FileError
from ankleseg.evaluate import evaluate
from ankleseg.inference import Model, VolumeInferer, predict_case, predict_cases
from ankleseg.labels import Labels
from ankleseg.losses import DiceCrossEntropy
from ankleseg.networks import UNet
from ankleseg.tasks import Segmentation
from ankleseg.transforms import Preparation, RandAnatomicalFlipd
from ankleseg.volumes import read_mask, read_volume, write_volume
from ankleseg.volumes.files import read_frame

PREPARATION = prepared_by("prepare.bring_to_side=null")
LABELS = Labels(structures=BONES)
FAILED = {
    ("sub-C01", 1, "talus"): "failed",
    ("sub-C02", 2, "tibia"): "suspect",
    **{("sub-E01", 0, bone): "failed" for bone in BONES},
}


@pytest.fixture(scope="module")
def registered(phantom_cohort: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two controls and a child with equinus; some registrations failed. To be read only."""
    out = tmp_path_factory.mktemp("registered") / "out"
    return write_registered(phantom_cohort, out, FAILED, subjects=("sub-C01", "sub-C02", "sub-E01"))


@pytest.fixture(scope="module")
def cohort(registered: Path) -> Cohort:
    return load_dynamic(registered)


def case_of(cohort: Cohort, subject: str, frame: int) -> Case:
    return next(case for case in cohort.cases if (case.subject, case.frame) == (subject, frame))


def test_every_frame_with_a_known_bone_is_a_case(cohort: Cohort):
    assert [(case.subject, case.frame) for case in cohort.cases] == [
        *(("sub-C01", frame) for frame in range(FRAMES)),
        *(("sub-C02", frame) for frame in range(FRAMES)),
        *(("sub-E01", frame) for frame in range(1, FRAMES)),  # on frame 0 nothing is known
    ]
    assert cohort.structures == BONES and cohort.groups == ("control", "equinus")
    assert case_of(cohort, "sub-C01", 1).name == f"{sequence_name('sub-C01')}_frame-01"


def test_failed_bones_are_unknown_and_suspect_ones_as_asked(registered: Path, cohort: Cohort):
    assert case_of(cohort, "sub-C01", 1).unknown == ("talus",)
    assert case_of(cohort, "sub-C02", 2).unknown == ()
    careful = load_dynamic(registered, with_suspect=False)
    assert case_of(careful, "sub-C02", 2).unknown == ("tibia",)


def test_a_bone_without_a_mask_or_an_entry_is_unknown(phantom_cohort: Path, tmp_path: Path):
    root = write_registered(phantom_cohort, tmp_path / "out", subjects=("sub-C01",))
    stem = root / "sub-C01" / "dyn" / sequence_name("sub-C01")
    Path(f"{stem}_label-tibia_mask.nii.gz").unlink()
    rows = [r for r in json.loads(Path(f"{stem}_poses.json").read_text()) if (r["frame"], r["bone"]) != (2, "talus")]
    Path(f"{stem}_poses.json").write_text(json.dumps(rows))
    assert [case.unknown for case in load_dynamic(root).cases] == [("tibia",), ("tibia",), ("talus", "tibia")]


def test_static_scans_join_in(registered: Path, cohort: Cohort):
    every = load_dynamic(registered, with_static=True, structures=["talus"])
    static = [case for case in every.cases if case.frame is None]
    assert [case.name for case in static] == ["sub-C01", "sub-C02", "sub-E01"]
    assert every.structures == ("talus",)
    # sub-C01's frame 1 knows nothing of the talus, so that it has nothing to teach
    assert len(every.cases) == len(cohort.cases) - 1 + 3


def test_no_frame_of_a_test_subject_is_taught(cohort: Cohort):
    split = HoldOutGroup("control", "equinus")(cohort)
    taught = {case.images for case in cohort.select(split.train).cases}
    assert split.test == ("sub-E01",) and not taught & {case.images for case in cohort.select(split.test).cases}


def test_what_is_no_folder_of_sequences_says_so(phantom_cohort: Path, registered: Path):
    assert is_dynamic(registered) and not is_dynamic(phantom_cohort)
    with pytest.raises(CohortError, match="holds no registered sequences; run ankleseg.prepare recipe=ankle_dynamic"):
        load_dynamic(phantom_cohort)
    with pytest.raises(CohortError, match="has no registrations of cuboid; choose among calcaneus, talus, tibia"):
        load_dynamic(registered, structures=["cuboid"])


@pytest.mark.parametrize(
    "rows, problem",
    [
        ("[{", "cannot be understood"),
        ([{"frame": 0, "bone": "talus"}], "lacks 'status'"),
        ([{"frame": 0, "bone": "talus", "status": "good"}], "talus on frame 0 has the status 'good'"),
        ([{"frame": 0, "bone": "talus", "status": "ok", "frame_from_static": None}], "talus on frame 0 has no pose"),
        (
            [{"frame": 0, "bone": "talus", "status": "ok", "frame_from_static": np.diag([1, 1, 2, 1]).tolist()}],
            "talus on frame 0 has a pose that is not rigid",
        ),
        ([{"frame": 0, "bone": "talus", "status": "failed"}] * 2, "talus on frame 0 comes twice"),
    ],
)
def test_broken_poses_are_told_in_one_line(tmp_path: Path, rows: object, problem: str):
    file = tmp_path / "a_poses.json"
    file.write_text(rows if isinstance(rows, str) else json.dumps(rows))
    with pytest.raises(FileError, match=problem) as told:
        read_registrations(file)
    assert str(told.value).startswith(str(file)) and "\n" not in str(told.value)


def test_a_frame_is_the_volume_of_its_number(registered: Path):
    file = registered / "sub-C01" / "dyn" / f"{sequence_name('sub-C01')}_dynamic.nii.gz"
    whole = read_volume(file, dimensions=4)
    for frame in (2, 0):
        one = read_frame(file, frame)
        assert np.array_equal(one.data, whole.data[..., frame]) and np.array_equal(one.affine, whole.affine)
        assert one.header is not None and one.header.shape == one.data.shape
    with pytest.raises(FileError, match="has no frame 3, but 3 counted from 0"):
        read_frame(file, 3)


def test_a_sequence_written_anew_is_read_anew(tmp_path: Path):
    import os

    file = write_volume(tmp_path / "a.nii.gz", np.zeros((4, 4, 4, 2), np.uint8), np.eye(4))
    assert not read_mask(file, frame=1).data.any()
    write_volume(file, np.ones((4, 4, 4, 2), np.uint8), np.eye(4))
    os.utime(file, ns=(1, 1))
    assert read_mask(file, frame=1).data.all()


def test_nan_spoils_its_own_frame_only(tmp_path: Path):
    data = np.zeros((4, 4, 4, 2), np.float32)
    data[0, 0, 0, 1] = np.nan
    file = write_volume(tmp_path / "a.nii.gz", data, np.eye(4))
    assert read_frame(file, 0).data.sum() == 0
    with pytest.raises(FileError, match="holds NaN or infinite voxels in frame 1"):
        read_frame(file, 1)


def test_an_unknown_bone_is_not_in_the_label_and_the_others_keep_their_values(cohort: Cohort):
    sample = prepared(case_of(cohort, "sub-C01", 1), PREPARATION, LABELS)
    assert sample[keys.KNOWN].tolist() == [True, False, True]
    assert set(np.unique(sample[keys.LABEL])) == {0, 1, 3}
    whole = prepared(case_of(cohort, "sub-C01", 0), PREPARATION, LABELS)
    assert keys.KNOWN not in whole and set(np.unique(whole[keys.LABEL])) == {0, 1, 2, 3}


def test_registered_bones_in_one_place_are_both_unknown(cohort: Cohort):
    case = case_of(cohort, "sub-C01", 0)
    wrong = replace(case, references={**case.references, "talus": case.references["tibia"]})
    assert prepared(wrong, PREPARATION, LABELS)[keys.KNOWN].tolist() == [True, False, False]


def data_of(cohort: Cohort, cases: Sequence[Case], **others: Any) -> SegmentationData:
    part = Cohort(cohort.root, tuple(cases), BONES)
    settings = {
        "preparation": PREPARATION,
        "labels": LABELS,
        "sampler": PatchSampler(size=(16, 16), min_foreground=0.2),
    }
    return SegmentationData(cohort=part, split=Explicit(train=part.subjects)(part), **settings | others)


def test_a_cached_case_knows_what_the_prepared_one_knows(cohort: Cohort, tmp_path: Path):
    cases = [case_of(cohort, "sub-C01", frame) for frame in (0, 1)]
    plain = data_of(cohort, cases).samples("training", ["sub-C01"])
    for _ in range(2):
        kept = data_of(cohort, cases, cache=tmp_path).samples("training", ["sub-C01"])
        for one, other in zip(plain, kept, strict=True):
            assert one[keys.SEQUENCE] == other[keys.SEQUENCE] and one[keys.KNOWN].equal(other[keys.KNOWN])
            assert one[keys.IMAGE].equal(other[keys.IMAGE]) and one[keys.LABEL].equal(other[keys.LABEL])
    believed = [replace(cases[0], unknown=("tibia",))]
    (sample,) = data_of(cohort, believed, cache=tmp_path).samples("training", ["sub-C01"])
    assert sample[keys.KNOWN].tolist() == [True, True, False]


def test_frames_that_were_prepared_are_the_frames_of_their_sequences(cohort: Cohort, tmp_path: Path):
    """Subject, frame, sequence and what is unknown; so that training on them as they are is that on the sequences."""
    cases = [case_of(cohort, *frame) for frame in (("sub-C01", 0), ("sub-C01", 1), ("sub-C02", 2))]
    prepare_cohort(replace(cohort, cases=tuple(cases)), PREPARATION, LABELS, tmp_path / "out")
    found = load_dynamic(tmp_path / "out")
    for case, other in zip(cases, found.cases, strict=True):
        for name in ("name", "subject", "group", "side", "frame", "unknown", "taken_from"):
            assert getattr(case, name) == getattr(other, name), name
    assert [case.name for case in spread(found.cases, 1)] == [case.name for case in spread(cases, 1)]
    raw = data_of(cohort, cases).samples("training", ["sub-C01", "sub-C02"])
    kept = data_of(found, found.cases, preparation=Preparation([])).samples("training", ["sub-C01", "sub-C02"])
    for one, other in zip(raw, kept, strict=True):
        assert one[keys.SEQUENCE] == other[keys.SEQUENCE] and one[keys.KNOWN].equal(other[keys.KNOWN])
        assert torch.allclose(one[keys.IMAGE], other[keys.IMAGE], atol=1e-5)
        assert one[keys.LABEL].equal(other[keys.LABEL]) and one[keys.FOREGROUND].equal(other[keys.FOREGROUND])
    assert by_scan(kept) == by_scan(raw) == [[0, 1], [2]]

    again = replace(found, cases=(replace(found.cases[0], name="again"),))
    prepare_cohort(again, Preparation([]), LABELS, tmp_path / "twice")
    assert load_dynamic(tmp_path / "twice").cases[0].taken_from == cases[0].images[0]
    assert [case.name for case in load_dynamic(tmp_path / "out", structures=["talus"]).cases] == [
        case.name for case in cases if "talus" not in case.unknown
    ]
    with pytest.raises(CohortError, match="was prepared already, and does not say which registrations are suspect"):
        load_dynamic(tmp_path / "out", with_suspect=False)


def small(number: int, known: Sequence[bool] | None = None, sequence: str = "") -> dict:
    """A flat image of the value `number`."""
    shape = (1, 8, 8, 2)
    sample = {
        keys.IMAGE: torch.full(shape, float(number)), keys.LABEL: torch.zeros(shape, dtype=torch.uint8),
        keys.FOREGROUND: torch.ones(shape, dtype=torch.bool), keys.AFFINE: torch.diag(torch.tensor([2.0, 2, 2, 1])),
        keys.CASE: str(number), keys.SEQUENCE: sequence,
    }  # fmt: skip
    return sample if known is None else sample | {keys.KNOWN: torch.tensor(known)}


def patches_of(samples: Sequence[dict], size: tuple[int, ...], *augment: Any, length: int) -> PatchDataset:
    transforms = PatchTransforms(PatchSampler(size=size, min_foreground=0), augment, [[2.0] * len(size)])
    return PatchDataset(samples, [(0, transforms)], length=length)


def test_a_patch_says_what_is_known_of_its_case():
    data = patches_of([small(0, [True, True]), small(1, [True, False])], (4, 4), length=40)
    seen = {int(data[i][keys.IMAGE].max()): data[i][keys.KNOWN].tolist() for i in range(40)}
    assert seen == {0: [True, True], 1: [True, False]}
    assert keys.KNOWN not in patches_of([small(0)], (4, 4), length=1)[0]


def test_a_flip_that_swaps_structures_swaps_what_is_known():
    flip = RandAnatomicalFlipd([keys.IMAGE, keys.LABEL], axes=["LR"], pairs=[(1, 2)])
    data = patches_of([small(0, [True, False, True])], (4, 4, 2), flip, length=40)
    assert {tuple(data[i][keys.KNOWN].tolist()) for i in range(40)} == {(True, False, True), (False, True, True)}


def test_a_scan_is_drawn_as_often_as_all_frames_of_a_sequence():
    data = patches_of([small(0), *(small(n, sequence="a") for n in (1, 2, 3))], (4, 4), length=600)
    drawn = np.bincount([int(data[i][keys.IMAGE].max()) for i in range(600)], minlength=4)
    assert drawn[0] == pytest.approx(300, abs=40) and (abs(drawn[1:] - 100) < 40).all()


def test_an_unknown_bone_is_not_scored_in_validation():
    task = Segmentation(
        loss=DiceCrossEntropy(), labels=Labels(structures=["a", "b"]), validation=VolumeInferer((8, 8)),
        network=UNet(1, 3, widths=(4, 8)), optimizer=torch.optim.Adam,
    )  # fmt: skip
    batch = {
        keys.IMAGE: torch.zeros(1, 1, 8, 8, 1), keys.LABEL: torch.ones(1, 1, 8, 8, 1, dtype=torch.long),
        keys.FOREGROUND: torch.ones(1, 1, 8, 8, 1, dtype=torch.bool), keys.CASE: ["x"],
    }  # fmt: skip
    with torch.no_grad():
        for parameter in task.network.parameters():
            parameter.zero_()
        list(task.network.parameters())[-1].copy_(torch.tensor([1.0, 0, 0]))  # all background: a is missed
    for known, scored in ([True, True], {"dice_a"}), ([False, True], set()):
        task.on_validation_epoch_start()  # takes the network as it is
        task.validation_step({**batch, keys.KNOWN: torch.tensor([known])}, 0)
        assert {name for name, dice in task._scores[0].items() if dice is not None} == scored


def test_cases_without_anything_known_are_not_taught(cohort: Cohort):
    case = case_of(cohort, "sub-C01", 0)
    collided = replace(case, references=dict.fromkeys(BONES, case.references["tibia"]), name="collided")
    data = data_of(cohort, [case_of(cohort, "sub-C02", 0), collided])
    taught = data.samples("training", ["sub-C01", "sub-C02"])
    assert [sample[keys.CASE] for sample in taught] == [case_of(cohort, "sub-C02", 0).name]


@pytest.fixture(scope="module")
def model() -> Model:
    torch.manual_seed(0)
    network = UNet(1, 4, widths=(4, 8)).eval()
    return model_of(network, "prepare.bring_to_side=null", structures=BONES, window=(64, 64))


def test_a_sequence_is_predicted_frame_by_frame_on_its_own_grid(cohort: Cohort, model: Model, tmp_path: Path):
    file = case_of(cohort, "sub-C01", 0).images[0]
    whole = tiles_of(*model.window, tiling="slices")
    case = Case("sequence", "sub-C01", {"dynamic": file}, side="right")
    (row,) = predict_cases([case], [model], tmp_path, inferer=whole)
    assert row["status"] == "ok"
    written = read_volume(tmp_path / row["labels"], dtype=None, dimensions=4)
    given = read_volume(file, dimensions=4)
    assert written.data.shape == given.data.shape and np.array_equal(written.affine, given.affine)
    for frame in (0, FRAMES - 1):
        alone = predict_case(replace(case, frame=frame), [model], whole)
        assert np.array_equal(written.data[..., frame], model.labels.label_map(alone.masks))


def test_predicted_frames_are_scored_against_registered_masks(
    registered: Path, cohort: Cohort, model: Model, tmp_path: Path
):
    cases = [case_of(cohort, "sub-C01", frame) for frame in (0, 1)]
    predict_cases(cases, [model], tmp_path / "p", inferer=tiles_of(*model.window, tiling="slices"))
    # perfect predictions in place of those of an untrained network
    for case in cases:
        for bone in BONES:
            mask = read_mask(case.references[bone].path, frame=case.frame)
            write_volume(tmp_path / "p" / case.name / f"{case.name}_label-{bone}_mask.nii.gz", mask.data, mask.affine)
    result = evaluate(tmp_path / "p", registered, tmp_path / "e")
    found = {(row.case, row.structure): (row.status, row.dice) for row in result.scores}
    assert found[cases[1].name, "talus"] == ("no reference", None)
    assert {value for key, value in found.items() if key != (cases[1].name, "talus")} == {("ok", 1.0)}
    assert "could not be shown" not in (tmp_path / "e" / "report.html").read_text()
