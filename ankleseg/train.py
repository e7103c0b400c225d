"""``python -m ankleseg.train +experiment=…``: compose, check, build, fit, test."""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import TYPE_CHECKING

from ankleseg.config import build, run_command, to_plain
from ankleseg.errors import ConfigError

if TYPE_CHECKING:
    from omegaconf import DictConfig


def main(config: DictConfig) -> float:
    """Train, test on whole volumes, and return the best value of the monitored metric (for sweeps)."""
    from pytorch_lightning import seed_everything
    from pytorch_lightning.loggers import TensorBoardLogger

    from ankleseg.predict import build_network, recipe
    from ankleseg.prepare import at_common_spacing
    from ankleseg.runs import callbacks_of, quiet_libraries, resumed, test, write_manifest

    began = time.time()
    quiet_libraries()
    config = resumed(config)
    run = Path(config.run_dir)
    epochs = config.trainer.get("max_epochs") or -1
    if epochs < 0 and (config.trainer.get("max_steps") or -1) < 0:
        raise ConfigError("the training has no end", mend="set trainer.max_epochs, or trainer.max_steps")
    seed_everything(config.seed, verbose=False)
    root = config.cohort.root or build(config.cohort.phantom)
    cohort = build(config.cohort.load, root, structures=to_plain(config.structures))
    split = build(config.cohort.split)(cohort)
    preparation = build(config.prepare)
    if config.common_spacing:
        preparation = at_common_spacing(preparation, cohort.select(split.train), len(config.window))
    data = build(config.patches, cohort=cohort, split=split, preparation=preparation, seed=config.seed)
    if config.test and split.test and not data.testable:
        raise ConfigError("pairs of scans are not tested by training", mend="set test=false, and predict a test scan")
    node = to_plain(config.network)
    described = recipe(
        network=node,
        preparation=preparation,
        structures=config.structures,
        window=config.window,
        images=config.images,
        postprocessing=to_plain(config.postprocessing),
        slice_axis=data.slice_axis,
        slice_spacing=data.slice_spacing,
    )
    task = build(config.task, network=build_network(node), recipe=described, seed=config.seed)
    task.check_patches(data.patch_sizes, epochs if epochs > 0 else math.inf)
    logger = TensorBoardLogger(run, name="tensorboard", version="")
    trainer = build(config.trainer, callbacks=callbacks_of(config, split), logger=logger)
    if trainer.is_global_zero:
        write_manifest(run, config, cohort, split, began)
    last = run / "checkpoints" / "last.ckpt" if config.resume else None
    trainer.fit(task, data, ckpt_path=last, weights_only=True)
    best = float("nan" if (score := trainer.checkpoint_callback.best_model_score) is None else score)
    if not trainer.is_global_zero:
        return best
    results = {config.monitor: best} if split.validation else {}
    write_manifest(run, config, cohort, split, began, **results)
    if config.test and split.test:
        test(run, cohort.select(split.test), config, device=str(trainer.strategy.root_device))
        write_manifest(run, config, cohort, split, began, **results)
    print(f"{config.monitor} {best:.4f}: {run}" if split.validation else f"no validation: {run}")
    return best


if __name__ == "__main__":
    run_command("train", main)
