"""Classes of a user's own are built where the user trusts their package, and nowhere else."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import ankleseg
from ankleseg.config import build, compose, resolve_target, trusting
from ankleseg.errors import CheckpointError, ConfigError
from ankleseg.predict import main as predict
from ankleseg.train import main as train

PACKAGE = """
import os
import torch
from monai.transforms import MapTransform

class Tiny(torch.nn.Module):
    def __init__(self, in_channels=1, out_channels=1):
        super().__init__()
        self.layer = torch.nn.Conv2d(in_channels, out_channels, 3, padding=1)

    def forward(self, image):
        return self.layer(image)

class Halved(MapTransform):
    def __call__(self, data):
        return {**data, **{key: data[key] / 2 for key in self.key_iterator(data)}}

def tiny(**settings):
    return Tiny(**settings)
"""
EXPERIMENT = """# @package _global_
defaults:
  - override /network: tiny
name: mine
structures: [ball]
"""
NETWORK = "_target_: mylab.Tiny\nin_channels: 1\nout_channels: 1\n"
SHORT = "cohort/split=explicit cohort.split.train=[s0] patches.sampler.size=[16,16] trainer.max_epochs=1".split()
SHORT += "patches.steps_per_epoch=1 patches.batch_size=1 trainer.accelerator=cpu prepare.bring_to_side=null".split()


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> str:
    """A package of the user's, under another name in every test, that Python finds."""
    name = f"lab_{abs(hash(request.node.name))}"
    (tmp_path / f"{name}.py").write_text(PACKAGE)
    monkeypatch.syspath_prepend(tmp_path)
    return name


def test_a_package_is_trusted_by_name_and_for_as_long_as_the_context_lasts(package: str):
    node = {"_target_": f"{package}.Tiny", "out_channels": 2}
    refused = rf"'{package}.Tiny' is refused; name a class of .*, or add trust=\[{package}\] if you trust that package"
    with pytest.raises(ConfigError, match=refused):
        build(node)
    with trusting(package):
        assert build(node).layer.out_channels == build(node | {"_target_": f"{package}.tiny"}).layer.out_channels == 2
        listed = {
            "_target_": "monai.transforms.Compose",
            "transforms": [{"_target_": f"{package}.Halved", "keys": "a"}],
        }
        assert build(listed)({"a": 4.0})["a"] == 2
        for alias in (f"{package}.os.system", f"{package}.os", f"{package}x.Tiny", "os.system"):
            with pytest.raises(ConfigError, match="is refused|does not exist"):
                resolve_target(alias)
        with trusting(None), pytest.raises(ConfigError, match=refused):
            build(node)
    with pytest.raises(ConfigError, match=refused):
        build(node)


@pytest.mark.parametrize("name", ["os", "subprocess.run", "torch", "ankleseg.config", "a b", "../x", "", "1"])
def test_what_is_no_package_of_the_user_is_not_trusted(name: str):
    with (
        pytest.raises(ConfigError, match="invalid trust .*: expected the name of a package of your own"),
        trusting(name),
    ):
        pass


def test_a_network_of_the_user_is_trained_and_predicts_only_where_it_is_trusted(
    tiny_table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "mylab.py").write_text(PACKAGE)
    for name, text in (("experiment/mine", EXPERIMENT), ("network/tiny", NETWORK)):
        (tmp_path / "mine" / name).parent.mkdir(parents=True)
        (tmp_path / "mine" / f"{name}.yaml").write_text(text)
    words = ["+experiment=mine", "--config-dir", "mine", "trust=[mylab]", f"cohort.root={tiny_table}", *SHORT]
    env = os.environ | {"PYTHONPATH": str(Path(ankleseg.__file__).parents[1])}
    command = [sys.executable, "-m", "ankleseg.train", *words, "hydra.run.dir=run"]
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr

    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    asked = [f"input={tiny_table}", "subjects=[s3]", "checkpoint=run", "device=cpu", f"out={tmp_path / 'out'}"]
    with pytest.raises(CheckpointError, match=r"last.ckpt: _target_ 'mylab.Tiny' is refused; .*trust=\[mylab\]"):
        predict(compose("predict", asked))
    with pytest.raises(ConfigError, match="'mylab.Tiny' is refused"):  # whatever its config.yaml says
        train(compose("train", ["resume=run", "run_dir=run"]))
    with trusting("mylab"):
        predict(compose("predict", asked))
    assert list((tmp_path / "out").rglob("*_mask.nii.gz"))
