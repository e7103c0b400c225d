"""The validation loop that all tasks share: whole volumes, the rule for empty masks, regions, and what is shown."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.loggers import TensorBoardLogger
from torch import nn
from torch.utils.data import DataLoader

from ankleseg import keys
from ankleseg.inference import VolumeInferer
from ankleseg.labels import Labels
from ankleseg.report import overlay
from ankleseg.tasks import Segmentation, ValidatedCase, ValidationOverlays

REGIONS = Labels(structures=["whole", "core"], regions=True)
EXCLUSIVE = Labels(structures=["rim", "core"])


class Brightness(nn.Module):
    """Logits that rise or fall with the brightness of a voxel."""

    divisor = 1

    def __init__(self, gains: list[float], offsets: list[float]) -> None:
        super().__init__()
        self.layer = nn.Conv2d(1, len(gains), 1)
        self.layer.weight.data = torch.tensor(gains, dtype=torch.float32).reshape(-1, 1, 1, 1)
        self.layer.bias.data = torch.tensor(offsets, dtype=torch.float32)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer(x)


def task(labels: Labels, network: nn.Module) -> Segmentation:
    return Segmentation(
        network=network, labels=labels, validation=VolumeInferer((8, 8), tiling="slices"),
        loss=nn.BCEWithLogitsLoss(), optimizer=partial(torch.optim.Adam, lr=0.1),
    )  # fmt: skip


def volume(brightness: np.ndarray, labels: Labels, **more: torch.Tensor) -> dict:
    """A batch of one: whole (bright 1 and 2) and core (2), or rim and core."""
    whole, core = brightness > 0, brightness > 1
    label = labels.label(dict(zip(labels.structures, (whole if labels.regions else whole & ~core, core), strict=True)))
    image = torch.from_numpy(brightness.astype(np.float32))[None, None]
    everywhere = torch.ones(image.shape, dtype=torch.bool)
    return {
        keys.CASE: ["x"], keys.IMAGE: image, keys.LABEL: torch.from_numpy(label)[None], keys.FOREGROUND: everywhere,
    } | more  # fmt: skip


def nested(core: bool = True) -> np.ndarray:
    brightness = np.zeros((8, 8, 3))
    brightness[1:7, 1:7] = 1
    brightness[3:5, 3:5] = 1 + core
    return brightness


def validated(module: Segmentation, batches: list[dict], folder: Path, **settings) -> dict[str, float]:
    trainer = pl.Trainer(
        accelerator="cpu", enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
        default_root_dir=folder, **({"logger": False} | settings),
    )  # fmt: skip
    trainer.validate(module, DataLoader(batches, batch_size=None), verbose=False)
    return {name: float(value) for name, value in trainer.callback_metrics.items()}


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_regions_are_learnt_scored_and_shown(tmp_path: Path):
    module = task(REGIONS, Brightness([0.1, -0.1], [0.0, 0.0]))
    batch = volume(nested(), REGIONS)
    slices = {key: batch[key][0].movedim(-1, 0) for key in (keys.IMAGE, keys.LABEL)}
    slices[keys.LABEL] = slices[keys.LABEL].float()
    shown: list[ValidatedCase] = []

    class Keep(pl.Callback):
        def on_validation_batch_end(self, trainer, module, outputs, *_) -> None:
            shown.append(outputs["case"])

    assert validated(module, [batch], tmp_path)["val/dice"] < 0.7
    trainer = pl.Trainer(
        accelerator="cpu", max_epochs=1, logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, limit_val_batches=0, default_root_dir=tmp_path,
    )  # fmt: skip
    trainer.fit(module, DataLoader(150 * [slices], batch_size=None))
    logger = TensorBoardLogger(tmp_path)
    pictures: list[np.ndarray] = []
    logger.experiment.add_image = lambda name, picture, *_, **__: pictures.append(picture)
    found = validated(module, [batch], tmp_path, callbacks=[Keep(), ValidationOverlays()], logger=logger)
    assert found == {"val/dice_whole": 1, "val/dice_core": 1, "val/dice": 1}
    (case,) = shown
    assert case.case == "x" and case.structures == ("whole", "core") and case.inside.sum() == 36 * 3
    assert np.array_equal(case.prediction, nested()) and np.array_equal(case.reference, nested())
    drawn = [volume[:, ::-1, 0].T for volume in (case.image, case.prediction, case.reference)]
    assert np.array_equal(pictures[0], overlay(*drawn, structures=case.structures))


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_what_does_not_apply_is_in_no_mean_and_what_is_missed_or_invented_counts_as_nothing(tmp_path: Path):
    bright = {REGIONS: Brightness([9, 9], [-4.5, -13.5]), EXCLUSIVE: Brightness([0, 9, 18], [0, -4.5, -18])}
    for labels, network in bright.items():
        first, second = labels.structures
        module = task(labels, network)
        both, without = volume(nested(), labels), volume(nested(core=False), labels)
        assert validated(module, [both, without], tmp_path) == {
            f"val/dice_{first}": 1, f"val/dice_{second}": 1, "val/dice": 1,
        }  # fmt: skip
        invented = dict(both, **{keys.LABEL: without[keys.LABEL]})
        found = validated(module, [both, invented], tmp_path)
        assert found[f"val/dice_{second}"] == 0.5
        assert found["val/dice"] == pytest.approx((found[f"val/dice_{first}"] + 0.5) / 2)
        unknown = dict(invented, **{keys.KNOWN: torch.tensor([[True, False]])})
        assert validated(module, [both, unknown], tmp_path)[f"val/dice_{second}"] == 1
        nothing = dict(both, **{keys.KNOWN: torch.tensor([[False, False]])})
        assert validated(module, [nothing], tmp_path) == {"val/dice": 0}
