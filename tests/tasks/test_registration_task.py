"""Laws of learning to register: it learns, by images, labels or both; scores are those worked by hand."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from laws import for_all
from torch import nn
from torch.utils.data import DataLoader

from ankleseg import keys
from ankleseg.errors import ConfigError
from ankleseg.labels import Labels
from ankleseg.losses import Diffusion, LocalCorrelation, RegistrationLoss
from ankleseg.networks import VoxelMorph
from ankleseg.tasks import Registration, ValidatedCase

SHAPE = (16, 16, 16)
MM = (2.0, 1.0, 1.0)


class Shift(nn.Module):
    """The same displacement everywhere, learnt; one channel or several."""

    divisor, downsizing, in_channels = 1, 1, 1

    def __init__(self, *voxels: float) -> None:
        super().__init__()
        self.voxels = nn.Parameter(torch.tensor(voxels or (0.0, 0.0, 0.0)))

    def forward(self, pair: torch.Tensor) -> torch.Tensor:
        return self.voxels.reshape(1, 3, 1, 1, 1).expand(len(pair), 3, *pair.shape[2:])

    def displacement(self, flow: torch.Tensor, size) -> torch.Tensor:
        return flow


def batch(shift: int = 2, labels: bool = True) -> dict:
    """A ball in the fixed scan that lies two voxels farther along the first axis in the moving one."""
    places = torch.stack(torch.meshgrid(*[torch.arange(n, dtype=torch.float32) for n in SHAPE], indexing="ij"))
    near = ((places - torch.tensor([7.0, 7.5, 7.5]).reshape(3, 1, 1, 1)) ** 2).sum(0)
    image, label = torch.exp(-near / 12)[None, None], (near < 12).long()[None, None]
    truth = torch.zeros(1, 3, *SHAPE)
    truth[:, 0] = shift
    found = {
        keys.IMAGE: image, keys.MOVING: image.roll(shift, 2), keys.DISPLACEMENT: truth,
        keys.FOREGROUND: near[None, None] < 30, keys.AFFINE: torch.diag(torch.tensor([*MM, 1.0]))[None],
        keys.LABEL: label, keys.MOVING_LABEL: label.roll(shift, 2), keys.CASE: ["b_to_a"],
    }  # fmt: skip
    if not labels:
        found[keys.LABEL], found[keys.MOVING_LABEL] = 0 * label, 0 * label
    return found


def loss_of(similarity: nn.Module | None = None, **weights: float) -> RegistrationLoss:
    return RegistrationLoss(similarity or nn.MSELoss(), Diffusion(), **weights)


def task_of(network: nn.Module, structures: tuple[str, ...] = ("ball",), **settings) -> Registration:
    settings = {"loss": loss_of(), "optimizer": partial(torch.optim.Adam, lr=0.1)} | settings
    return Registration(network=network, labels=Labels(structures=structures), **settings)


def trainer_in(folder: Path, **settings) -> pl.Trainer:
    return pl.Trainer(
        accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, default_root_dir=folder, num_sanity_val_steps=0, **settings,
    )  # fmt: skip


def fitted(task: Registration, folder: Path, steps: int = 45, **more) -> Registration:
    data = DataLoader([batch(**more)] * steps, batch_size=None)
    trainer_in(folder, max_epochs=1, limit_val_batches=0).fit(task, data)
    return task


def validated(task: Registration, folder: Path, **more) -> dict[str, float]:
    trainer = trainer_in(folder)
    trainer.validate(task, DataLoader([batch() | more], batch_size=None), verbose=False)
    return {name: float(value) for name, value in trainer.callback_metrics.items()}


@pytest.mark.filterwarnings("ignore::UserWarning")
@for_all(
    "settings",
    [
        {},
        {"loss": loss_of(LocalCorrelation(5), smoothness_weight=1.0)},
        {"loss": loss_of(similarity_weight=0.0), "dice_weight": 1.0},
        {"inverse_weight": 0.0, "dice_weight": 0.01},
    ],
)
def test_it_learns_by_images_by_labels_and_by_both(settings: dict, tmp_path: Path) -> None:
    task = fitted(task_of(Shift(), **settings), tmp_path)
    np.testing.assert_allclose(task.network.voxels.detach().numpy(), [2, 0, 0], atol=0.25)


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_scores_by_hand(tmp_path: Path) -> None:
    found = validated(task_of(Shift(1.0, 0.0, 0.0)), tmp_path)
    assert found["val/target_error"] == pytest.approx(2.0) and found["val/target_error_input"] == pytest.approx(4.0)
    assert found["val/folding"] == 0 and found["val/input_dice"] < found["val/dice"] < 1
    assert found["val/similarity_input"] < found["val/similarity"] < 0
    right = validated(task_of(Shift(2.0, 0.0, 0.0)), tmp_path)
    assert right["val/target_error"] == 0 and right["val/dice"] == right["val/dice_ball"] == 1
    assert right["val/similarity"] == pytest.approx(0, abs=1e-5)


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_where_no_field_and_no_structure_is_known_none_is_scored(tmp_path: Path) -> None:
    sample = batch()
    del sample[keys.DISPLACEMENT]
    trainer = trainer_in(tmp_path)
    trainer.validate(task_of(Shift(), structures=()), DataLoader([sample], batch_size=None), verbose=False)
    assert set(trainer.callback_metrics) == {"val/similarity", "val/similarity_input", "val/folding"}


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_structures_that_are_left_out_do_not_count_wherever_they_are(tmp_path: Path) -> None:
    """The ball is all that differs; without it there is nothing to gain by moving."""
    task = task_of(Shift(), leave_out=["ball"])
    sample = batch()
    sample[keys.IMAGE], sample[keys.MOVING] = (sample[key] * (sample[other] > 0) for key, other in (
        (keys.IMAGE, keys.LABEL), (keys.MOVING, keys.MOVING_LABEL)))  # fmt: skip
    task.log = lambda *_, **__: None  # type: ignore[method-assign]
    assert float(task.training_step(sample, 0)) < 1e-12 < float(task_of_logged(Shift()).training_step(sample, 0))


def task_of_logged(network: nn.Module) -> Registration:
    task = task_of(network)
    task.log = lambda *_, **__: None  # type: ignore[method-assign]
    return task


def test_the_penalty_on_a_velocity_is_twice_as_heavy_as_published() -> None:
    image, flow = torch.rand(1, 1, *SHAPE), torch.rand(1, 3, 8, 8, 8)
    loss = loss_of(smoothness_weight=0.5)
    assert float(loss(image, image, flow, downsizing=2)) == pytest.approx(float(Diffusion()(flow)))
    assert VoxelMorph(integration_steps=7).downsizing == 2 and VoxelMorph().downsizing == 1


def test_the_way_back_counts_where_asked() -> None:
    task = task_of_logged(Shift(1.0, 0.0, 0.0))
    plain = float(task.training_step(batch(), 0))
    task.inverse_weight = 1.0
    assert float(task.training_step(batch(), 0)) - plain == pytest.approx(4.0), "there and back misses two voxels"


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_network_learns_and_its_checkpoint_repeats_its_scores(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = VoxelMorph(widths=(8, 8), ascending=(8, 8), last=(8,), integration_steps=4)
    task = task_of(network, optimizer=partial(torch.optim.Adam, lr=5e-3), description={"format": 2})
    before = validated(task, tmp_path)["val/target_error"]
    trainer = trainer_in(tmp_path, max_epochs=1, limit_val_batches=0)
    trainer.fit(task, DataLoader([batch()] * 100, batch_size=None))
    after = validated(task, tmp_path)
    assert after["val/target_error"] < 0.6 * before and after["val/dice"] > 0.9
    trainer.save_checkpoint(tmp_path / "kept.ckpt")
    again = task_of(VoxelMorph(widths=(8, 8), ascending=(8, 8), last=(8,), integration_steps=4))
    again.load_state_dict(torch.load(tmp_path / "kept.ckpt", weights_only=True)["state_dict"])
    assert validated(again, tmp_path) == after


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_validation_gives_what_the_picture_needs(tmp_path: Path) -> None:
    shown: list[ValidatedCase] = []

    class Keep(pl.Callback):
        def on_validation_batch_end(self, trainer, module, outputs, *_) -> None:
            shown.append(outputs["case"])

    trainer = trainer_in(tmp_path, callbacks=[Keep()])
    trainer.validate(task_of(Shift(2.0, 0.0, 0.0)), DataLoader([batch()], batch_size=None), verbose=False)
    (case,) = shown
    assert case.case == "b_to_a" and not case.structures
    np.testing.assert_allclose(case.prediction[case.inside], case.reference[case.inside], atol=1e-5)
    assert not np.allclose(case.image[case.inside], case.reference[case.inside], atol=0.1)


@for_all(
    ("settings", "message"),
    [
        ({"dice_weight": -1}, "invalid task.dice_weight -1: expected 0 or more"),
        ({"dice_weight": 1, "structures": ()}, r"the Dice of labels needs structures; name them by structures=\[…\]"),
        ({"leave_out": ["tumour"]}, "invalid task.leave_out: tumour is not among the structures"),
    ],
)
def test_a_wrong_setting_is_named(settings: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        task_of(Shift(), **settings)


def test_patches_of_another_number_of_dimensions_are_refused() -> None:
    task = task_of(VoxelMorph(widths=(8,), ascending=(8,), last=(8,)))
    with pytest.raises(ConfigError, match="invalid patches of 2 sides, network of 3 dimensions: expected 3 of both"):
        task.check_patches([(0, (16, 16))])
