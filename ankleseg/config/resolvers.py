"""What ``${name:…}`` gives in a configuration."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from ankleseg.errors import ConfigError


def run_name(name: str, *, _root_: Any) -> str:
    """Name of a run: that of the experiment, which ends in ``_phantom`` where there are no data but the phantom's."""
    return f"{name}_phantom" if is_of_phantom(_root_) else name


def is_of_phantom(config: Any) -> bool:
    """Tell whether a training is on the built-in phantom: nothing else was given, and there is one."""
    cohort = config.cohort
    return not OmegaConf.is_missing(cohort, "root") and not cohort.root and cohort.get("phantom") is not None


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
    """Make ``${run_name:…}``, ``${run_folder:…}``, ``${label_pairs:…}`` and ``${last_size:…}`` known."""
    for resolver in (run_name, run_folder, label_pairs, last_size):
        OmegaConf.register_new_resolver(resolver.__name__, resolver, replace=True)
