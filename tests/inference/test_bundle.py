"""What is exported is what MONAI's own runner, ONNX Runtime and TorchScript predict."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from bundles import checkpoint, predicted, run_by_monai, scan
from torch import nn

from ankleseg.errors import CheckpointError, ConfigError
from ankleseg.inference import export_bundle, load_model
from ankleseg.inference.bundle.exchange import write_torchscript
from ankleseg.inference.bundle.export import replace_folder
from ankleseg.inference.model import network_in
from ankleseg.labels import Labels

UNET = {"_target_": "ankleseg.networks.UNet", "in_channels": 1, "out_channels": 1, "widths": [4, 8]}
SHARPENING = {"_target_": "ankleseg.networks.SegSRGANGenerator", "kernel": 2, "conditional": True}
MENDED = {"_target_": "ankleseg.inference.Postprocessing"}
CASES = {
    "exclusive": {
        "node": UNET | {"out_channels": 3},
        "labels": Labels(structures=("tibia", "talus")),
        "overrides": ("prepare=ankle", "prepare.spacing=[1.1,1.0,null]"),
        "postprocessing": MENDED,
    },
    "several planes": {
        "node": UNET | {"out_channels": 3},
        "labels": Labels(structures=("tibia", "talus")),
        "overrides": ("prepare=ankle_slices",),
        "planes": ("sagittal", "coronal", "axial"),
        "postprocessing": MENDED,
    },
    "regions of two channels": {
        "node": UNET | {"in_channels": 2, "out_channels": 2, "spatial_dims": 3},
        "labels": Labels(structures=("whole", "core"), regions=True, label_values=(4, 1)),
        "overrides": ("prepare=brain",),
        "channels": ("t1", "flair"),
        "window": (16, 16, 16),
    },
    "an image and a structure": {
        "node": SHARPENING | {"out_channels": 2},
        "labels": Labels(images=("sharp",), structures=("cortex",)),
        "overrides": ("prepare=sharp", "prepare.spacing=[0.9,0.9,0.9]"),
        "window": (16, 16, 16),
    },
}


def exported(tmp_path: Path, name: str = "exclusive", **formats: bool) -> tuple[Path, Path]:
    """A checkpoint and the bundle made of it."""
    case = dict(CASES[name])
    path = checkpoint(
        tmp_path / "run/checkpoints/best.ckpt", case.pop("node"), case.pop("labels"), *case.pop("overrides"), **case
    )
    export_bundle(tmp_path / "run", tmp_path / "bundle", **formats)
    return path, tmp_path / "bundle"


@pytest.mark.parametrize("name", CASES)
def test_monai_predicts_what_we_predict(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("ankleseg.transforms.planes.NARROWEST", 0.0)  # the scans here are small
    path, bundle = exported(tmp_path, name)
    model = load_model(path)
    files = [scan(tmp_path / f"scans/{name}.nii.gz", seed) for seed, name in enumerate(model.channels)]
    labels, images, affine = predicted(path, files)
    numbers = np.arange(len(model.labels) + 1, dtype=np.uint8)
    assert set(np.unique(labels)) == set(model.labels.written(numbers)), "nothing is compared"
    again = predicted(bundle, files)
    assert np.array_equal(again[0], labels) and np.array_equal(again[1], images)
    several = {"datalist": [{"image": list(map(str, files))}]}
    given = run_by_monai(bundle, tmp_path / "out", **several if len(files) > 1 else {"dataset_dir": str(files[0])})
    found = [(given["labels"], labels), *((given[n], i) for n, i in zip(model.labels.images, images, strict=True))]
    for (voxels, where), expected in found:
        assert voxels.shape == expected.shape and np.allclose(where, affine, atol=1e-5)
        assert np.isclose(voxels, expected, rtol=1e-3, atol=1e-3 * np.ptp(expected)).mean() >= 0.9999


def test_its_metadata_says_what_goes_in_and_comes_out(tmp_path: Path):
    path, bundle = exported(tmp_path, "regions of two channels")
    text = (bundle / "configs/metadata.json").read_text()
    about = json.loads(text)
    required = "version monai_version pytorch_version numpy_version task description authors copyright".split()
    assert all(isinstance(about[key], str) and about[key] for key in required)
    tensors = {**about["network_data_format"]["inputs"], **about["network_data_format"]["outputs"]}
    keys = "type format modality num_channels spatial_shape dtype value_range is_patch_data channel_def".split()
    assert all(set(keys) <= set(tensor) and len(tensor["spatial_shape"]) == 3 for tensor in tensors.values())
    assert tensors["image"]["channel_def"] == {"0": "t1", "1": "flair"}
    assert tensors["pred"]["channel_def"] == {"0": "whole", "1": "core"} and tensors["pred"]["format"] == "classes"
    config = (bundle / "configs/inference.json").read_text()
    properties = "network_def preprocessing inferer postprocessing evaluator dataset dataset_dir device bundle_root run"
    assert set(properties.split()) <= set(json.loads(config))
    card = (bundle / "docs/README.md").read_text()
    assert "Values of the label map: 0 background, 4 whole, 1 core." in card
    assert "| 1 | flair |" in card and "| 1 | core |" in card and (bundle / "LICENSE").read_text()
    assert str(tmp_path) not in text + config + card, "a path of this machine travels with the bundle"
    weights = torch.load(bundle / "models/model.pt", weights_only=True)
    assert set(weights) == set(network_in(path)[1]), "the weights are those of training, nothing is folded"


def test_the_card_tells_of_the_run(tmp_path: Path):
    path, bundle = exported(tmp_path)
    run = path.parents[1]
    split = {"train": ["s1", "s2"], "validation": ["s3"], "test": ["s4"]}
    (run / "manifest.json").write_text(json.dumps({"name": "x", "cohort": "/data/feet", "split": split}))
    (run / "test").mkdir()
    dice = {"n": 4, "mean": 0.9251, "std": 0.02, "median": 0.9, "min": 0.8, "max": 1.0}
    summary = [{"group": "all", "structure": "talus", "dice": dice}]
    (run / "test/metrics.json").write_text(json.dumps({"summary": summary}))
    export_bundle(run, bundle)
    card = (bundle / "docs/README.md").read_text()
    assert "feet; subjects: 2 train, 1 validation, 1 test" in card and "| talus | 0.925 ± 0.020 | 4 |" in card
    assert "/data" not in card and "s4" not in card


def test_other_formats_give_what_pytorch_gives(tmp_path: Path):
    onnxruntime = pytest.importorskip("onnxruntime")
    path, bundle = exported(tmp_path, onnx=True, torchscript=True)
    image = torch.randn(3, 1, 24, 40)
    expected = load_model(path).network(image).detach().numpy()
    session = onnxruntime.InferenceSession(str(bundle / "models/model.onnx"))
    atol = 1e-4 * np.ptp(expected)
    assert np.allclose(session.run(None, {"image": image.numpy()})[0], expected, atol=atol)
    assert np.allclose(torch.jit.load(bundle / "models/model.ts")(image).detach(), expected, atol=atol)
    checks = json.loads((bundle / "configs/metadata.json").read_text())["ankleseg"]["formats"]
    assert all(
        all(check["dynamic"].values()) and check["difference"] < 1e-3 * check["range"] for check in checks.values()
    )
    assert set(checks) == {"model.onnx", "model.ts"} and "models/model.onnx" in (bundle / "docs/README.md").read_text()


class Random(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + torch.rand_like(x)


def test_a_format_that_disagrees_is_not_kept(tmp_path: Path):
    with pytest.raises(CheckpointError, match="model.ts differs from PyTorch by"):
        write_torchscript(Random(), tmp_path / "model.ts", 1, (16, 16))
    assert not (tmp_path / "model.ts").exists()


def test_nothing_is_lost_where_a_bundle_is_written(tmp_path: Path):
    _, bundle = exported(tmp_path)
    (bundle / "models/old").touch()
    export_bundle(tmp_path / "run", bundle)
    assert not (bundle / "models/old").exists(), "a bundle of ours is replaced"
    with pytest.raises(ConfigError, match="bundle: cannot be written"), replace_folder(bundle) as part:
        (part / "half").touch()
        raise OSError(28, "No space left on device")
    assert (bundle / "models/model.pt").exists() and sorted(p.name for p in tmp_path.iterdir()) == ["bundle", "run"]
    (tmp_path / "work").mkdir()
    (tmp_path / "work/thesis.txt").touch()
    with pytest.raises(ConfigError, match="work: is a folder of other files"):
        export_bundle(tmp_path / "run", tmp_path / "work")
    assert (tmp_path / "work/thesis.txt").exists()
