"""``python -m ankleseg.train +experiment=…``: compose, check, build, fit, test."""

from __future__ import annotations

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

    from ankleseg import runs

    began = time.time()
    runs.quiet_libraries()
    config = runs.as_source(runs.resumed(config))
    run = Path(config.run_dir)
    epochs = runs.epochs_of(config)
    seed_everything(config.seed, verbose=False)
    cohort = build(config.cohort.load, runs.cohort_root(config), structures=to_plain(config.structures))
    split = build(config.cohort.split)(cohort)
    labels = runs.labels_of(config, cohort)
    training = cohort.select(split.train)
    preparation = runs.prepared_by(config, training, labels)
    made = {"cohort": cohort, "split": split, "preparation": preparation, "labels": labels, "seed": config.seed}
    data = runs.data_of(config, **made)
    if config.test and split.test and not data.testable:
        raise ConfigError("pairs of scans are not tested by training", mend="set test=false, and predict a test scan")
    config = runs.with_sizes(config, data.channels, labels)
    network = runs.begun(config, preparation, epochs)
    runs.warn_of_norms(config, network, epochs)
    about = runs.description_of(config, preparation, data, training)
    task = build(config.task, network=network, labels=labels, description=about, seed=config.seed)
    task.check_patches(data.patch_sizes, epochs)
    trainer = runs.trainer_of(config, split)
    manifest = runs.Manifest(run, config, cohort, split, began) if trainer.is_global_zero else None
    last = run / "checkpoints" / "last.ckpt" if config.resume else None
    trainer.fit(task, data, ckpt_path=last, weights_only=True)
    score = getattr(trainer.checkpoint_callback, "best_model_score", None)
    best = float("nan" if score is None else score)
    if manifest is None:
        return best
    manifest.write(**({config.monitor: best} if split.validation else {}))
    device = str(trainer.strategy.root_device)
    with runs.precision_of(trainer):
        if config.test and split.test:
            runs.test(run, cohort.select(split.test), config, device)
        runs.report_forgetting(run, config, device)
    manifest.add_hashes()
    print(f"{config.monitor} {best:.4f}: {run}" if split.validation else f"no validation: {run}")
    return best


if __name__ == "__main__":
    run_command("train", main)
