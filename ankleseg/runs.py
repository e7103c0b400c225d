"""The folder of a run: its configuration, its manifest, how it is resumed and how it is tested."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import logging
import platform
import time
import warnings
from pathlib import Path

from omegaconf import DictConfig, OmegaConf
from pytorch_lightning import Callback

from ankleseg import __version__
from ankleseg.cohorts import Case, Cohort, Split, load_cohort
from ankleseg.config import build, require_run, to_plain
from ankleseg.errors import ConfigError
from ankleseg.patches import ThickScans
from ankleseg.volumes import replace_file, without_selection

VERSIONED = ("torch", "monai", "pytorch-lightning", "hydra-core", "nibabel", "itk", "numpy", "scipy", "scikit-image")


def resumed(config: DictConfig) -> DictConfig:
    """Return the configuration to run: the stored one of the run that is resumed, else the given one.

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
                mend=f"add resume={config.run_dir}, or choose another folder",
            )
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
    stored.resume = str(folder)
    from hydra.core.hydra_config import HydraConfig

    if HydraConfig.initialized():
        given = [text for text in HydraConfig.get().overrides.task if text.startswith("trainer.max_epochs=")]
        stored.merge_with_dotlist(given)
    return stored


def prepared_in_motion(cohort: str | Path, out: str | Path) -> Path:
    """Prepare the sequences of a cohort, unless they are, and return the folder: what a training on frames starts from.

    Args:
        cohort: folder of static scans with masks and dynamic sequences.
        out: folder of the prepared sequences.

    Raises:
        AnklesegError: as in `ankleseg.prepare.motion.prepare_motion_cohort`.
    """
    from ankleseg.prepare.motion import MotionRecipe, prepare_motion_cohort

    prepare_motion_cohort(cohort, out, MotionRecipe(highres=False))
    return Path(out)


def callbacks_of(config: DictConfig, split: Split) -> list[Callback]:
    """Build the callbacks; without validation subjects those that watch the monitored metric are left out."""
    callbacks = list(build(config.callbacks).values())
    return [c for c in callbacks if split.validation or getattr(c, "monitor", None) != config.monitor]


def write_manifest(run: Path, config: DictConfig, cohort: Cohort, split: Split, began: float, **results: float) -> None:
    """Write ``config.yaml`` and ``manifest.json``: versions, seed, split, hashes of the inputs, wall time, results."""
    run.mkdir(parents=True, exist_ok=True)
    plain = to_plain(config)
    plain["run_dir"] = str(run)
    plain["resume"] = None
    with replace_file(run / "config.yaml") as part:
        part.write_text(OmegaConf.to_yaml(OmegaConf.create(plain)))
    manifest = {
        "ankleseg": __version__,
        "python": platform.python_version(),
        "versions": {name: importlib.metadata.version(name) for name in VERSIONED},
        "platform": platform.platform(),
        "seed": config.seed,
        "cohort": str(cohort.root),
        "split": {"train": split.train, "validation": split.validation, "test": split.test},
        "inputs": _hashes(cohort),
        "began": time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime(began)),
        "wall_seconds": round(time.time() - began, 1),
        "results": results,
    }
    with replace_file(run / "manifest.json") as part:
        part.write_text(json.dumps(manifest, indent=1))


def _hashes(cohort: Cohort) -> dict[str, str]:
    files = {path for case in cohort.cases for path in case.files}
    return {str(path): _sha256(without_selection(path)) for path in sorted(files) if without_selection(path).is_file()}


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def test(run: Path, cohort: Cohort, config: DictConfig, device: str = "cpu") -> None:
    """Predict a cohort with the best checkpoint of a run, and evaluate it, in ``run/test``.

    Where the network was trained on thick scans made of sharp ones, such scans are made of the test cases too, and
    what comes out is compared with the sharp ones.
    """
    from ankleseg.evaluate import evaluate
    from ankleseg.evaluate.quality import evaluate_quality
    from ankleseg.predict import WholeVolume, load_model, predict_cases

    out = run / "test"
    model = load_model(run, device=device)
    thick = build(config.patches.thick) if "thick" in config.patches else None
    predict_cases(
        cohort.cases if thick is None else _thick_cases(cohort, out / "thick", thick, model.preparation.orientation),
        [model],
        out / "predictions",
        whole_volume=WholeVolume(window=model.window),
        postprocessing=model.postprocessing,
        spacing=None if thick is None else model.preparation.spacing,
    )
    if model.images:
        print(evaluate_quality(out / "predictions", cohort, out).describe())
    else:
        print(evaluate(out / "predictions", cohort, out, resampled=thick is not None).describe())


def _thick_cases(cohort: Cohort, out: Path, thick: ThickScans, orientation: str) -> tuple[Case, ...]:
    """Make the typical thick scan of each case."""
    from ankleseg.prepare.thick_cohort import TABLE, write_thick_cohort

    typical = thick.typical()
    write_thick_cohort(cohort.cases, out, typical.low, orientation=orientation, noise=typical.noise)
    return load_cohort(out / TABLE).cases


def quiet_libraries() -> None:
    """Silence advice of libraries that does not hold here: loading worker processes steal the cores of a CPU run."""
    warnings.filterwarnings("ignore", message=".*does not have many workers.*")
    warnings.filterwarnings("ignore", message=".*tensorboardX.*")
    warnings.filterwarnings("ignore", message=".*Checkpoint directory .* exists and is not empty.*")
    warnings.filterwarnings("ignore", message=".*smaller than the logging interval.*")
    warnings.filterwarnings("ignore", message=".*LeafSpec.*is deprecated.*")
    for name in ("pytorch_lightning", "pytorch_lightning.utilities.rank_zero", "alembic"):
        logging.getLogger(name).setLevel(logging.WARNING)
