"""The folder of a run: its configuration, its manifest, how it is resumed and how it is tested."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import logging
import math
import os
import platform
import shlex
import time
import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from pytorch_lightning import Trainer
from pytorch_lightning.loggers import TensorBoardLogger
from pytorch_lightning.plugins.environments import LightningEnvironment
from pytorch_lightning.utilities.exceptions import MisconfigurationException

from ankleseg import __version__
from ankleseg.cohorts import Case, Cohort, Split, load_cohort
from ankleseg.cohorts.files import files_at
from ankleseg.cohorts.prepared import preparation_of
from ankleseg.config import build, names_in, require_folder, require_run, to_literals, to_plain
from ankleseg.data.base import PatchData
from ankleseg.errors import ConfigError
from ankleseg.labels import Labels
from ankleseg.transforms import Preparation, RandThickSlicesd
from ankleseg.volumes import replace_file

VERSIONED = ("torch", "monai", "pytorch-lightning", "hydra-core", "nibabel", "itk", "numpy", "scipy", "scikit-image")

ONE_TASK = "start one task (srun --ntasks=1), or set trainer.devices and trainer.num_nodes to those of the job"

log = logging.getLogger(__name__)


def resumed(config: DictConfig) -> DictConfig:
    """Return the configuration to run: the stored one of the run that is resumed, else the given one, names as lists.

    A resumed run takes ``trainer.max_epochs`` from the command line, so that it can be made longer.

    Raises:
        ConfigError: the folder holds no run that can be resumed, was written elsewhere, or a new run would overwrite an
            old one.
    """
    if not config.resume:
        if (Path(config.run_dir) / "checkpoints").exists():
            raise ConfigError(
                "holds a run already",
                file=config.run_dir,
                mend=f"add {shlex.quote(f'resume={config.run_dir}')}, or choose another folder",
            )
        _list_names(config)
        return config
    folder = Path(config.resume)
    require_run(folder)
    stored = OmegaConf.load(folder / "config.yaml")
    assert isinstance(stored, DictConfig)
    if Path(stored.run_dir).resolve() != folder.resolve():
        raise ConfigError(
            f"was written as {stored.run_dir}, where it would go on",
            file=folder,
            mend="move it back, or resume that folder",
        )
    stored.resume = to_literals(str(folder))
    from hydra.core.hydra_config import HydraConfig

    if HydraConfig.initialized():
        given = [text for text in HydraConfig.get().overrides.task if text.startswith("trainer.max_epochs=")]
        stored.merge_with_dotlist(given)
    return stored


def _list_names(config: DictConfig) -> None:
    """Make lists of the names in a configuration, where one alone may stand without brackets."""
    keys = [(config, "structures"), (config, "images")]
    split = config.cohort.split
    if str(split._target_).endswith(".Explicit"):
        keys += [(split, part) for part in ("train", "validation", "test")]
    for node, key in keys:
        node[key] = names_in(node[key]) or []


def cohort_root(config: DictConfig) -> str | Path:
    """Return where the cohort of a run is; where none is given, its phantom is made first.

    Raises:
        ConfigError: the phantom cannot be written.
    """
    if config.cohort.root:
        return config.cohort.root
    require_folder(config.cohort.phantom.out, "cohort.phantom.out, or give cohort.root")
    return build(config.cohort.phantom)


def epochs_of(config: DictConfig) -> float:
    """Number of epochs of a run, infinite where only the steps are counted.

    Raises:
        ConfigError: neither is.
    """
    epochs = config.trainer.get("max_epochs") or -1
    if epochs < 0 and (config.trainer.get("max_steps") or -1) < 0:
        raise ConfigError("the training has no end", mend="set trainer.max_epochs, or trainer.max_steps")
    return epochs if epochs > 0 else math.inf


def labels_of(config: DictConfig, cohort: Cohort) -> Labels:
    """What the network of a run is asked for; structures are regions where the cohort says so, or the configuration."""
    return Labels(
        structures=config.structures,
        regions=bool(config.structures) and (cohort.regions if config.regions is None else config.regions),
        images=config.images,
        pairs=to_plain(config.left_right_pairs),
    )


def with_sizes(config: DictConfig, channels: Sequence[str], labels: Labels) -> DictConfig:
    """The configuration with the input and output channels of its networks, where these take them."""
    sizes = {
        "network": {"in_channels": len(channels), "out_channels": labels.outputs},
        "discriminator": {"in_channels": labels.values},
    }
    for name, counts in sizes.items():
        for key, count in counts.items():
            if name in config and key in config[name]:
                config[name][key] = count
    return config


def described(config: DictConfig, preparation: Preparation, data: PatchData) -> dict[str, Any]:
    """What a checkpoint says of how its network is to be used (see `ankleseg.inference.description`).

    A network that was trained on a cohort as ``python -m ankleseg.prepare`` wrote it wants scans that are prepared so.
    """
    from ankleseg.inference import description

    nodes = None if preparation.nodes else preparation_of(data.cohort.root)
    return description(
        network=to_plain(config.network),
        preparation=preparation if nodes is None else Preparation(nodes),
        labels=data.labels,
        channels=data.channels,
        window=config.window,
        postprocessing=to_plain(config.postprocessing),
        slice_axis=data.slice_axis,
        slice_spacing=data.slice_spacing,
    )


def trainer_of(config: DictConfig, split: Split) -> Trainer:
    """Build the trainer of a run; without validation subjects the callbacks that watch the metric are left out.

    Raises:
        ConfigError: Lightning refuses its settings, or what a cluster says of them.
    """
    callbacks = list(build(config.callbacks).values())
    kept = [c for c in callbacks if split.validation or getattr(c, "monitor", None) != config.monitor]
    logger = TensorBoardLogger(config.run_dir, name="tensorboard", version="")
    tasks = slurm_tasks()
    alone = {"plugins": [LightningEnvironment()]} if tasks == 0 and not config.trainer.get("plugins") else {}
    tasks = max(tasks, 1)
    try:
        trainer = build(config.trainer, callbacks=kept, logger=logger, **alone)
    except (MisconfigurationException, RuntimeError, ValueError) as error:
        mend = "check trainer.accelerator, trainer.devices and trainer.strategy"
        raise ConfigError(
            f"the trainer cannot be built: {str(error).rstrip('.!')}", mend=mend if tasks == 1 else ONE_TASK
        ) from error
    if tasks not in (1, trainer.world_size):
        raise ConfigError(f"srun started {tasks} tasks, each of which would train the whole run", mend=ONE_TASK)
    return trainer


def slurm_tasks() -> int:
    """Number of processes that SLURM started as one training: 1 where there is no SLURM.

    0 where a job was given tasks that ``srun`` did not start, as in an interactive shell: this process is then alone,
    whatever the variables of the job say.
    """
    tasks = os.environ.get("SLURM_NTASKS")
    if tasks is None or "TORCHELASTIC_RUN_ID" in os.environ:
        return 1
    is_started = "SLURM_PROCID" in os.environ and os.environ.get("SLURM_STEP_NUM_TASKS", "1") == tasks
    return int(tasks) if is_started else 0


class Manifest:
    """``config.yaml`` and ``manifest.json`` of a run: versions, seed, split, inputs, wall time, results.

    Size and time of change of every input are noted when training begins, its hash when all is done, so that nothing
    waits for it.

    Args:
        run: folder of the run.
        config: what is run.
        cohort: its files are the inputs.
        split: who is in which part.
        began: seconds since the epoch.
    """

    def __init__(self, run: Path, config: DictConfig, cohort: Cohort, split: Split, began: float) -> None:
        run.mkdir(parents=True, exist_ok=True)
        plain = to_plain(config) | {"run_dir": str(run), "resume": None}
        with replace_file(run / "config.yaml") as part:
            part.write_text(OmegaConf.to_yaml(OmegaConf.create(to_literals(plain))), encoding="utf-8")
        files = {file for case in cohort.cases for path in case.files for file in files_at(path)}
        self._file, self._began = run / "manifest.json", began
        self._content: dict[str, Any] = {
            "ankleseg": __version__,
            "python": platform.python_version(),
            "versions": {name: importlib.metadata.version(name) for name in VERSIONED},
            "platform": platform.platform(),
            "seed": config.seed,
            "cohort": str(cohort.root),
            "split": {"train": split.train, "validation": split.validation, "test": split.test},
            "inputs": {str(path): _state(path) for path in sorted(files) if path.is_file()},
            "began": time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime(began)),
        }
        self.write()

    def write(self, **results: float) -> None:
        """Write ``manifest.json`` with the results so far."""
        self._content |= {"wall_seconds": round(time.time() - self._began, 1), "results": results}
        with replace_file(self._file) as part:
            part.write_text(json.dumps(self._content, indent=1), encoding="utf-8")

    def add_hashes(self) -> None:
        """Hash the inputs; one that is not what it was when training began gets ``changed`` instead, and a warning."""
        for name, noted in self._content["inputs"].items():
            path = Path(name)
            if path.is_file() and _state(path) == noted:
                with path.open("rb") as file:
                    noted["sha256"] = hashlib.file_digest(file, "sha256").hexdigest()
            else:
                noted["changed"] = True
                log.warning("%s: changed while the run read it", path)
        self.write(**self._content["results"])


def _state(path: Path) -> dict[str, Any]:
    found = path.stat()
    return {"bytes": found.st_size, "modified": found.st_mtime}


def test(run: Path, cohort: Cohort, config: DictConfig, device: str = "cpu") -> None:
    """Predict a cohort with the best checkpoint of a run, and evaluate it, in ``run/test``.

    Where the network was trained on thick scans made of sharp ones, such scans are made of the test cases too, and
    what comes out is compared with the sharp ones.
    """
    from ankleseg.evaluate import evaluate
    from ankleseg.evaluate.quality import evaluate_quality
    from ankleseg.inference import VolumeInferer, load_model, predict_cases

    out = run / "test"
    model = load_model(run, device=device)
    if preparation_of(cohort.root) is not None:
        model = replace(model, preparation=Preparation(to_plain(config.prepare.transforms)))
    thick = build(config.patches.thick) if "thick" in config.patches else None
    cases = cohort.cases if thick is None else _thick_cases(cohort, out / "thick", thick, config.prepare.orientation)
    predict_cases(
        cases,
        [model],
        out / "predictions",
        inferer=VolumeInferer(roi_size=model.window),
        postprocessing=model.postprocessing,
        spacing=None if thick is None else model.preparation.spacing,
    )
    if model.labels.images:
        print(evaluate_quality(out / "predictions", cohort, out).describe())
    else:
        resampled = thick is not None or config.resample_masks  # references on other grids, as in training
        print(evaluate(out / "predictions", cohort, out, resampled=resampled).describe())


def _thick_cases(cohort: Cohort, out: Path, thick: RandThickSlicesd, orientation: str) -> tuple[Case, ...]:
    """Make the typical thick scan of each case."""
    from ankleseg.data.thick_cohort import TABLE, write_thick_cohort

    typical = thick.typical()
    write_thick_cohort(cohort.cases, out, typical.low, orientation=orientation, noise=typical.noise)
    return load_cohort(out / TABLE).cases


def quiet_libraries() -> None:
    """Silence advice of libraries that does not hold here: loading worker processes steal the cores of a CPU run."""
    warnings.filterwarnings("ignore", message=".*does not have many workers.*")
    warnings.filterwarnings("ignore", message=".*tensorboardX.*")
    warnings.filterwarnings("ignore", message=".*Total length of .* across ranks is zero.*")  # no validation, as asked
    warnings.filterwarnings("ignore", message=".*Checkpoint directory .* exists and is not empty.*")
    warnings.filterwarnings("ignore", message=".*smaller than the logging interval.*")
    warnings.filterwarnings("ignore", message=".*LeafSpec.*is deprecated.*")
    for name in ("pytorch_lightning", "pytorch_lightning.utilities.rank_zero", "alembic"):
        logging.getLogger(name).setLevel(logging.WARNING)
