"""Building what a node of a configuration describes, and nothing that it may not."""

from __future__ import annotations

import functools
import importlib
import inspect
import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf

from ankleseg.config.overrides import literal
from ankleseg.errors import AnklesegError, ConfigError

ALLOWED_PACKAGES = ("ankleseg", "monai", "torch", "pytorch_lightning")

_trusted: ContextVar[tuple[str, ...]] = ContextVar("trusted", default=())


@contextmanager
def trusting(packages: Any) -> Iterator[None]:
    """Let a ``_target_`` name classes and functions of further packages, as long as the context lasts.

    A command enters it with what its user wrote into ``trust``. Nothing that is read from a file, such as a checkpoint,
    a bundle or the configuration of a run that is resumed, may enter it.

    Args:
        packages: names such as ``mypackage`` or ``mylab.networks``, one or a list; None for none.

    Raises:
        ConfigError: a name is not one of a package, or of one that is not the user's own: Python's or an allowed one.
    """
    names = tuple(names_in(packages) or ())
    for name in names:
        is_name = re.fullmatch(r"[^\W\d]\w*(\.[^\W\d]\w*)*", name)
        if not is_name or _is_of_python(name) or _is_in(name, ALLOWED_PACKAGES):
            raise ConfigError(
                f"invalid trust {name!r}: expected the name of a package of your own", mend="e.g. trust=[mypackage]"
            )
    token = _trusted.set(names)
    try:
        yield
    finally:
        _trusted.reset(token)


def resolve_target(target: str) -> Any:
    """Return the class or function that a ``_target_`` names, if it may be built from a configuration.

    The check is on the *resolved* object, so that an alias (``torch.os.system``) does not get through: it must be
    a class defined under one of `ALLOWED_PACKAGES`, a function of ankleseg, or either of a package that the user trusts
    (`trusting`).

    Raises:
        ConfigError: the name does not exist or is not allowed.
    """
    trusted = _trusted.get()
    allowed = ALLOWED_PACKAGES + trusted
    if not _is_in(target, allowed):
        raise ConfigError(f"_target_ {target!r} is refused", mend=_how_to_allow(target))
    found = _locate(target)
    home = getattr(found, "__module__", None) or ""
    is_class = inspect.isclass(found) and _is_in(home, allowed)
    is_function = inspect.isfunction(found) and _is_in(home, ("ankleseg", *trusted))
    if not (is_class or is_function):
        mend = f"name a class of {', '.join(allowed)}"
        raise ConfigError(f"_target_ {target!r} is refused: it is {found!r}", mend=mend)
    return found


def _is_in(name: str, packages: tuple[str, ...]) -> bool:
    return any(f"{name}.".startswith(f"{package}.") for package in packages)


def _is_of_python(name: str) -> bool:
    return name.split(".")[0] in sys.stdlib_module_names


def _how_to_allow(target: str) -> str:
    package = target.split(".")[0]
    mend = f"name a class of {', '.join(ALLOWED_PACKAGES + _trusted.get())}"
    own = package.isidentifier() and "." in target and not _is_of_python(target)
    return f"{mend}, or add trust=[{package}] if you trust that package" if own else mend


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
    mend = "check its spelling"
    if not _is_in(target, ALLOWED_PACKAGES):
        mend += f", and that Python finds {target.split('.')[0]} from the current folder"
    raise ConfigError(f"_target_ {target!r} does not exist", mend=mend)


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
    if isinstance(node, (DictConfig, ListConfig)):
        plain = to_literals(plain)
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


def to_literals(plain: Any) -> Any:
    """Return resolved values for OmegaConf to take as they are: a ``${`` in one of them is text."""
    if isinstance(plain, dict):
        return {key: to_literals(value) for key, value in plain.items()}
    if isinstance(plain, list):
        return [to_literals(value) for value in plain]
    return literal(plain) if isinstance(plain, str) else plain


def names_in(node: Any) -> list[str] | None:
    """Return one name or several as a list, None where none is given; a number is the name it looks like."""
    plain = to_plain(node)
    if plain is None:
        return None
    return [str(name) for name in (plain if isinstance(plain, list) else [plain])]


def _check_targets(node: Any) -> None:
    if isinstance(node, Mapping):
        if "_target_" in node:
            resolve_target(str(node["_target_"]))
        for value in node.values():
            _check_targets(value)
    elif isinstance(node, (list, tuple)):
        for value in node:
            _check_targets(value)
