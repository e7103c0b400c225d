"""A checkpoint is read without running what is in it."""

from __future__ import annotations

import os
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from small_models import prepared_by

from ankleseg.cohorts import Case
from ankleseg.errors import CheckpointError
from ankleseg.inference import VolumeInferer, description, find_checkpoint, load_model, predict_case
from ankleseg.inference.model import DESCRIPTION, with_public_names
from ankleseg.labels import Labels
from ankleseg.networks import UNet
from ankleseg.volumes import write_volume

PREPARATION = prepared_by("prepare=ankle")
LABELS = Labels(structures=("talus",))
NODE = {"_target_": "ankleseg.networks.UNet", "in_channels": 1, "out_channels": 1, "widths": [4, 8, 8, 8]}
CHECKPOINTS = Path(__file__).parent / "checkpoints"
LIA = np.array([[-0.9, 0, 0, 30.0], [0, 0, 0.8, -25], [0, -3.0, 0, 12], [0, 0, 0, 1]])


def foot(seed: int, shape: tuple[int, ...] = (72, 14, 64)) -> np.ndarray:
    """A body with a heel and a shin, as the fixtures were made of it."""
    rng = np.random.default_rng(seed)
    x, y, z = np.meshgrid(*(np.linspace(-1, 1, n) for n in shape), indexing="ij")
    body = (x / 0.8) ** 2 + (y / 0.9) ** 2 + (z / 0.85) ** 2 < 1
    heel = (x - 0.3 + rng.normal(0, 0.03)) ** 2 + (y - 0.2) ** 2 + (z + 0.2) ** 2 < 0.1
    shin = (x + 0.3) ** 2 + (y + 0.1) ** 2 + ((z - 0.3) / 1.5) ** 2 < 0.06
    return np.abs(400 * body + 500 * heel + 700 * shin + rng.normal(0, 25, shape)).astype(np.int16)


def content(**changes) -> dict:
    torch.manual_seed(0)
    network = UNet(in_channels=1, out_channels=1, widths=[4, 8, 8, 8])
    described = description(network=NODE, preparation=PREPARATION, labels=LABELS, channels=["T1w"], window=[16, 16])
    state = {f"network.{name}": value for name, value in network.state_dict().items()}
    return {"state_dict": state, DESCRIPTION: {**described, **changes}}


def saved(tmp_path: Path, value: object) -> Path:
    path = tmp_path / "model.ckpt"
    torch.save(value, path)
    return path


def test_a_saved_model_predicts_as_before(tmp_path: Path):
    model = load_model(saved(tmp_path, content()))
    torch.manual_seed(0)
    network = UNet(in_channels=1, out_channels=1, widths=[4, 8, 8, 8]).eval()
    x = torch.randn(2, 1, 16, 24)
    assert torch.allclose(model.network(x), network(x), atol=1e-5)
    assert (model.labels, model.channels, model.window) == (LABELS, ("T1w",), (16, 16))
    assert model.preparation.nodes == PREPARATION.nodes


class Malicious:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self):
        return os.system, (f"touch {self.marker}",)


def test_a_malicious_checkpoint_does_not_run_code(tmp_path: Path):
    marker = tmp_path / "ran"
    path = saved(tmp_path, {**content(), "more": Malicious(marker)})
    with pytest.raises(CheckpointError, match="holds more than tensors and plain types and was not opened"):
        load_model(path)
    assert not marker.exists()


@pytest.mark.parametrize("target", ["os.system", "torch.os.system", "torch.hub.load", "subprocess.Popen"])
@pytest.mark.parametrize("nested", [False, True])
def test_a_description_that_names_code_is_refused(tmp_path: Path, target: str, nested: bool):
    marker = tmp_path / "ran"
    evil = {"_target_": target, "_args_": [f"touch {marker}"]}
    node = {"_target_": "torch.nn.Sequential", "_args_": [evil]} if nested else evil
    with pytest.raises(CheckpointError, match="is refused"):
        load_model(saved(tmp_path, content(network=node)))
    assert not marker.exists()


def test_a_description_that_names_no_network_is_refused(tmp_path: Path):
    with pytest.raises(CheckpointError, match="is no network"):
        load_model(saved(tmp_path, content(network={"_target_": "torch.optim.Adam"})))


