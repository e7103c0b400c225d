"""A training of a small network on made-up patches that takes a second."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from monai.networks.nets import BasicUNet
from monai.networks.nets import UNet as MonaiUNet
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.callbacks import ModelCheckpoint
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from ankleseg.data import EpochSampler
from ankleseg.finetuning import FreezeSchedule
from ankleseg.networks import FCN, ResNet, UNet
from ankleseg.tasks import polynomial_decay

SIDE = 16
NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "UNet": lambda: UNet(widths=[2, 3, 4]),
    "ResNet": lambda: ResNet(widths=[2, 4], depths=[1, 1]),
    "FCN": lambda: FCN(widths=[2, 3], norm="instance"),
    "MONAI's BasicUNet": lambda: BasicUNet(2, 1, 1, features=(2, 2, 3, 4, 4, 2), norm="batch"),
    "MONAI's UNet": lambda: MonaiUNet(2, 1, 1, channels=(2, 3, 4), strides=(2, 2), num_res_units=1, norm="batch"),
}
OPTIMIZERS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "Adam": partial(torch.optim.Adam, lr=1e-2, weight_decay=1e-2),
    "SGD": partial(torch.optim.SGD, lr=1e-2, momentum=0.9, weight_decay=1e-2),
}


def network_of(name: str = "UNet", seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return NETWORKS[name]()


class Patches(Dataset):
    """Noise, by index ``epoch · length + number``; the same in each epoch."""

    def __init__(self, length: int) -> None:
        self.images = torch.randn(length, 1, SIDE, SIDE, generator=torch.Generator().manual_seed(1))

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Tensor:
        return self.images[index % len(self)]


class Training(LightningModule):
    """A network that is to turn noise into its square."""

    def __init__(self, network: nn.Module, optimizer: str = "Adam", rate: float | None = None) -> None:
        super().__init__()
        self.network = network
        self.make = OPTIMIZERS[optimizer] if rate is None else partial(OPTIMIZERS[optimizer], lr=rate)

    def training_step(self, image: Tensor, batch_idx: int) -> Tensor:
        return (self.network(image) - image.square()).square().mean()

    def configure_optimizers(self) -> Any:
        optimizer = self.make(self.parameters())
        scheduler = polynomial_decay(optimizer, total_steps=int(self.trainer.estimated_stepping_batches))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}


class Watch(Callback):
    """The state of the network before each epoch and after the last, and the rates of its steps."""

    def __init__(self) -> None:
        self.states: list[dict[str, Tensor]] = []
        self.rates: list[float] = []

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.on_train_epoch_end(trainer, pl_module)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        state = pl_module.get_submodule("network").state_dict()
        self.states.append({name: value.clone() for name, value in state.items()})

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Any) -> None:
        self.rates.append(optimizer.param_groups[0]["lr"])


class Killed(Callback):
    """End the training after a number of steps."""

    def __init__(self, steps: int) -> None:
        self.steps = steps

    def on_train_batch_end(self, trainer: Trainer, *others: Any, **more: Any) -> None:
        if trainer.global_step >= self.steps:
            raise RuntimeError("killed")


def fit(
    module: LightningModule,
    schedule: Sequence[dict[str, Any]] | None,
    *others: Callback,
    epochs: int = 4,
    folder: Path | None = None,
    resume: Path | None = None,
    norm_statistics: str = "frozen",
    batches: int = 3,
    **settings: Any,
) -> Watch:
    """Train, with a checkpoint ``last.ckpt`` after each epoch where there is a folder for it."""
    patches = Patches(2 * batches)
    watch = Watch()
    callbacks = [*([] if schedule is None else [FreezeSchedule(schedule, norm_statistics)]), *others, watch]
    if folder is not None:
        callbacks.append(
            ModelCheckpoint(folder, filename="last", save_on_train_epoch_end=True, enable_version_counter=False)
        )
    trainer = Trainer(
        accelerator="cpu", max_epochs=epochs, callbacks=callbacks, logger=False, enable_model_summary=False,
        enable_progress_bar=False, enable_checkpointing=folder is not None,
        use_distributed_sampler=False, **settings,
    )  # fmt: skip
    trainer.fit(module, DataLoader(patches, 2, sampler=EpochSampler(len(patches))), ckpt_path=resume, weights_only=True)
    return watch


def moved(before: dict[str, Tensor], after: dict[str, Tensor]) -> set[str]:
    return {name for name in before if not torch.equal(before[name], after[name])}
