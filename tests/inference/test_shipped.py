"""Networks that come with the package: found by name, taken by default, never in the way of a user's own files."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from bundles import checkpoint, scan

from ankleseg.config import compose
from ankleseg.errors import CheckpointError, ConfigError
from ankleseg.inference import build_network, export_bundle, find_checkpoint, load_model, shipped, shipped_models
from ankleseg.labels import Labels
from ankleseg.predict import main

BONES = ("calcaneus", "talus", "tibia")
NODE = {"_target_": "ankleseg.networks.UNet", "in_channels": 1, "out_channels": 4, "widths": [4, 8], "spatial_dims": 3}


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package with a network of random weights, and a working directory that is empty."""
    folder = tmp_path / "package"
    trained = checkpoint(
        tmp_path / "run/best.ckpt", NODE, Labels(structures=BONES), "prepare=ankle", window=(16, 16, 16)
    )
    export_bundle(trained, folder / "ankle_bones", half=True)
    monkeypatch.setattr(shipped, "FOLDER", folder)
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    return folder


def test_one_is_found_by_its_name_and_what_a_user_trained_goes_first(package: Path, tmp_path: Path):
    assert find_checkpoint("ankle_bones") == package / "ankle_bones"
    (tmp_path / "empty/ankle_bones").mkdir()
    (tmp_path / "empty/ankle_bones/scan.nii.gz").touch()
    assert find_checkpoint("ankle_bones") == package / "ankle_bones", "a folder of results is no network"
    (tmp_path / "run/best.ckpt").rename(tmp_path / "empty/ankle_bones/best.ckpt")
    assert find_checkpoint("ankle_bones") == Path("ankle_bones/best.ckpt")
    with pytest.raises(CheckpointError, match="ankle_bone: does not exist; .* a name that python .* models=true lists"):
        load_model("ankle_bone")


def test_prediction_without_a_checkpoint_takes_the_default_one_and_says_so(
    package: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    image = scan(tmp_path / "Été 1/scan.nii.gz")
    main(compose("predict", [f"input={image}", f"out={tmp_path / 'Été 1/out'}", "predict.window=[16,16,16]"]))
    line = capsys.readouterr().out.splitlines()[0]
    assert line == "no checkpoint is given: ankle_bones segments calcaneus, talus, tibia; not for diagnosis"
    told = json.loads((tmp_path / "Été 1/out/predictions.json").read_text())
    assert told["checkpoint"] == [str(package / "ankle_bones")] and told["cases"][0]["status"] == "ok"
    labels, given = (nib.load(file) for file in (tmp_path / "Été 1/out/scan/scan_labels.nii.gz", image))
    assert labels.shape == given.shape and np.allclose(labels.affine, given.affine)


def test_they_are_listed_with_size_and_card(package: Path, capsys: pytest.CaptureFixture[str]):
    main(compose("predict", ["models=true"]))
    (model,) = shipped_models()
    count = sum(weights.numel() for weights in build_network(NODE).parameters())
    said = capsys.readouterr().out
    assert said.startswith("ankle_bones segments calcaneus, talus, tibia; not for diagnosis; ")
    assert f"; {count:,} parameters, " in said and str(model.card) in said and model.card.is_file()


def test_without_any_the_mend_is_to_name_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(shipped, "FOLDER", tmp_path)
    with pytest.raises(ConfigError, match="checkpoint is missing; add checkpoint=…, or a method=… without a network"):
        main(compose("predict", [f"input={scan(tmp_path / 'scan.nii.gz')}", f"out={tmp_path / 'out'}"]))


def test_half_precision_halves_the_file_and_hardly_changes_the_answer(package: Path, tmp_path: Path):
    (line,) = export_bundle(tmp_path / "run", tmp_path / "half", half=True)
    export_bundle(tmp_path / "run", tmp_path / "whole")
    half, whole = (torch.load(tmp_path / name / "models/model.pt", weights_only=True) for name in ("half", "whole"))
    kinds = {name: value.dtype for name, value in half.items() if value.ndim > 1}
    assert set(kinds.values()) == {torch.float16} and half.keys() == whole.keys()
    assert all(torch.equal(half[name], whole[name]) for name in whole if whole[name].ndim < 2)
    assert line.startswith("models/model.pt: in half precision; outputs differ by ")
    image = torch.randn(1, 1, 16, 16, 16)
    given, expected = (load_model(tmp_path / name).network(image).detach() for name in ("half", "whole"))
    assert given.dtype == torch.float32 and (given - expected).abs().max() < 1e-2 * np.ptp(expected.numpy())


@pytest.mark.parametrize("model", shipped_models(), ids=lambda model: model.name)
def test_those_of_the_package_are_small_and_say_what_they_are(model: shipped.ShippedModel):
    loaded = load_model(model.name)
    assert loaded.labels.structures == model.structures and 0 < model.megabytes <= 6 and model.parameters > 0
    card = model.card.read_text(encoding="utf-8")
    assert "not to be used for diagnosis" in card and (model.folder / "LICENSE").is_file()


@pytest.mark.skipif(shipped.default_model() is None, reason="no network comes with this version")
def test_the_default_one_finds_the_bones_of_a_phantom_it_never_saw(tmp_path: Path):
    from ankleseg.phantoms import ankle_scan

    _, taken = ankle_scan("sub-C01", seed=3)
    image = tmp_path / "scan.nii.gz"
    nib.save(nib.Nifti1Image(taken.image, taken.affine), image)
    main(compose("predict", [f"input={image}", f"out={tmp_path / 'out'}", "predict.overlap=0.25"]))
    (row,) = json.loads((tmp_path / "out/predictions.json").read_text())["cases"]
    for bone, mask in taken.masks.items():
        found = np.asarray(nib.load(tmp_path / "out" / row["masks"][bone]).dataobj)
        assert 2 * (found & mask).sum() / (found.sum() + mask.sum()) > 0.85, bone
        assert row["confidence"][bone]["status"] != "failed"


@pytest.mark.skipif(shipped.default_model() is None, reason="no network comes with this version")
def test_the_default_one_finds_the_bones_in_a_ct_of_a_person(shared_data: Path, tmp_path: Path):
    from ankleseg.phantoms.bone_meshes import mask_of_mesh, read_bone_mesh

    ct = nib.load(shared_data / "feet/L_01_ct.nii.gz").slicer[::2, ::2, ::2]
    nib.save(ct, tmp_path / "ct.nii.gz")
    main(compose("predict", [f"input={tmp_path / 'ct.nii.gz'}", f"out={tmp_path / 'out'}", "predict.overlap=0.25"]))
    (row,) = json.loads((tmp_path / "out/predictions.json").read_text())["cases"]
    points = ct.affine[:3, :3] @ np.indices(ct.shape).reshape(3, -1) + ct.affine[:3, 3:]
    for bone in ("talus", "tibia"):
        shape = mask_of_mesh(read_bone_mesh(shared_data / f"feet/ankles/L_01_{bone}.npz")).shape(np.eye(4))
        end = shape.high[2] - 3 if bone == "tibia" else np.inf  # of the mesh; the bone goes on
        inside = (points[2] < end).reshape(ct.shape)
        mask = (shape(points) < 0).reshape(ct.shape) & inside
        found = np.asarray(nib.load(tmp_path / "out" / row["masks"][bone]).dataobj).astype(bool) & inside
        assert 2 * (found & mask).sum() / (found.sum() + mask.sum()) > 0.85, bone
