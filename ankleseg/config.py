"""Finding ``conf/``, composing a configuration, building a node safely, running a command."""

from __future__ import annotations

import functools
import importlib
import inspect
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import MissingMandatoryValue

from ankleseg.errors import AnklesegError, ConfigError

ALLOWED_PACKAGES = ("ankleseg", "monai", "torch", "pytorch_lightning")


def conf_dir() -> Path:
    """Folder of the configuration: inside the installed package, or beside it in the source tree."""
    package = Path(__file__).resolve().parent
    for folder in (package / "conf", package.parent / "conf"):
        if folder.is_dir():
            return folder
    raise ConfigError("the configuration folder is missing", file=package / "conf", mend="reinstall ankleseg")


def compose(config_name: str = "train", overrides: Sequence[str] = ()) -> DictConfig:
    """Compose a configuration as the command line would, for notebooks and tests.

    Args:
        config_name: a file of ``conf/`` without its ending: ``train``, ``predict``, …
        overrides: what a user would type, e.g. ``["+experiment=ankle_static_unet", "bone=talus"]``.
    """
    from hydra import compose as hydra_compose
    from hydra import initialize_config_dir

    register_resolvers()
    with initialize_config_dir(config_dir=str(conf_dir()), version_base="1.3"):
        return hydra_compose(config_name, overrides=list(overrides))


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


def outputs(structures: Sequence[str], images: Sequence[str] = ()) -> int:
    """Output channels of a network: its images, then a sigmoid for one structure or a softmax with background."""
    return len(images) + (len(structures) if len(structures) < 2 else len(structures) + 1)


def count(*groups: Sequence[str]) -> int:
    """How many names there are in some lists."""
    return sum(map(len, groups))


def last_size(size: Sequence[int], schedule: Sequence[Mapping[str, Any]] | None) -> Sequence[int]:
    """Size of the patches at the end of training: of the last step of the schedule, if there is one."""
    return schedule[-1]["size"] if schedule else size


def register_resolvers() -> None:
    """Make ``${run_folder:…}``, ``${outputs:…}``, ``${count:…}`` and ``${last_size:…}`` known to OmegaConf."""
    for resolver in (run_folder, outputs, count, last_size):
        OmegaConf.register_new_resolver(resolver.__name__, resolver, replace=True)


def resolve_target(target: str) -> Any:
    """Return the class or function that a ``_target_`` names, if it may be built from a configuration.

    The check is on the *resolved* object, so that an alias (``torch.os.system``) does not get through: it must be
    a class defined under one of `ALLOWED_PACKAGES`, or a function of ankleseg.

    Raises:
        ConfigError: the name does not exist or is not allowed.
    """
    if target.split(".")[0] not in ALLOWED_PACKAGES:
        raise ConfigError(f"_target_ {target!r} is refused", mend=f"name a class of {', '.join(ALLOWED_PACKAGES)}")
    found = _locate(target)
    home = (getattr(found, "__module__", None) or "").split(".")[0]
    is_class = inspect.isclass(found) and home in ALLOWED_PACKAGES
    is_own_function = inspect.isfunction(found) and home == "ankleseg"
    if not (is_class or is_own_function):
        raise ConfigError(
            f"_target_ {target!r} is refused: it is {found!r}",
            mend=f"name a class of {', '.join(ALLOWED_PACKAGES)}",
        )
    return found


def _locate(target: str) -> Any:
    parts = target.split(".")
    for length in range(len(parts) - 1, 0, -1):
        module_name = ".".join(parts[:length])
        try:
            found: Any = importlib.import_module(module_name)
        except ModuleNotFoundError as error:
            if error.name and not module_name.startswith(error.name):
                raise
            continue
        try:
            return functools.reduce(getattr, parts[length:], found)
        except AttributeError:
            break
    raise ConfigError(f"_target_ {target!r} does not exist", mend="check its spelling")


def build(node: Any, *args: Any, **kwargs: Any) -> Any:
    """Build what a configuration node describes (Hydra's ``instantiate``) after checking every ``_target_`` in it.

    Args:
        node: a mapping with ``_target_`` and the arguments of that class; nodes may nest. Anything that is not a
            mapping or a list is returned as it is.
        args, kwargs: further arguments of the outermost class.

    Raises:
        ConfigError: a ``_target_`` is unknown or refused, a value is missing, or the class does not take the arguments.
    """
    from hydra.errors import InstantiationException
    from hydra.utils import instantiate

    if isinstance(node, DictConfig) and (missing := sorted(OmegaConf.missing_keys(node))):
        raise ConfigError(f"{missing[0]} is missing", mend=f"add {missing[0]}=…")
    plain = to_plain(node)
    if not isinstance(plain, (dict, list)):
        return plain
    _check_targets(plain)
    try:
        if not (args or kwargs):
            return instantiate(plain, _convert_="all")
        # Hydra would turn dataclass arguments into configurations; a partial call leaves them what they are.
        return instantiate(plain, _partial_=True, _convert_="all")(*args, **kwargs)
    except (InstantiationException, TypeError) as error:
        cause = error.__cause__ or error
        if isinstance(cause, AnklesegError):
            raise cause from None
        raise ConfigError(
            f"cannot build {plain.get('_target_') if isinstance(plain, dict) else 'the list'}: {cause}",
            mend="check its arguments in the configuration",
        ) from error


def to_plain(node: Any) -> Any:
    """Return a configuration node as resolved dictionaries, lists and numbers."""
    return OmegaConf.to_container(node, resolve=True) if isinstance(node, (DictConfig, ListConfig)) else node


def names_in(node: Any) -> list[str] | None:
    """Return one name or several as a list, None where none is given."""
    plain = to_plain(node)
    return [plain] if isinstance(plain, str) else plain


def _check_targets(node: Any) -> None:
    if isinstance(node, Mapping):
        if "_target_" in node:
            resolve_target(str(node["_target_"]))
        for value in node.values():
            _check_targets(value)
    elif isinstance(node, (list, tuple)):
        for value in node:
            _check_targets(value)


def _require_folder(out: str | None) -> None:
    """Refuse, before any work, an output folder that is a file or would lie below one; raises ConfigError."""
    for path in (Path(out), *Path(out).parents) if out else ():
        if path.is_file():
            raise ConfigError("is a file, where a folder is to be", file=path, mend="choose another out")


def run_command(config_name: str, main: Callable[[DictConfig], Any]) -> None:
    """Run a command-line entry point: Hydra parses and composes, a problem of the user's is told in one line."""
    import hydra
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode

    register_resolvers()

    def guarded(config: DictConfig) -> Any:
        try:
            _require_folder(config.get("out"))
            return main(config)
        except (AnklesegError, MissingMandatoryValue) as error:
            said = f"{error.full_key} is missing; add {error.full_key}=…" if hasattr(error, "full_key") else error
            print(f"ankleseg: {said}", file=sys.stderr)
            if HydraConfig.get().mode == RunMode.MULTIRUN:
                return None  # the sweep goes on, and a sweeper counts a failed trial
            raise SystemExit(1) from None

    decorate = hydra.main(version_base="1.3", config_path=str(conf_dir()), config_name=config_name)
    decorate(guarded)()
