"""A callback that ends the estimation of a network's batch statistics before the end of training."""

from __future__ import annotations

from pytorch_lightning import Callback, LightningModule, Trainer
from torch.nn.modules.batchnorm import _BatchNorm


class FrozenStatistics(Callback):
    """In the last epochs batch norms normalise by their running statistics in training, as they do in prediction.

    The statistics of a few patches are not those of a volume: a network trained by them alone meets others in
    prediction, and an image that is regressed comes out shifted, by another amount at every validation. With frozen
    statistics it learns what it will be asked. The scale and shift of the norms are still trained. A critic is left as
    it is; a run that is stopped early may end before.

    Source: Wu and Johnson 2021, "Rethinking 'Batch' in BatchNorm" (there for the classes of whole images).

    Args:
        share: of the epochs of the run, at its end; the first epoch is never among them. A run without end has none.

    Raises:
        ValueError: the share is not between 0 and 1.
    """

    def __init__(self, share: float) -> None:
        if not 0 <= share <= 1:
            raise ValueError(f"the share of epochs with frozen statistics is {share}, but lies between 0 and 1")
        self.share = share

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        epochs = trainer.max_epochs
        if epochs in (None, -1) or trainer.current_epoch < max(1, epochs - round(self.share * epochs)):
            return
        for module in pl_module.get_submodule("network").modules():
            if isinstance(module, _BatchNorm):
                module.eval()
