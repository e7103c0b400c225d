"""A network begins a registration: with the preparation of its checkpoint, wherever the scans lie."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from heads import AFFINE, drawn_head
from small_models import model_of, prepared_by

from ankleseg.config import compose
from ankleseg.deformable import Descent, Settings, judge, predictor, register
from ankleseg.errors import CheckpointError, ConfigError
from ankleseg.register import network_asked_for, settings_asked_for
from ankleseg.volumes import Volume, reorient


class Shifts(torch.nn.Module):
    """A network that has learnt one thing: the moving image lies two of its voxels farther along its first axis."""

    def __init__(self) -> None:
        super().__init__()
        self.shift = torch.nn.Parameter(torch.tensor([2.0, 0, 0]).view(1, 3, 1, 1, 1))

    def forward(self, pair: torch.Tensor) -> torch.Tensor:
        assert pair.shape[:2] == (1, 2) and pair.min() >= 0 and pair.max() <= 1
        return self.shift.expand(1, 3, *[side // 2 for side in pair.shape[2:]])

    def displacement(self, flow: torch.Tensor, size: tuple[int, ...]) -> torch.Tensor:
        return self.shift.expand(1, 3, *size)


def test_a_network_begins_and_descent_refines():
    """Its voxels are of 4 mm in LPS; 8 mm to the left are found on the working grid, which runs otherwise."""
    image, _ = drawn_head()
    fixed, affine = reorient(image, AFFINE, "SRA")
    prepared = prepared_by("prepare=registration", "prepare.spacing=[4,4,4]", "prepare.orientation=LPS")
    settings = Settings("voxelmorph", alignment="none", descent=Descent(iterations=(0, 0)))
    moved = AFFINE.copy()
    moved[0, 3] -= 8
    found = register(Volume(fixed, affine), Volume(image, moved), settings, predict=predictor(Shifts(), prepared))
    np.testing.assert_allclose(
        found.mapping.on_grid(fixed.shape, affine), np.broadcast_to([-8.0, 0, 0], (*fixed.shape, 3)), atol=1e-3
    )
    assert found.after > 0.95 > found.aligned
    status, reason = judge(replace(found, before=found.aligned + 0.1))  # which a field may hide
    assert status == "suspect" and "the affine part made the scans less alike" in reason


def test_a_network_and_its_method_go_together():
    with pytest.raises(ConfigError, match="method=voxelmorph needs a trained network; add checkpoint=…"):
        network_asked_for(None, Settings("voxelmorph"))
    with pytest.raises(ConfigError, match="method=descent takes no checkpoint; leave out one of them"):
        network_asked_for("run", Settings())
    for words, method in [([], "descent"), (["checkpoint=run"], "voxelmorph")]:
        asked = compose("register", ["fixed=a", "moving=b", "out=c", *words])
        assert settings_asked_for(asked).method == method


@pytest.mark.parametrize("scaling", ["z_score", "min_max"])
@pytest.mark.parametrize("rescaled", [False, True])
def test_the_network_sees_intensities_as_its_preparation_scales_them(scaling: str, rescaled: bool):
    """Whatever their unit, on the grid of the scan, whatever box in the world the training cut out."""
    seen: list[torch.Tensor] = []

    class Watches(Shifts):
        def forward(self, pair: torch.Tensor) -> torch.Tensor:
            seen.append(pair)
            return super().forward(pair.clamp(0, 1))

    image, _ = drawn_head(np.stack(np.meshgrid(*map(np.arange, (72, 60, 64)), indexing="ij"), -1).astype(float))
    image = 7 * image if rescaled else image
    words = ["prepare=registration", "prepare.spacing=[3,3,3]", "prepare.size=[8,8,8]", f"prepare/scaling={scaling}"]
    scan = Volume(image, AFFINE)
    settings = Settings("voxelmorph", alignment="none", descent=Descent(iterations=(0, 0)))
    register(scan, scan, settings, predict=predictor(Watches(), prepared_by(*words)))
    shown = seen[0][0, 1]
    inside = shown[shown != shown[0, 0, 0]]
    assert min(shown.shape) > 20
    if scaling == "z_score":
        assert inside.mean().abs() < 0.1 and inside.std() == pytest.approx(1, abs=0.1), "but for specks of background"
    else:
        assert (shown.min(), shown.max()) == (0, 1)


@pytest.mark.parametrize(
    ("words", "channels", "said"),
    [
        ((), ("t1", "flair"), "registers scans of the channels t1, flair: expected one channel; train with one, as"),
        (
            ("prepare.spacing=null",),
            ("t1",),
            "brings scans to no spacing, so the size of its voxels is not known",
        ),
    ],
)
def test_a_checkpoint_that_does_not_fit_is_refused(words, channels, said: str, monkeypatch: pytest.MonkeyPatch):
    model = model_of(Shifts(), "prepare=registration", "prepare.size=null", *words, channels=channels)
    monkeypatch.setattr("ankleseg.inference.load_model", lambda *_, **__: model)
    with pytest.raises(CheckpointError, match=f"model.ckpt: .*{said}"):
        network_asked_for("run", Settings("voxelmorph"))
