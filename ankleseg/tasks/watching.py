"""Callbacks by which a training run is watched: a table and a picture on disk, overlays in TensorBoard."""

from __future__ import annotations

import csv
import math
from pathlib import Path
from typing import Any

import numpy as np
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.loggers import TensorBoardLogger

from ankleseg.files import replace_file
from ankleseg.report import overlay, side_by_side, training_curves
from ankleseg.tasks.base import ValidatedCase


class History(Callback):
    """Write ``metrics.csv`` and ``progress.png`` after every epoch; a resumed run goes on with the same table.

    Callbacks with ``marks``, pairs of an epoch and a text, have them drawn.

    Epochs without validation have no validation scores, though Lightning still holds those of an earlier one.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self.rows: list[dict[str, float]] = []
        self._validated = False

    def state_dict(self) -> dict[str, Any]:
        return {"rows": self.rows}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.rows = list(state_dict["rows"])

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._validated = False

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._validated = True

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        # Called before the checkpoint of this epoch is written, so that the row travels in it.
        row: dict[str, float] = {"epoch": trainer.current_epoch, "step": trainer.global_step}
        row |= {
            name: float(value)
            for name, value in trainer.callback_metrics.items()
            if self._validated or not name.startswith("val/")
        }
        row["lr"] = trainer.optimizers[0].param_groups[0]["lr"]
        self.rows.append(row)
        self.folder.mkdir(parents=True, exist_ok=True)
        names = list(dict.fromkeys(name for row in self.rows for name in row))
        with replace_file(self.folder / "metrics.csv") as part, open(part, "w", newline="") as file:
            writer = csv.DictWriter(file, names)
            writer.writeheader()
            writer.writerows(self.rows)
        marks = [mark for callback in trainer.callbacks for mark in getattr(callback, "marks", ())]  # type: ignore
        curves = {name: [row.get(name, math.nan) for row in self.rows] for name in names}
        with replace_file(self.folder / "progress.png") as part:
            part.write_bytes(training_curves(curves, marks))


class LastValidation(Callback):
    """Validate after the last epoch too: a run shorter than ``check_val_every_n_epoch`` has a best checkpoint then."""

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.current_epoch + 1 == trainer.max_epochs and trainer.check_val_every_n_epoch is not None:
            trainer.check_val_every_n_epoch = 1


class CrashCheckpoint(Callback):
    """Write ``crash.ckpt`` when training ends by an error or an interruption.

    Lightning's own callback for this makes the next `fit` resume by itself from whatever checkpoint it finds.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        if trainer.global_step > 0:
            trainer.save_checkpoint(self.folder / "crash.ckpt")


class ValidationOverlays(Callback):
    """Show a slice of every validation volume in TensorBoard.

    Of a segmentation with prediction and reference, of a restoration beside what it became and was to become.
    """

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        case = outputs.get("case") if isinstance(outputs, dict) else None
        if not isinstance(case, ValidatedCase) or not isinstance(trainer.logger, TensorBoardLogger):
            return
        slices = _slices_of(case.inside, case.image, case.prediction, case.reference)
        picture = overlay(*slices, structures=case.structures) if case.structures else side_by_side(*slices)
        trainer.logger.experiment.add_image(f"validation/{case.case}", picture, trainer.global_step, dataformats="HWC")


def _slices_of(inside: np.ndarray, *volumes: np.ndarray) -> list[np.ndarray]:
    """The slice of each volume that holds most of a mask, as it is looked at."""
    index = int(inside.sum(axis=(0, 1)).argmax())
    return [volume[:, ::-1, index].T for volume in volumes]
