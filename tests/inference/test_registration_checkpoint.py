"""A checkpoint of a registration: it gives network, preparation and channels back, and predicts no single scan."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from laws import for_all
from small_models import prepared_by, tiles_of

from ankleseg.cohorts import Case
from ankleseg.errors import CheckpointError
from ankleseg.inference import build_network, description, export_bundle, load_model, predict_cases
from ankleseg.inference.model import DESCRIPTION
from ankleseg.labels import Labels
from ankleseg.volumes import write_volume

SIZES = {"widths": [4, 4], "ascending": [4, 4], "last": [4]}
OURS = {"_target_": "ankleseg.networks.VoxelMorph", **SIZES, "integration_steps": 7}
MONAIS = {
    "_target_": "ankleseg.networks.VoxelMorph",
    "backbone": {
        "_target_": "monai.networks.nets.VoxelMorphUNet", "spatial_dims": 3, "in_channels": 2, "unet_out_channels": 4,
        "channels": [4, 4, 4, 4], "final_conv_channels": [4],
    },
}  # fmt: skip


def saved(folder: Path, node: dict) -> tuple[Path, torch.nn.Module]:
    torch.manual_seed(0)
    network = build_network(node).eval()
    preparation = prepared_by("prepare=registration", "prepare.size=[16,16,16]")
    told = description(
        network=node, preparation=preparation, labels=Labels(), channels=["t1"], window=[16, 16, 16]
    )  # fmt: skip
    state = {f"network.{name}": value for name, value in network.state_dict().items()}
    torch.save({"state_dict": state, DESCRIPTION: told}, folder / "model.ckpt")
    return folder / "model.ckpt", network


@for_all("node", [OURS, MONAIS])
def test_it_registers_as_before(node: dict, tmp_path: Path) -> None:
    path, network = saved(tmp_path, node)
    model = load_model(path)
    assert model.registers and model.channels == ("t1",) and model.preparation.spacing == (2, 2, 2)
    pair = torch.rand(1, 2, 16, 12, 9)
    with torch.inference_mode():
        fields = [net.displacement(net(pair), pair.shape[2:]) for net in (network, model.network)]
    assert fields[0].shape == (1, 3, 16, 12, 9)
    torch.testing.assert_close(*fields, atol=1e-6, rtol=1e-4)


def test_it_predicts_nothing_and_says_what_does(tmp_path: Path) -> None:
    path, _ = saved(tmp_path, OURS)
    write_volume(tmp_path / "scan.nii.gz", np.zeros((8, 8, 8), np.float32), np.eye(4))
    case = Case(name="scan", subject="s", channels={"t1": tmp_path / "scan.nii.gz"})
    told = "model.ckpt: registers pairs of scans and cannot predict a single scan"
    mend = "use python -m ankleseg.register checkpoint=.*model.ckpt fixed=SCAN moving=SCAN out=FOLDER"
    with pytest.raises(CheckpointError, match=f"{told}; {mend}"):
        predict_cases([case], [load_model(path)], tmp_path / "out", inferer=tiles_of(16, 16, 16))
    assert not (tmp_path / "out").exists()
    with pytest.raises(CheckpointError, match="registers pairs of scans and cannot become a bundle"):
        export_bundle(path, tmp_path / "bundle")
