"""The folder of a run: its configuration, its manifest, the data it starts from, and how it is resumed."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import logging
import platform
import shlex
import time
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from pytorch_lightning.utilities.rank_zero import rank_zero_only

from ankleseg import __version__
from ankleseg.cohorts import Cohort, Split
from ankleseg.cohorts.files import files_at
from ankleseg.config import build, is_of_phantom, names_in, require_folder, require_run, to_literals, to_plain
from ankleseg.errors import ConfigError
from ankleseg.files import replace_file
from ankleseg.finetuning import file_of

VERSIONED = ("torch", "monai", "pytorch-lightning", "hydra-core", "nibabel", "itk", "numpy", "scipy", "scikit-image")

log = logging.getLogger(__name__)


def resumed(config: DictConfig) -> DictConfig:
    """Return the configuration to run: the stored one of the run that is resumed, else the given one, names as lists.

    A resumed run takes ``trainer.max_epochs`` from the command line, so that it can be made longer.

    Raises:
        ConfigError: the folder holds no run that can be resumed, was written elsewhere or by an earlier version, or a
            new run would overwrite an old one.
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
    if "transforms" not in stored.prepare:
        raise ConfigError(
            "was begun by an earlier version of ankleseg and cannot be resumed",
            file=folder,
            mend="go on with that version, or train anew; its checkpoints can still be used",
        )
    stored.resume = to_literals(str(folder))
    stored.merge_with_dotlist([text for text in _typed() if text.startswith("trainer.max_epochs=")])
    return stored


def _typed() -> list[str]:
    """The settings that the command line gave; none of a run that another program composed."""
    from hydra.core.hydra_config import HydraConfig

    return list(HydraConfig.get().overrides.task) if HydraConfig.initialized() else []


def _list_names(config: DictConfig) -> None:
    """Make lists of the names in a configuration, where one alone may stand without brackets."""
    keys = [(config, "structures"), (config, "images")]
    split = config.cohort.split
    if str(split._target_).endswith(".Explicit"):
        keys += [(split, part) for part in ("train", "validation", "test")]
    for node, key in keys:
        node[key] = names_in(node[key]) or []


def cohort_root(config: DictConfig) -> str | Path:
    """Return where the cohort of a run is; where none is given, say so and make its phantom first.

    Raises:
        ConfigError: there is no phantom, or it cannot be written.
    """
    if config.cohort.root:
        return config.cohort.root
    if not is_of_phantom(config):
        raise ConfigError("cohort.root is missing", mend="add cohort.root=FOLDER or cohort.root=TABLE.csv")
    rank_zero_only(print)("Training on the built-in phantom: cohort.root is not given")
    require_folder(config.cohort.phantom.out, "cohort.phantom.out, or give cohort.root")
    return build(config.cohort.phantom)


class Manifest:
    """``config.yaml`` and ``manifest.json`` of a run: versions, settings as typed, split, inputs, wall time, results.

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
        if checkpoint := OmegaConf.select(config, "init.checkpoint"):
            files.add(file_of(Path(checkpoint)))
        self._file, self._began = run / "manifest.json", began
        begun = bool(config.get("resume")) and self._file.is_file()
        overrides = json.loads(self._file.read_text(encoding="utf-8")).get("overrides") if begun else _typed()
        self._content: dict[str, Any] = {
            "ankleseg": __version__,
            "python": platform.python_version(),
            "versions": {name: importlib.metadata.version(name) for name in VERSIONED},
            "platform": platform.platform(),
            "overrides": overrides or [],
            "seed": config.seed,
            "name": config.get("run_name") or config.name,
            "cohort": str(cohort.root),
            "phantom": is_of_phantom(config),
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
