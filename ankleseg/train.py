"""``python -m ankleseg.train +experiment=…``: compose, check, build, fit, test."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

from ankleseg.config import build, run_command, to_plain

if TYPE_CHECKING:
    from omegaconf import DictConfig


def main(config: DictConfig) -> float:
    """Train, test on whole volumes, and return the best value of the monitored metric (for sweeps)."""
    from pytorch_lightning import seed_everything
    from pytorch_lightning.loggers import TensorBoardLogger

    from ankleseg.cohorts import load_cohort
    from ankleseg.predict import build_network, recipe
    from ankleseg.prepare import at_common_spacing
    from ankleseg.runs import quiet_libraries, resumed, test, write_manifest

    began = time.time()
    quiet_libraries()
    config = resumed(config)
    run = Path(config.run_dir)
    seed_everything(config.seed, verbose=False)
    root = config.cohort.root or build(config.cohort.phantom)
    cohort = load_cohort(root, structures=to_plain(config.structures), suffix=config.cohort.suffix)
    split = build(config.cohort.split)(cohort)
    preparation = build(config.prepare)
    if config.common_spacing:
        preparation = at_common_spacing(preparation, cohort.select(split.train), len(config.window))
    data = build(config.patches, cohort=cohort, split=split, preparation=preparation, seed=config.seed)
    network = build_network(to_plain(config.network))
    described = recipe(
        network=to_plain(config.network),
        preparation=preparation,
        structures=cohort.structures,
        window=to_plain(config.window),
        channels=config.network.in_channels,
    )
    task = build(config.task, network=network, recipe=described, seed=config.seed)
    trainer = build(
        config.trainer,
        callbacks=list(build(config.callbacks).values()),
        logger=TensorBoardLogger(run, name="tensorboard", version=""),
    )
    write_manifest(run, config, cohort, split, began)
    trainer.fit(task, data, ckpt_path=run / "checkpoints" / "last.ckpt" if config.resume else None)
    best = float(trainer.checkpoint_callback.best_model_score or float("nan"))
    if config.test and split.test:
        test(run, cohort.select(split.test))
    write_manifest(run, config, cohort, split, began, **{config.monitor: best})
    print(f"{config.monitor} {best:.4f}: {run}")
    return best


if __name__ == "__main__":
    run_command("train", main)
