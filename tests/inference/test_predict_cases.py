"""Predictions lie on the grid of their input, inputs are untouched, and one bad case does not take the others down."""

from __future__ import annotations

import hashlib
import json
import weakref
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import itk
import nibabel as nib
import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation
from small_models import model_of, tiles_of
from torch import nn

from ankleseg.cohorts import Case
from ankleseg.errors import CheckpointError, ConfigError
from ankleseg.inference import Model, Postprocessing, predict_case, predict_cases, run
from ankleseg.volumes import write_volume


class Bright(nn.Module):
    """Probability rises where the z-scored intensity exceeds one half."""

    divisor = 4

    def __init__(self) -> None:
        super().__init__()
        self.sharpness = nn.Parameter(torch.tensor(20.0))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.sharpness * (x - 0.5)


def model(*overrides: str, network: nn.Module | None = None, **others) -> Model:
    return model_of((network or Bright()).eval(), *overrides, **others)


def scan(path: Path) -> np.ndarray:
    """A body with a bright off-centre ball; returns the ball."""
    grid = np.stack(np.meshgrid(*(np.arange(n) for n in (30, 26, 9)), indexing="ij"), -1)
    ball = (((grid - [10, 15, 5]) / [5, 5, 3]) ** 2).sum(-1) < 1
    body = (((grid - [15, 13, 4]) / [14, 12, 8]) ** 2).sum(-1) < 1
    oblique = np.eye(4)
    oblique[:3, :3] = Rotation.from_euler("xyz", [80, 10, -95], degrees=True).as_matrix() * [0.9, 0.9, 2.5]
    oblique[:3, 3] = (-40, 30, 12)
    write_volume(path, (20 + 300 * body + 900 * ball).astype(np.int16), oblique)
    return ball


def case(path: Path, side: str | None = "left") -> Case:
    return Case(name=path.name.split(".")[0], subject="s", channels={"image": path}, side=side)


@pytest.mark.parametrize("mode", ["tiles", "slices", "patches"])
@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("spacing", ["null", "[0.8,0.8,null]"])
def test_the_mask_is_where_the_structure_is(tmp_path: Path, mode: str, side: str, spacing: str):
    ball = scan(tmp_path / "a.nii.gz")
    found = predict_case(
        case(tmp_path / "a.nii.gz", side), [model(f"prepare.spacing={spacing}")], tiles_of(16, 16, tiling=mode)
    )
    assert found.masks.shape[1:] == ball.shape and found.probabilities.shape == (1, *ball.shape)
    both = 2 * (found.masks[0] & ball).sum() / (found.masks[0].sum() + ball.sum())
    assert both == 1 if spacing == "null" else both > 0.9


def test_of_a_prepared_case_nothing_is_predicted_outside_its_foreground(tmp_path: Path):
    ball = scan(tmp_path / "a.nii.gz")
    affine = nib.load(tmp_path / "a.nii.gz").affine
    half = write_volume(tmp_path / "half.nii.gz", np.arange(30)[:, None, None] < np.full(ball.shape, 12), affine)
    prepared = replace(case(tmp_path / "a.nii.gz"), foreground=half)
    whole = predict_case(case(tmp_path / "a.nii.gz"), [model("prepare=as_is")], tiles_of(8, 8, tiling="patches"))
    found = predict_case(prepared, [model("prepare=as_is")], tiles_of(8, 8, tiling="patches"))
    assert whole.masks[0, 16:].any() and not found.masks[0, 16:].any()


def test_files_overlay_their_input_in_two_libraries(tmp_path: Path):
    path = tmp_path / "a.nii.gz"
    scan(path)
    before = hashlib.sha256(path.read_bytes()).hexdigest()
    (row,) = predict_cases(
        [case(path)],
        [model()],
        tmp_path / "out",
        inferer=tiles_of(16, 16),
        postprocessing=Postprocessing(),
        save_probabilities=True,
    )
    assert row["status"] == "ok"
    files = [row["labels"], row["masks"]["bone"], row["probabilities"]["bone"]]
    reference = nib.load(path)
    image = itk.imread(str(path))
    for name in files:
        written = nib.load(tmp_path / "out" / name)
        assert np.array_equal(written.affine, reference.affine) and written.shape == reference.shape
        assert written.get_qform(coded=True)[1] == reference.get_qform(coded=True)[1]
        assert written.get_sform(coded=True)[1] == reference.get_sform(coded=True)[1]
        other = itk.imread(str(tmp_path / "out" / name))
        assert np.allclose(np.asarray(other.GetOrigin()), np.asarray(image.GetOrigin()))
        assert np.allclose(itk.array_from_matrix(other.GetDirection()), itk.array_from_matrix(image.GetDirection()))
    assert hashlib.sha256(path.read_bytes()).hexdigest() == before


