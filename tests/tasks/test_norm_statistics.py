"""In the last epochs batch norms normalise in training as in prediction, and are still trained."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from torch import Tensor, nn
from torch.utils.data import DataLoader

from ankleseg.tasks import FrozenStatistics


class Normed(LightningModule):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.network = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Dropout(0.5))
        self.dropping: list[bool] = []

    def training_step(self, image: Tensor) -> Tensor:
        self.dropping.append(self.network[2].training)
        return (self.network(image) - 3).square().mean()

    def validation_step(self, image: Tensor) -> None:
        self.network(image)

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.1)


class Watch(Callback):
    """The state of the network before the first epoch and after each."""

    def __init__(self) -> None:
        self.states: list[dict[str, Tensor]] = []

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.on_train_epoch_end(trainer, pl_module)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.states.append({name: value.clone() for name, value in pl_module.network.state_dict().items()})


def states(epochs: int, share: float) -> list[dict[str, Tensor]]:
    """Before and after each epoch of a training that is validated after each."""
    torch.manual_seed(1)
    images = torch.randn(8, 1, 6, 6) * 2 + 5
    watch, module = Watch(), Normed()
    Trainer(
        accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, max_epochs=epochs, callbacks=[FrozenStatistics(share), watch],
    ).fit(module, DataLoader(images, 4), DataLoader(images, 4))  # fmt: skip
    assert all(module.dropping)
    return watch.states


def moved(before: dict[str, Tensor], after: dict[str, Tensor], name: str) -> bool:
    return not torch.equal(before[name], after[name])


@pytest.mark.parametrize(
    ("epochs", "share", "frozen"), [(5, 0.4, 2), (10, 0.25, 2), (4, 0.0, 0), (3, 1.0, 2), (1, 0.4, 0)]
)
def test_statistics_stay_in_the_last_epochs_while_all_weights_move(epochs: int, share: float, frozen: int):
    found = states(epochs, share)
    assert len(found) == epochs + 1
    for epoch in range(epochs):
        before, after = found[epoch], found[epoch + 1]
        for name in ("1.running_mean", "1.running_var", "1.num_batches_tracked"):
            assert moved(before, after, name) == (epoch < epochs - frozen), f"{name} in epoch {epoch}"
        for name in ("0.weight", "1.weight", "1.bias"):
            assert moved(before, after, name), f"{name} in epoch {epoch}"


def test_a_run_without_end_has_none():
    module = Normed()
    for epochs, frozen in ((-1, False), (None, False), (9, True)):
        trainer: Any = SimpleNamespace(max_epochs=epochs, current_epoch=8)
        FrozenStatistics(1.0).on_train_epoch_start(trainer, module.train())
        assert module.network[1].training is not frozen


@pytest.mark.parametrize("share", [-0.1, 1.5])
def test_a_share_outside_its_range_is_refused(share: float):
    with pytest.raises(ValueError, match="between 0 and 1"):
        FrozenStatistics(share)
