"""Running a command: the command line is read, the configuration composed, every problem told in one line."""

from __future__ import annotations

import logging
import os
import re
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any, NoReturn

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException

from ankleseg.config.building import trusting
from ankleseg.config.composing import conf_dir
from ankleseg.config.overrides import PATH, as_typed
from ankleseg.config.resolvers import register_resolvers
from ankleseg.config.usage import help_text, recipe_settings, usage
from ankleseg.errors import AnklesegError, ConfigError

FULL_ERROR = "HYDRA_FULL_ERROR"  # set to 1 by a user who wants tracebacks
INTERRUPTED = 130  # exit status of a command that Ctrl+C ended


def require_folder(out: str | Path | None, key: str = "out") -> None:
    """Refuse, before any work, a folder that cannot be made or written; nothing is left of the trial.

    Args:
        out: the folder, which need not exist; None is let through.
        key: what a user sets it by.

    Raises:
        ConfigError: it is a file or lies below one, or no folder can be made in it or in the first folder above it
            that exists.
    """
    if not out:
        return
    out = Path(out)
    above = next((path for path in (out, *out.parents) if os.path.lexists(path)), Path())
    if not above.is_dir():
        what = "is a link that leads nowhere" if above.is_symlink() and not above.exists() else "is a file"
        raise ConfigError(f"{what}, but a folder is expected", file=above, mend=f"choose another {key}")
    try:
        os.rmdir(tempfile.mkdtemp(prefix=".ankleseg-", dir=above))
    except OSError as error:
        where = "be written" if above == out else f"be made in {above.absolute()}"
        problem = f"cannot {where} ({error.strerror or error})"
        raise ConfigError(problem, file=out, mend=f"choose another {key}") from error


def check_kinds(root: Any, config: Any, above: str = "") -> None:
    """Refuse text where the root configuration has settings, a switch or a number.

    Raises:
        ConfigError: naming the first such key.
    """
    for key in root if above else (key for key in root if key not in ("defaults", "hydra")):
        if (
            OmegaConf.is_missing(root, key)
            or OmegaConf.is_interpolation(root, key)
            or OmegaConf.is_missing(config, key)
        ):
            continue
        if key not in config or config[key] is None:  # or it cannot be resolved, which is told when it is asked for
            continue
        meant, given, name = root[key], config[key], f"{above}{key}"
        if isinstance(meant, DictConfig):
            if not isinstance(given, DictConfig):
                raise ConfigError(
                    f"{name}: expected settings, got {given!r}", mend=f"set one of them: {name}.KEY=VALUE"
                )
            check_kinds(meant, given, f"{name}.")
        elif isinstance(meant, bool) and not isinstance(given, bool):
            raise ConfigError(f"{name}: expected true or false, got {given!r}", mend=f"e.g. {name}=true")
        elif isinstance(meant, int | float) and isinstance(given, str):
            raise ConfigError(f"{name}: expected a number, got {given!r}", mend=f"e.g. {name}={meant}")


def _name_paths(config: DictConfig) -> None:
    """Make a number that stands for a path, as ``out=${hydra:job.num}`` gives it, the name it looks like."""
    for key in config:
        if key in PATH and key in config and isinstance(config[key], int | float):
            config[key] = str(config[key])


def run_command(config_name: str, main: Callable[[DictConfig], Any]) -> None:
    """Run a command-line entry point: Hydra parses and composes, a problem of the user's is told in one line."""
    overrides: list[str] = []
    wants_tracebacks = os.environ.get(FULL_ERROR) == "1"
    logging.getLogger("alembic").setLevel(logging.WARNING)  # MONAI imports it where it is there, and it tells so
    try:
        overrides += _read_command_line(config_name)
        register_resolvers()
        failed = _run(config_name, main, wants_tracebacks)
    except AnklesegError as error:
        _stop(str(error))
    except KeyboardInterrupt:
        print("ankleseg: interrupted", file=sys.stderr)
        raise SystemExit(INTERRUPTED) from None
    except Exception as error:
        if wants_tracebacks:
            raise
        _stop(_told_of_composing(error, overrides, config_name))
    if failed:
        raise SystemExit(1)


def _run(config_name: str, main: Callable[[DictConfig], Any], wants_tracebacks: bool) -> bool:
    """Compose and run, once or for every trial of a sweep; tell whether a trial failed."""
    import hydra
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode

    failed: list[DictConfig] = []

    def guarded(config: DictConfig) -> Any:
        try:
            with _as_before(wants_tracebacks), _above_bars():
                _name_paths(config)
                recipe = HydraConfig.get().runtime.choices.get(f"recipe/{config_name}")
                check_kinds(OmegaConf.load(conf_dir() / f"{config_name}.yaml"), config)
                check_kinds(recipe_settings(config_name, recipe), config)
                require_folder(_written(config), "hydra.run.dir" if config_name == "train" else "out")
                with trusting(config.get("trust")):
                    return main(config)
        except (Exception, SystemExit) as error:
            if isinstance(error.__context__, KeyboardInterrupt):  # Lightning makes an exit of it
                raise KeyboardInterrupt from None
            if HydraConfig.get().mode != RunMode.MULTIRUN:
                if isinstance(error, SystemExit) or (wants_tracebacks and not isinstance(error, AnklesegError)):
                    raise
                _stop(_told(error, config_name))
            if not isinstance(error, SystemExit):
                print(f"ankleseg: {_told(error, config_name)}", file=sys.stderr)
            failed.append(config)
            return None  # the sweep goes on, and a sweeper counts a failed trial

    os.environ[FULL_ERROR] = "1"  # so that Hydra raises what it would print
    try:
        hydra.main(version_base="1.3", config_path=str(conf_dir()), config_name=config_name)(guarded)()
    finally:
        if not wants_tracebacks:
            os.environ.pop(FULL_ERROR, None)
    return bool(failed)