def test_a_bad_case_is_recorded_and_the_others_go_on(tmp_path: Path):
    for name in ("a", "b", "c"):
        scan(tmp_path / f"{name}.nii.gz")
    settings = {"inferer": tiles_of(16, 16)}
    cases = [case(tmp_path / f"{name}.nii.gz") for name in ("a", "b", "c")]
    predict_cases(cases, [model()], tmp_path / "out", **settings)
    assert (tmp_path / "out/b/b_labels.nii.gz").exists()
    (tmp_path / "b.nii.gz").write_bytes((tmp_path / "b.nii.gz").read_bytes()[:200])
    rows = predict_cases(cases, [model()], tmp_path / "out", **settings)
    assert [row["status"] for row in rows] == ["ok", "failed", "ok"]
    assert "b.nii.gz" in rows[1]["message"] and "\n" not in rows[1]["message"]
    assert not list((tmp_path / "out/b").iterdir()), "masks of the earlier run would look new"
    assert json.loads((tmp_path / "out/predictions.json").read_text())["cases"] == rows


def test_no_input_is_removed_for_a_result(tmp_path: Path):
    scan(tmp_path / "a/a_labels.nii.gz")
    scan(tmp_path / "a/a_T1w.nii.gz")
    settings = {"inferer": tiles_of(16, 16)}
    with pytest.raises(ConfigError, match=r"a_labels.nii.gz: is an input and would be replaced by a result"):
        predict_cases([Case("a", "s", {"image": tmp_path / "a/a_labels.nii.gz"})], [model()], tmp_path, **settings)
    (row,) = predict_cases([Case("b", "s", {"image": tmp_path / "a/a_labels.nii.gz"})], [model()], tmp_path, **settings)
    assert row["status"] == "ok" and (tmp_path / "a/a_labels.nii.gz").exists()


def test_old_masks_go_where_a_name_looks_like_a_pattern(tmp_path: Path):
    scan(tmp_path / "T1 [ax].nii.gz")
    odd = Case("T1 [ax]", "s", {"image": tmp_path / "T1 [ax].nii.gz"})
    settings = {"inferer": tiles_of(16, 16)}
    predict_cases([odd], [model()], tmp_path / "out", **settings)
    (tmp_path / "T1 [ax].nii.gz").unlink()
    (row,) = predict_cases([odd], [model()], tmp_path / "out", **settings)
    assert row["status"] == "failed" and not list((tmp_path / "out/T1 [ax]").iterdir())


def test_memory_that_runs_out_is_met_with_smaller_pieces(tmp_path: Path):
    class Greedy(Bright):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            if len(x) > 1:
                raise RuntimeError("not enough memory: you tried to allocate 1 byte")
            return super().forward(x)

    ball = scan(tmp_path / "a.nii.gz")
    greedy = model(network=Greedy())
    (row,) = predict_cases([case(tmp_path / "a.nii.gz")], [greedy], tmp_path / "out", inferer=tiles_of(16, 16))
    assert row["status"] == "ok"
    assert (nib.load(tmp_path / "out" / row["labels"]).get_fdata() > 0).sum() == ball.sum()