@pytest.mark.parametrize(
    "make,message",
    [
        (lambda path: path.write_bytes(b""), "is not a checkpoint, or is damaged"),
        (lambda path: path.write_text("hello"), "is not a checkpoint, or is damaged"),
        (lambda path: torch.save({"a": 1}, path), "was not made by ankleseg"),
        (lambda path: torch.save(content(format=99), path), "has format 99, this version reads 1 and 2"),
    ],
)
def test_what_is_wrong_is_told(tmp_path: Path, make, message: str):
    path = tmp_path / "model.ckpt"
    make(path)
    with pytest.raises(CheckpointError, match=f"model.ckpt: {message}"):
        load_model(path)


def test_truncated_checkpoint(tmp_path: Path):
    path = saved(tmp_path, content())
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(CheckpointError, match="is not a checkpoint, or is damaged"):
        load_model(path)


def test_weights_that_do_not_fit(tmp_path: Path):
    with pytest.raises(CheckpointError, match="its weights do not fit its network"):
        load_model(saved(tmp_path, content(network={**NODE, "widths": [8, 8, 8, 8]})))


def test_runs_are_found(tmp_path: Path):
    for name in ("a", "b"):
        (tmp_path / name / "checkpoints").mkdir(parents=True)
    (tmp_path / "a" / "checkpoints" / "best.ckpt").touch()
    os.utime(tmp_path / "a" / "checkpoints" / "best.ckpt", (1, 1))
    assert find_checkpoint(tmp_path).parent.parent.name == "a"
    (tmp_path / "b" / "checkpoints" / "best.ckpt").touch()
    assert find_checkpoint(tmp_path).parent.parent.name == "b"
    assert find_checkpoint(tmp_path / "a").name == "best.ckpt"
    (tmp_path / "c" / "checkpoints").mkdir(parents=True)
    (tmp_path / "c" / "checkpoints" / "last.ckpt").touch()
    later = time.time() + 10
    os.utime(tmp_path / "c" / "checkpoints" / "last.ckpt", (later, later))
    assert find_checkpoint(tmp_path).parent.parent.name == "c", "a run without validation has a last checkpoint only"
    (tmp_path / "empty").mkdir()
    with pytest.raises(CheckpointError, match="holds no checkpoint; give the folder of a finished run"):
        find_checkpoint(tmp_path / "empty")
    with pytest.raises(CheckpointError, match="does not exist; give a checkpoint"):
        find_checkpoint(tmp_path / "nowhere")


@pytest.mark.parametrize("link", [False, True])
@pytest.mark.parametrize("given", ["run", "run/checkpoints/best.ckpt", "."])
def test_a_checkpoint_that_was_never_downloaded_is_told(given: str, link: bool, tmp_path: Path):
    path = tmp_path / "run/checkpoints/best.ckpt"
    path.parent.mkdir(parents=True)
    if link:
        path.symlink_to("../../.git/annex/objects/key")
    else:
        path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12\n")
    with pytest.raises(CheckpointError, match="best.ckpt: was not downloaded"):
        load_model(tmp_path / given)


def test_a_run_may_be_given_by_a_link(tmp_path: Path):
    path = tmp_path / "run/checkpoints/best.ckpt"
    path.parent.mkdir(parents=True)
    path.touch()
    (tmp_path / "latest").symlink_to("run")
    assert find_checkpoint(tmp_path / "latest") == tmp_path / "latest/checkpoints/best.ckpt"


def test_classes_are_named_as_users_import_them():
    node = {"_target_": "ankleseg.networks.unet.UNet", "inner": [{"_target_": "monai.networks.nets.UNet"}]}
    public = {"_target_": "ankleseg.networks.UNet", "inner": [{"_target_": "monai.networks.nets.UNet"}]}
    assert with_public_names(node) == public


@pytest.mark.parametrize("name", ["segmentation", "segsrgan"])
def test_a_checkpoint_of_format_1_predicts_what_it_did(name: str, tmp_path: Path):
    """Weights and answers were written by the code before preparations were lists of MONAI transforms."""
    model = load_model(CHECKPOINTS / f"{name}.ckpt")
    write_volume(tmp_path / "s2.nii.gz", foot(seed=2), LIA)
    scan = Case("s2", "s2", {"image": tmp_path / "s2.nii.gz"}, side="left")
    found = predict_case(scan, [model], VolumeInferer(model.window), model.postprocessing)
    wanted = np.load(CHECKPOINTS / f"{name}.npz")
    assert np.allclose(found.affine, wanted["affine"], atol=1e-6)
    assert (model.labels.label_map(found.masks) == wanted["labels"]).mean() >= 0.999
    for image, restored in zip(model.labels.images, found.images, strict=True):
        assert np.abs(restored[::3, ::3, ::3] - wanted[image]).max() < 1
