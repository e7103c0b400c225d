"""Finding ``conf/`` and composing a configuration as the command line would."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from ankleseg.config.overrides import as_typed
from ankleseg.errors import ConfigError


def conf_dir() -> Path:
    """Folder of the configuration: inside the installed package, or beside it in the source tree."""
    package = Path(__file__).resolve().parents[1]
    for folder in (package / "conf", package.parent / "conf"):
        if folder.is_dir():
            return folder
    raise ConfigError("the configuration folder is missing", file=package / "conf", mend="reinstall ankleseg")


def compose(config_name: str = "train", overrides: Sequence[str] = ()) -> DictConfig:
    """Compose a configuration as the command line would, for notebooks and tests.

    Args:
        config_name: a file of ``conf/`` without its ending: ``train``, ``predict``, …
        overrides: what a user would type, e.g. ``["+experiment=ankle_static_unet", "bone=talus"]``; paths need no
            quotes.
    """
    from hydra import compose as hydra_compose
    from hydra import initialize_config_dir

    register_resolvers()
    with initialize_config_dir(config_dir=str(conf_dir()), version_base="1.3"):
        return hydra_compose(config_name, overrides=as_typed(overrides, config_name))


def run_folder(name: str, resume: str | None, now: str) -> str:
    """Folder of a run: a new one by experiment and time, or the one that is resumed."""
    if not resume:
        return f"runs/{name}/{now}"
    try:
        require_run(Path(resume))
    except ConfigError as error:
        # Hydra makes the folder next, and would show a traceback of any other exception.
        raise SystemExit(f"ankleseg: {error}") from None
    return str(resume)


def require_run(folder: Path) -> None:
    """Refuse a folder that holds no run to resume.

    Raises:
        ConfigError: it lacks ``config.yaml`` or ``checkpoints/last.ckpt``.
    """
    if not (folder / "config.yaml").is_file() or not (folder / "checkpoints" / "last.ckpt").is_file():
        raise ConfigError(
            "holds no run to resume", file=folder, mend="give a folder with config.yaml and checkpoints/last.ckpt"
        )


def label_pairs(structures: Sequence[str], pairs: Sequence[Sequence[str]] | None) -> list[list[int]] | None:
    """Pairs of structures as pairs of labels, counted from 1; a structure that is not there is told later."""
    if pairs is None:
        return None
    return [[structures.index(name) + 1 if name in structures else 0 for name in pair] for pair in pairs]


def last_size(size: Sequence[int], schedule: Sequence[Mapping[str, Any]] | None) -> Sequence[int]:
    """Size of the patches at the end of training: of the last step of the schedule, if there is one."""
    return schedule[-1]["size"] if schedule else size


def register_resolvers() -> None:
    """Make ``${run_folder:…}``, ``${label_pairs:…}`` and ``${last_size:…}`` known to OmegaConf."""
    for resolver in (run_folder, label_pairs, last_size):
        OmegaConf.register_new_resolver(resolver.__name__, resolver, replace=True)