@contextmanager
def _as_before(wants_tracebacks: bool) -> Iterator[None]:
    """Give a command, and the processes it starts, the environment that the user has."""
    if not wants_tracebacks:
        os.environ.pop(FULL_ERROR, None)
    try:
        yield
    finally:
        os.environ[FULL_ERROR] = "1"


def _above_bars() -> AbstractContextManager[None]:
    """Print what is logged above a progress bar, not into its line."""
    from tqdm.contrib.logging import logging_redirect_tqdm

    streams = [getattr(handler, "stream", None) for handler in logging.getLogger().handlers]
    return logging_redirect_tqdm() if sys.stdout in streams or sys.stderr in streams else nullcontext()


def _written(config: DictConfig) -> str | None:
    """The folder that a command writes; what is missing or cannot be resolved is told when it is asked for."""
    try:
        return config.get("run_dir") or config.get("out")
    except OmegaConfBaseException:
        return None


def _read_command_line(config_name: str) -> list[str]:
    """Put options before overrides, and overrides as Hydra takes them, into ``sys.argv``; return them as typed."""
    from hydra._internal.utils import get_args_parser

    typed = sys.argv[1:]
    if not typed:
        print(f"{usage(config_name)}\n--help lists all settings", file=sys.stderr)
        raise SystemExit(1)
    parser = get_args_parser()
    parser.error = _refuse_option  # type: ignore[method-assign]
    read = parser.parse_intermixed_args(typed)
    if read.help:
        print(help_text(config_name))
        raise SystemExit(0)
    multirun = read.multirun or any(text.lower() == "hydra.mode=multirun" for text in read.overrides)
    options = [text for text in typed if text not in read.overrides]
    sys.argv[1:] = [*options, *as_typed(read.overrides, config_name, multirun=multirun)]
    return read.overrides


def _refuse_option(message: str) -> NoReturn:
    unknown = message.removeprefix("unrecognized arguments: ")
    if unknown != message:
        option = next((word for word in unknown.split() if word.startswith("-")), unknown)
        raise ConfigError(f"{option}: unknown option", mend="settings are given as key=value, without dashes")
    raise ConfigError(message)


def _stop(said: str) -> NoReturn:
    print(f"ankleseg: {said}", file=sys.stderr)
    raise SystemExit(1) from None


def _told_of_composing(error: Exception, overrides: list[str], config_name: str) -> str:
    """One line for what goes wrong before a command begins: its settings, or the folder that Hydra makes."""
    from hydra.errors import HydraException

    from ankleseg.config.problems import described

    cause: BaseException | None = error
    while cause is not None and not (isinstance(cause, OSError) and cause.filename):
        cause = cause.__cause__ or cause.__context__
    if isinstance(cause, OSError) and not isinstance(error, HydraException):
        return f"{cause.filename}: cannot be written ({cause.strerror}); choose another hydra.run.dir"
    if isinstance(error, HydraException | OmegaConfBaseException):
        return str(described(error, overrides, config_name))
    return _told(error, config_name)


def _told(error: BaseException, config_name: str) -> str:
    """One line for what a command raises; what nobody foresaw goes to the log of the run with its traceback."""
    from ankleseg.config.problems import described

    if isinstance(error, AnklesegError):
        return str(error)
    if isinstance(error, MissingMandatoryValue):
        return f"{error.full_key} is missing; add {error.full_key}=…"
    if isinstance(error, OmegaConfBaseException):
        return str(described(error, [], config_name))
    if isinstance(error, UnicodeEncodeError):
        name = ascii(error.object[max(0, error.start - 20) : error.end + 20])
        return f"a name is not in UTF-8: {name}; rename the file or folder, or set LC_ALL=C.UTF-8"
    _log_to_file(error)
    said = " ".join(f"{type(error).__name__}: {error}".split())
    if isinstance(error, OSError):
        return said.partition(": ")[2]
    if isinstance(error, MemoryError) or re.search("out of memory|allocate memory", said):
        smaller = "choose a smaller patches.batch_size or patches.sampler.size"
        mend = smaller if config_name == "train" else "use a machine with more memory"
        return f"does not fit into memory ({said.partition('. ')[0]}); {mend}"
    where = traceback.extract_tb(error.__traceback__)[-1]
    return (
        f"{said} (unforeseen, in {Path(where.filename).name} line {where.lineno}); "
        f"set {FULL_ERROR}=1 for the traceback, and report it"
    )


def _log_to_file(error: BaseException) -> None:
    """Put the traceback where a run logs to: hours may have gone before it."""
    found = (type(error), error, error.__traceback__)
    record = logging.LogRecord(__name__, logging.ERROR, __file__, 0, "unforeseen", None, found)
    for handler in logging.getLogger().handlers:
        if isinstance(handler, logging.FileHandler):
            handler.handle(record)