def test_the_second_attempt_finds_the_memory_of_the_first_free(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    class Volume:
        pass

    scan(tmp_path / "a.nii.gz")
    true, held = run.predict_case, []

    def greedy(*others, **more):
        if not held:
            volume = Volume()
            held.append(weakref.ref(volume))
            raise RuntimeError("not enough memory: you tried to allocate 1 byte")
        assert held[0]() is None
        return true(*others, **more)

    monkeypatch.setattr(run, "predict_case", greedy)
    (row,) = predict_cases([case(tmp_path / "a.nii.gz")], [model()], tmp_path / "out", inferer=tiles_of(16, 16))
    assert row["status"] == "ok" and held


def test_the_smaller_pieces_are_no_larger_than_those_asked_for(tmp_path: Path):
    seen: list[tuple[int, ...]] = []

    class Greedy(Bright):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            seen.append(tuple(x.shape))
            if len(x) > 1:
                raise RuntimeError("not enough memory: you tried to allocate 1 byte")
            return super().forward(x)

    scan(tmp_path / "a.nii.gz")
    greedy = model(network=Greedy())
    predict_cases([case(tmp_path / "a.nii.gz")], [greedy], tmp_path / "out", inferer=tiles_of(12, 20))
    assert seen[-1] == (1, 1, 12, 16)


def test_slices_in_another_plane_are_told(tmp_path: Path):
    scan(tmp_path / "a.nii.gz")
    for orientation, expected in (("PSR", ""), ("SRP", "do not trust the result")):
        settings = {"inferer": tiles_of(8, 8)}
        (row,) = predict_cases(
            [case(tmp_path / "a.nii.gz")], [model(f"prepare.orientation={orientation}")], tmp_path, **settings
        )
        assert row["status"] == "ok" and expected in row["message"] and bool(row["message"]) == bool(expected)
    trained_so = model("prepare.orientation=SRP", slice_axis=1)
    (row,) = predict_cases([case(tmp_path / "a.nii.gz")], [trained_so], tmp_path, **settings)
    assert row["message"] == ""


@pytest.mark.parametrize(
    ("trained", "expected"),
    [
        (None, ""),
        ((3.0, 5.0), ""),
        ((3.3, 3.3), ""),
        ((0.8, 1.0), "its slices lie 3 mm apart, those of the training 0.8 to 1 mm: do not trust the result"),
        ((9.0, 9.0), "its slices lie 3 mm apart, those of the training 9 mm: do not trust the result"),
    ],
)
def test_slices_unlike_those_of_training_are_told(
    tmp_path: Path, trained: tuple[float, float] | None, expected: str, capsys: pytest.CaptureFixture[str]
):
    write_volume(tmp_path / "a.nii.gz", np.random.default_rng(0).random((16, 16, 6)), np.diag([1.0, 1, 3, 1]))
    told = model("prepare.orientation=RAS", slice_spacing=trained)
    settings = {"inferer": tiles_of(8, 8)}
    (row,) = predict_cases([case(tmp_path / "a.nii.gz")], [told], tmp_path / "out", **settings)
    assert (row["status"], row["message"]) == ("ok", expected)
    assert ("do not trust" in (said := capsys.readouterr().out)) == bool(expected) and expected in said


def test_several_models_are_averaged(tmp_path: Path):
    scan(tmp_path / "a.nii.gz")
    one, two = model(), model("prepare.spacing=[0.8,0.8,null]")
    volume = tiles_of(16, 16)
    scan_of_a = case(tmp_path / "a.nii.gz")
    mean = predict_case(scan_of_a, [one, two], volume).probabilities
    each = [predict_case(scan_of_a, [m], volume).probabilities for m in (one, two)]
    assert np.allclose(mean, (each[0] + each[1]) / 2, atol=1e-6)


def test_models_that_do_not_fit_are_refused(tmp_path: Path):
    scan(tmp_path / "a.nii.gz")
    other = model(structures=["cord"])
    with pytest.raises(CheckpointError, match="predict different structures; average runs of one experiment"):
        predict_case(case(tmp_path / "a.nii.gz"), [model(), other], tiles_of(16, 16))
    four = model(channels=["t1", "t1ce", "t2", "flair"])
    with pytest.raises(CheckpointError, match="case a has the channel image: expected t1, t1ce, t2, flair"):
        predict_case(case(tmp_path / "a.nii.gz"), [four], tiles_of(16, 16))


def test_models_that_do_not_fit_each_other_are_refused_before_anything_is_removed(tmp_path: Path):
    scan(tmp_path / "a.nii.gz")
    settings = {"inferer": tiles_of(16, 16)}
    predict_cases([case(tmp_path / "a.nii.gz")], [model()], tmp_path / "out", **settings)
    blocks = model(window=(16, 16, 16))
    for other, problem in ((model(structures=["cord"]), "different structures"), (blocks, "some take patches of two")):
        with pytest.raises(CheckpointError, match=f"{problem}.*; average runs of one experiment"):
            predict_cases([case(tmp_path / "a.nii.gz")], [model(), other], tmp_path / "out", **settings)
    assert (tmp_path / "out/a/a_labels.nii.gz").exists() and (tmp_path / "out/predictions.json").exists()


def test_of_several_models_the_first_whose_training_was_unlike_is_told(tmp_path: Path, capsys):
    write_volume(tmp_path / "a.nii.gz", np.random.default_rng(0).random((16, 16, 6)), np.diag([1.0, 1, 3, 1]))
    models = [model("prepare.orientation=RAS", slice_spacing=mm) for mm in ((3.0, 3.0), (9.0, 9.0), (7.0, 7.0))]
    (row,) = predict_cases([case(tmp_path / "a.nii.gz")], models, tmp_path / "out", inferer=tiles_of(8, 8))
    said = "its slices lie 3 mm apart, those of the training 9 mm: do not trust the result"
    assert row["message"] == said and capsys.readouterr().out.count("do not trust") == 1


def test_patch_boxes_lie_in_the_foreground(tmp_path: Path):
    scan(tmp_path / "a.nii.gz")
    found = predict_case(case(tmp_path / "a.nii.gz"), [model()], tiles_of(8, 8, tiling="patches"))
    image = nib.load(tmp_path / "a.nii.gz").get_fdata()
    assert found.patches
    for x0, y0, z0, x1, y1, z1 in found.patches:
        patch = image[x0:x1, y0:y1, z0:z1]
        assert patch.size == 64 and (patch > 100).mean() >= 0.75


def test_patch_boxes_are_those_of_the_masks_on_a_finer_grid(tmp_path: Path):
    scan(tmp_path / "a.nii.gz")
    whole = tiles_of(8, 8, tiling="patches")
    coarse = predict_case(case(tmp_path / "a.nii.gz"), [model()], whole)
    fine = predict_case(case(tmp_path / "a.nii.gz"), [model()], whole, spacing=[0.45, 0.45, None])
    assert fine.masks.shape != coarse.masks.shape
    assert len(fine.patches) > len(coarse.patches)
    for x0, y0, z0, x1, y1, z1 in fine.patches:
        assert fine.masks[0, x0:x1, y0:y1, z0:z1].size == 64


@pytest.mark.parametrize("crash", [KeyboardInterrupt(), KeyError("a bug")])
def test_a_crash_keeps_what_was_predicted_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, crash: BaseException):
    """An interruption ends all; a bug that one case meets is that case's failure."""
    for name in ("a", "b"):
        scan(tmp_path / f"{name}.nii.gz")
    true = run.predict_case

    def crashing(case: Case, *others, **more):
        if case.name == "b":
            raise crash
        return true(case, *others, **more)

    monkeypatch.setattr(run, "predict_case", crashing)
    cases = [case(tmp_path / f"{name}.nii.gz") for name in ("a", "b")]
    with pytest.raises(KeyboardInterrupt) if isinstance(crash, KeyboardInterrupt) else nullcontext():
        predict_cases(cases, [model()], tmp_path / "out", inferer=tiles_of(16, 16))
    row, *others = json.loads((tmp_path / "out/predictions.json").read_text())["cases"]
    assert row["case"] == "a" and (tmp_path / "out" / row["labels"]).exists()
    said = f"{cases[1].images[0]}: unexpected KeyError: 'a bug'; hydra.verbose=ankleseg shows where, please report it"
    bug = [] if isinstance(crash, KeyboardInterrupt) else [("b", "failed", said)]
    assert [(other["case"], other["status"], other["message"]) for other in others] == bug


def test_the_images_of_another_network_go_too(tmp_path: Path):
    name = "left"
    scan(tmp_path / f"{name}.nii.gz")
    out = tmp_path / "out"
    (out / name).mkdir(parents=True)
    (out / name / f"{name}_sharp.nii.gz").touch()
    (out / "predictions.json").write_text('{"images": ["sharp"]}')
    predict_cases([case(tmp_path / f"{name}.nii.gz")], [model()], out, inferer=tiles_of(16, 16))
    assert not (out / name / f"{name}_sharp.nii.gz").exists()
