"""Laws of restoration: it learns its target, tells how near it came, and trains the loss's own parameters."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from torch import nn
from torch.utils.data import DataLoader

from ankleseg import keys
from ankleseg.inference import VolumeInferer
from ankleseg.labels import Labels
from ankleseg.losses import CorrelationWeighted, MeanSquaredError
from ankleseg.report import side_by_side
from ankleseg.tasks import Restoration, ValidatedCase

OPTIMIZER = partial(torch.optim.Adam, lr=0.1)


class Affine(nn.Module):
    """One gain and one offset."""

    divisor = 1

    def __init__(self, gain: float = 1.0, offset: float = 0.0) -> None:
        super().__init__()
        self.layer = nn.Conv2d(1, 1, 1)
        nn.init.constant_(self.layer.weight, gain)
        nn.init.constant_(self.layer.bias, offset)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer(x)


def task_of(network: nn.Module, loss: nn.Module | None = None, **settings) -> Restoration:
    return Restoration(
        network=network,
        loss=loss or MeanSquaredError(),
        labels=Labels(images=["restored"]),
        validation=VolumeInferer((8, 8), tiling="slices"),
        optimizer=OPTIMIZER,
        **settings,
    )


class PairsInMemory(pl.LightningDataModule):
    """Images, and 2 · image − 1 as their targets; half of a validation image is scored, more of it is foreground."""

    def __init__(self, volumes: int = 2) -> None:
        super().__init__()
        rng = np.random.default_rng(0)
        self.images = torch.from_numpy(rng.normal(size=(24, 1, 8, 8)).astype(np.float32))
        self.correlation = torch.linspace(0.2, 1, 24)
        self.volumes = torch.from_numpy(rng.normal(size=(volumes, 1, 8, 8, 3)).astype(np.float32))

    def train_dataloader(self):
        batches = [
            {
                keys.IMAGE: self.images[n : n + 8],
                keys.TARGET: 2 * self.images[n : n + 8] - 1,
                keys.CORRELATION: self.correlation[n : n + 8],
            }
            for n in (0, 8, 16)
        ]
        return DataLoader(batches, batch_size=None)

    def val_dataloader(self):
        label, foreground = torch.zeros(1, 1, 8, 8, 3), torch.zeros(1, 1, 8, 8, 3, dtype=torch.bool)
        label[:, :, :4], foreground[:, :, :6] = 2, True
        batches = [
            {
                keys.IMAGE: volume[None],
                keys.TARGET: 2 * volume[None] - 1,
                keys.LABEL: label.long(),
                keys.FOREGROUND: foreground,
                keys.CASE: [f"case {number}"],
            }
            for number, volume in enumerate(self.volumes)
        ]
        return DataLoader(batches, batch_size=None)


def trainer_in(folder: Path, **settings) -> pl.Trainer:
    return pl.Trainer(
        accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, default_root_dir=folder, num_sanity_val_steps=0, **settings,
    )  # fmt: skip


def validated(task: Restoration, folder: Path, data: pl.LightningDataModule | None = None) -> dict[str, float]:
    trainer = trainer_in(folder)
    trainer.validate(task, data or PairsInMemory(), verbose=False)
    return {name: float(value) for name, value in trainer.callback_metrics.items()}


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_it_learns_its_target(tmp_path: Path) -> None:
    task = task_of(Affine())
    before = validated(task, tmp_path)
    trainer = trainer_in(tmp_path, max_epochs=24, check_val_every_n_epoch=24)
    trainer.fit(task, PairsInMemory())
    weight, bias = (float(parameter) for parameter in task.network.parameters())
    assert (weight, bias) == pytest.approx((2, -1), abs=0.1)
    after = trainer.callback_metrics
    assert set(after) == {*before, "train/loss"}
    assert after["val/psnr"] > before["val/psnr"] + 5
    assert float(after["val/psnr_input"]) == before["val/psnr"], "untrained, it gave its image"


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_parameters_of_the_loss_are_trained(tmp_path: Path) -> None:
    loss = CorrelationWeighted(weight="learnt")
    before = [parameter.item() for parameter in loss.parameters()]
    task = task_of(Affine(), loss)
    trainer_in(tmp_path, max_epochs=2, limit_val_batches=0).fit(task, PairsInMemory())
    assert all(now.item() != then for now, then in zip(loss.parameters(), before, strict=True))
    assert {"loss.tenth_of_slope", "loss.centre"} <= set(task.state_dict())


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_measures_by_hand(tmp_path: Path) -> None:
    """Output image + 0.5 where the target is 2 · image − 1: a correlation of 1, and an error of image − 1.5."""
    data = PairsInMemory()
    found = validated(task_of(Affine(1, 0.5)), tmp_path, data)
    scored = data.volumes[:, :, :4]
    errors = (scored - 1.5).square().flatten(1).mean(1)
    inputs = (scored - 1).square().flatten(1).mean(1)
    assert found["val/correlation"] == pytest.approx(1, abs=1e-6)
    assert found["val/psnr"] == pytest.approx(float((10 * torch.log10(9 / errors)).mean()), abs=1e-4)
    assert found["val/psnr_input"] == pytest.approx(float((10 * torch.log10(9 / inputs)).mean()), abs=1e-4)
    higher = validated(task_of(Affine(1, 0.5), peak=30.0), tmp_path, data)
    assert higher["val/psnr"] == pytest.approx(found["val/psnr"] + 20, abs=1e-4)


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_structures_count_alike_however_large(tmp_path: Path) -> None:
    class TwoStructures(PairsInMemory):
        def val_dataloader(self):
            (batch,) = list(super().val_dataloader())
            batch[keys.LABEL][:, :, :1] = 1
            return DataLoader([batch], batch_size=None)

    data = TwoStructures(volumes=1)
    found = validated(task_of(Affine(1, 0.5)), tmp_path, data)
    parts = [data.volumes[:, :, :1], data.volumes[:, :, 1:4]]
    expected = [float(10 * torch.log10(9 / (part - 1.5).square().mean())) for part in parts]
    assert found["val/psnr"] == pytest.approx(np.mean(expected), abs=1e-4)


class Batched(nn.Module):
    """An image, less its mean over the batch in training."""

    divisor = 1

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.norm(x)


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_validation_uses_what_the_norms_learnt_not_the_image_at_hand(tmp_path: Path) -> None:
    """The published tests did not switch to evaluation: batch norms then took the statistics of the test image."""
    network = Batched()
    network.norm.running_mean.fill_(5.0)
    data = PairsInMemory()
    found = validated(task_of(network), tmp_path, data)
    scored = data.volumes[:, :, :4]
    errors = (scored - 5 - (2 * scored - 1)).square().flatten(1).mean(1)
    assert found["val/psnr"] == pytest.approx(float((10 * torch.log10(9 / errors)).mean()), abs=1e-3)


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_checkpoint_holds_the_description_and_repeats_the_measure(tmp_path: Path) -> None:
    described = {"images": ["restored"], "structures": []}
    task = task_of(Affine(1.7, -0.4), description=described)
    trainer = trainer_in(tmp_path, max_epochs=1)
    trainer.fit(task, PairsInMemory())
    trainer.save_checkpoint(tmp_path / "kept.ckpt")
    content = torch.load(tmp_path / "kept.ckpt", weights_only=True)
    assert content["ankleseg"] == described
    again = task_of(Affine())
    again.load_state_dict(content["state_dict"])
    assert validated(again, tmp_path)["val/psnr"] == validated(task, tmp_path)["val/psnr"]


def test_a_picture_shows_image_restored_target_and_difference() -> None:
    rng = np.random.default_rng(0)
    target = rng.normal(size=(20, 30)).astype(np.float32)
    picture = side_by_side(0 * target, target, target)
    assert picture.shape == (20, 4 * 30 + 3 * 4, 3) and picture.dtype == np.uint8
    panels = [picture[:, n * 34 : n * 34 + 30, 0] for n in range(4)]
    assert np.array_equal(panels[1], panels[2]) and len(np.unique(panels[0])) == 1
    assert (panels[3] == 127).all(), "grey where nothing differs"
    assert side_by_side(target, target, target, spacing=(2.0, 1.0)).shape == (40, 132, 3)


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_validation_gives_what_the_picture_needs(tmp_path: Path) -> None:
    task = task_of(Affine(2, -1))
    shown: list[ValidatedCase] = []

    class Keep(pl.Callback):
        def on_validation_batch_end(self, trainer, module, outputs, *_) -> None:
            shown.append(outputs["case"])

    trainer_in(tmp_path, callbacks=[Keep()]).validate(task, PairsInMemory(), verbose=False)
    assert [case.case for case in shown] == ["case 0", "case 1"]
    case = shown[0]
    assert case.inside.sum() == 4 * 8 * 3
    np.testing.assert_allclose(case.prediction[case.inside], case.reference[case.inside], atol=1e-5)
