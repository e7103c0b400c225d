"""A bundle of somebody else predicts here what MONAI's own runner predicts, and none of its code is run."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch
import yaml
from bundles import predicted, run_by_monai, scan
from monai.networks.nets import UNet

from ankleseg.cohorts import Case
from ankleseg.config import trusting
from ankleseg.errors import AnklesegError, CheckpointError
from ankleseg.inference import VolumeInferer, load_model, predict_case

NETWORK = {"spatial_dims": 3, "in_channels": 1, "channels": [4, 8, 8], "strides": [2, 2], "num_res_units": 1}


def transform(name: str, **more: Any) -> dict[str, Any]:
    return {"_target_": name, "keys": "image", **more}


def config_of(outputs: int) -> dict[str, Any]:
    """As the model zoo writes it."""
    activation = {"softmax": True} if outputs == 2 else {"sigmoid": True}
    discrete = {"argmax": True} if outputs == 2 else {"threshold": 0.5}
    return {
        "imports": ["$import glob"],
        "bundle_root": ".",
        "output_dir": "$@bundle_root + '/eval'",
        "dataset_dir": "/workspace/data",
        "datalist": "$list(sorted(glob.glob(@dataset_dir + '/*.nii.gz')))",
        "device": "$torch.device('cuda:0' if torch.cuda.is_available() else 'cpu')",
        "sides": [32, 32, 32],
        "network_def": {"_target_": "UNet", **NETWORK, "out_channels": outputs, "norm": "batch"},
        "network": "$@network_def.to(@device)",
        "preprocessing": {
            "_target_": "Compose",
            "transforms": [
                transform("LoadImaged"),
                transform("EnsureChannelFirstd"),
                transform("Orientationd", axcodes="RAS"),
                transform("Spacingd", pixdim=[1.1, 1.2, 2.0], mode="bilinear"),
                transform("CropForegroundd", source_key="image", margin=1, allow_smaller=True),
                transform("ScaleIntensityRanged", a_min="$-57", a_max=364, b_min=0, b_max=1, clip=True),
                transform("EnsureTyped", dtype="$torch.float32"),
            ],
        },
        "dataset": {
            "_target_": "Dataset",
            "data": "$[{'image': i} for i in @datalist]",
            "transform": "@preprocessing",
        },
        "dataloader": {"_target_": "DataLoader", "dataset": "@dataset", "batch_size": 1, "num_workers": 0},
        "inferer": {"_target_": "SlidingWindowInferer", "roi_size": "@sides", "sw_batch_size": 4, "overlap": 0.25},
        "postprocessing": {
            "_target_": "Compose",
            "transforms": [
                {"_target_": "Activationsd", "keys": "pred", **activation},
                {
                    "_target_": "Invertd",
                    "keys": "pred",
                    "transform": "@preprocessing",
                    "orig_keys": "image",
                    "nearest_interp": False,
                },
                {"_target_": "AsDiscreted", "keys": "pred", **discrete},
                {"_target_": "SaveImaged", "keys": "pred", "output_dir": "@output_dir", "output_postfix": "pred"},
            ],
        },
        "handlers": [
            {
                "_target_": "CheckpointLoader",
                "load_path": "$@bundle_root + '/models/model.pt'",
                "load_dict": {"model": "@network"},
            }
        ],
        "evaluator": {
            "_target_": "SupervisedEvaluator",
            "device": "@device",
            "val_data_loader": "@dataloader",
            "network": "@network",
            "inferer": "@inferer",
            "postprocessing": "@postprocessing",
            "val_handlers": "@handlers",
        },
        "run": ["$@evaluator.run()"],
    }


def bundle(folder: Path, outputs: int = 2, *, text: str = "json", **changes: Any) -> Path:
    """A bundle by hand; changes are nodes of its configuration by ``a__b``."""
    for name in ("configs", "models"):
        (folder / name).mkdir(parents=True)
    torch.manual_seed({2: 12, 3: 7}[outputs])  # both give every structure some voxels
    network = UNet(**NETWORK, out_channels=outputs, norm="batch").eval()
    torch.save({"model": network.state_dict()}, folder / "models/model.pt")
    config = config_of(outputs)
    for path, value in changes.items():
        node, *keys = config, *path.split("__")
        for key in keys[:-1]:
            node = node[int(key)] if isinstance(node, list) else node[key]
        node[keys[-1]] = value
    written = json.dumps(config) if text == "json" else yaml.safe_dump(config)
    (folder / f"configs/inference.{text}").write_text(written)
    names = ["background", "spleen"] if outputs == 2 else ["Tumor core", "whole/../tumor", "rim"]
    tensors = {
        "inputs": {"image": {"num_channels": 1, "channel_def": {"0": "image"}}},
        "outputs": {"pred": {"num_channels": outputs, "channel_def": dict(enumerate(names))}},
    }
    (folder / "configs/metadata.json").write_text(json.dumps({"version": "0.1.0", "network_data_format": tensors}))
    return folder


def as_its_own(model: Path) -> VolumeInferer:
    """The inferer that ``python -m ankleseg.predict`` makes of it."""
    from ankleseg.config import compose, to_plain
    from ankleseg.predict import blending_asked_for, inferer_asked_for, tiles_asked_for

    loaded = load_model(model)
    settings = to_plain(compose("predict", ["checkpoint=x", "input=x", "out=x"]).predict)
    for name in ("spacing", "patch_foreground", "flips", "planes", "confidence"):
        del settings[name]
    mode = settings.pop("mode")
    return inferer_asked_for(mode, **tiles_asked_for(blending_asked_for(settings, loaded), loaded.window))


@pytest.mark.parametrize(("outputs", "text"), [(2, "json"), (3, "yaml")])
def test_it_predicts_as_monai_does(tmp_path: Path, outputs: int, text: str):
    folder, image = bundle(tmp_path / "zoo", outputs, text=text), scan(tmp_path / "scans/a.nii.gz")
    model = load_model(folder)
    given = predict_case(Case("a", "a", {"image": image}), [model], as_its_own(folder))
    (voxels, affine), *_ = run_by_monai(folder, tmp_path / "out", dataset_dir=str(image.parent)).values()
    assert np.allclose(affine, given.affine, atol=1e-5) and np.allclose(nib.load(image).affine, given.affine)
    masks = given.masks if outputs == 3 else given.masks[0]
    expected = np.moveaxis(voxels, -1, 0) if outputs == 3 else voxels
    assert masks.shape == expected.shape and 0.01 < masks.mean() < 0.99, "nothing is compared"
    assert (masks == expected).mean() >= 0.9999
    assert model.labels.structures == (("spleen",) if outputs == 2 else ("Tumor_core", "whole_.._tumor", "rim"))
    assert model.labels.regions == (outputs == 3)


REFUSED = {
    "an expression": ({"network_def__norm": "$__import__('os').system('touch RAN')"}, "network_def#norm is the expr"),
    "one of a transform": ({"preprocessing__transforms__3__pixdim": "$open('RAN', 'w')"}, "expressions of a bundle"),
    "another file": ({"network_def__norm": "%RAN.json#norm"}, "is the expression"),
    "a program": ({"network_def": {"_target_": "os.system", "command": "touch RAN"}}, "'os.system' is refused"),
    "an alias": ({"network_def": {"_target_": "torch.os.system", "command": "touch RAN"}}, "is refused: it is"),
    "one inside": ({"network_def__act": {"_target_": "subprocess.Popen", "args": "ls"}}, "'subprocess.Popen' is ref"),
    "a caller": (
        {"network_def__act": {"_target_": "monai.transforms.LoadImage", "reader": "os.system", "command": "touch RAN"}},
        "'monai.transforms.LoadImage' is refused in a file",
    ),
    "a writer": (
        {"preprocessing": [{"_target_": "ankleseg.files.replace_file", "path": "RAN"}]},
        "'ankleseg.files.replace_file' is refused in a file",
    ),
    "no network": ({"network_def": {"_target_": "Orientationd", "keys": "image", "axcodes": "RAS"}}, "is no network"),
    "a stranger": ({"network_def": {"_target_": "theirs.Net"}}, "'theirs.Net' is refused"),
    "unknown": ({"network_def": {"_target_": "Nonesuch"}}, "names Nonesuch, which is no network"),
    "random": ({"preprocessing": [transform("RandGaussianNoised")]}, "no deterministic transform"),
    "a circle": ({"sides": "@inferer#roi_size"}, "refers to itself"),
    "nowhere": ({"inferer__roi_size": "@rooms"}, "refers to rooms, which is not there"),
    "whole": ({"inferer": {"_target_": "SimpleInferer"}}, "its inferer is SimpleInferer"),
    "weights of another": ({"network_def__channels": [8, 8, 8]}, "its weights do not fit its network"),
    "outputs": ({"network_def__out_channels": 5}, "5 outputs, its metadata describes 2"),
    "kind": ({"postprocessing": []}, "whether structures exclude each other"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    changes, problem = REFUSED[name]
    with pytest.raises(AnklesegError) as error:
        load_model(bundle(tmp_path / "zoo", **changes))
    said = str(error.value)
    assert problem in said and "zoo" in said and "\n" not in said and error.value.mend
    assert not (tmp_path / "RAN").exists(), "its code was run"


def test_weights_run_nothing(tmp_path: Path):
    folder = bundle(tmp_path / "zoo")

    class Payload:
        def __reduce__(self):
            return Path.touch, (tmp_path / "RAN",)

    torch.save({"model": Payload()}, folder / "models/model.pt")
    with pytest.raises(CheckpointError, match="model.pt: holds more than tensors"):
        load_model(folder)
    assert not (tmp_path / "RAN").exists()
    (folder / "models/model.pt").unlink()
    with pytest.raises(CheckpointError, match="model.pt: does not exist; download the weights"):
        load_model(folder)


def test_only_a_user_can_trust_a_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "theirs.py").write_text("from monai.networks.nets import UNet\nclass Net(UNet):\n    pass\n")
    monkeypatch.syspath_prepend(tmp_path)
    node = {"_target_": "theirs.Net", **NETWORK, "out_channels": 2, "norm": "batch"}
    folder = bundle(tmp_path / "zoo", network_def=node, trust=["theirs"])
    with pytest.raises(CheckpointError, match="refused"):
        load_model(folder)
    with trusting(["theirs"]):
        assert predicted(folder, [scan(tmp_path / "a.nii.gz")])[0].any()
    sys.modules.pop("theirs")
