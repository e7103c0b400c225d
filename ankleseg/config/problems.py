"""What Hydra and OmegaConf object to, told in one line with the word that was meant."""

from __future__ import annotations

import difflib
import itertools
import os
import re
import shlex
from collections.abc import Sequence
from typing import Any

from ankleseg.config.composing import compose, conf_dir
from ankleseg.config.overrides import METHODS, OVERRIDE, holds_name, holds_path, parsed, quoted
from ankleseg.config.usage import ADDED, named, names_of, recipe_settings, recipe_with, recipes_of
from ankleseg.errors import ConfigError


def described(error: Exception, overrides: Sequence[str], command: str) -> ConfigError:
    """Return what an exception of Hydra's or OmegaConf's means to who typed the overrides.

    Args:
        error: raised while overrides were parsed, composed or resolved.
        overrides: as typed.
        command: name of the root configuration.
    """
    from hydra.errors import MissingConfigException, OverrideParseException

    lines = str(error).strip().splitlines() or [type(error).__name__]
    if isinstance(error, OverrideParseException):
        return _unreadable(error.override, overrides, command)
    if isinstance(error, MissingConfigException) and error.missing_cfg_file:
        return _unknown_choice(error.missing_cfg_file, error.options or ())
    inside = getattr(error.__cause__, "full_key", None)  # of a mapping that was given as a whole
    if match := re.match(r"Could not override '(.+)'|Could not delete from config. '(.+)' does not exist", lines[0]):
        asked = match[1] or match[2]
        return _unknown_key(asked if _renamed(asked) else inside or asked, overrides, command)
    if (match := re.match("Error merging override (.+?)=(.+)", lines[0])) and "Cannot merge" in _cause(error):
        return ConfigError(
            f"{match[1]}: expected settings, got {match[2]}", mend=f"set one of them: {match[1]}.KEY=VALUE"
        )
    if match := re.match("Override (.+) looks like a config group", lines[0]):
        return _unknown_key(re.split("[=@]", match[1].lstrip("+~"))[0], overrides, command)
    if match := re.match(r"Could not append to config. An item is already at '(.+)'", lines[0]):
        return ConfigError(f"{match[1]} is already set", mend=f"write {match[1]}=… without +")
    if match := re.match("Multiple values for (.+?)\\.", lines[0]):
        return ConfigError(f"{match[1]} is given twice", mend=f"write {match[1]}=… once, and without +")
    if match := re.match("Ambiguous value for argument '(.+)'$", lines[0]):
        return _several_values(match[1])
    if match := re.match("Sweep parameters '(.+)' requires --multirun", lines[0]):
        return ConfigError(f"{match[1]}: a sweep takes several runs", mend="add -m")
    if match := re.match("Interpolation key '(.+)' not found", lines[0]):
        return ConfigError(
            f"{getattr(error, 'full_key', None) or 'a value'}: ${{{match[1]}}} is not a setting",
            mend="correct it, or write \\${ where it is text",
        )
    return ConfigError(f"{lines[0].rstrip('.')}{_cause(error)}")


def _cause(error: Exception) -> str:
    cause = str(error.__cause__ or "").strip().splitlines()
    return f": {cause[0]}" if cause else ""


def _unreadable(override: str, overrides: Sequence[str], command: str) -> ConfigError:
    match = OVERRIDE.fullmatch(override)
    if match and match["name"] in ("cohort", "+cohort") and os.path.lexists(match["value"]):
        return ConfigError(
            f"invalid cohort={match['value']}: expected a kind of cohort", mend=f"write {_root(match['value'])}"
        )
    if match and parsed(quoted(match["value"])) is not None:
        as_text = shlex.quote(f"{match['key']}={quoted(match['value'])}")
        return ConfigError(f"{override}: cannot be read as a value", mend=f"correct it, or write it as text: {as_text}")
    place = overrides.index(override) if override in overrides else 0
    last = OVERRIDE.fullmatch(overrides[place - 1]) if place else None
    if last and "=" not in override and (holds_path(last["name"]) or holds_name(last["name"], command)):
        words = itertools.takewhile(lambda word: "=" not in word, overrides[place:])
        joined = shlex.quote(" ".join([overrides[place - 1], *words]))
        return ConfigError(f"{override}: expected key=value", mend=f"put quotes around a value with blanks: {joined}")
    return ConfigError(f"{override}: expected key=value", mend=f"python -m ankleseg.{command} --help lists the keys")


def _root(path: str) -> str:
    return shlex.quote(f"cohort.root={path}")


def _unknown_choice(missing: str, options: Sequence[str]) -> ConfigError:
    group, _, name = missing.partition("/")
    while (below := name.partition("/"))[0] and below[1] and (conf_dir() / group / below[0]).is_dir():
        group, name = f"{group}/{below[0]}", below[2]
    if group == "cohort" and os.path.lexists(name):
        return ConfigError(f"invalid cohort={name}: expected a kind of cohort", mend=f"write {_root(name)}")
    if not options:
        return ConfigError(f"unknown configuration {missing}", mend="check its spelling")
    close = difflib.get_close_matches(name, options, n=1)
    meant = f"did you mean {close[0]}? Or one of " if close else "choose "
    others = ", ".join(option for option in options if option not in close)
    return ConfigError(f"unknown {named(group)} {name!r}", mend=meant + others)


def _unknown_key(key: str, overrides: Sequence[str], command: str) -> ConfigError:
    if key in ADDED.get(command, ()):
        given = next((text.partition("=")[2] for text in overrides if text.startswith(f"{key}=")), "")
        names = names_of(key)
        if given in names:
            return ConfigError(f"{key} needs a +", mend=f"write +{key}={given}")
        return ConfigError(f"{key} needs a +", mend=f"write +{key}=NAME, where NAME is one of {', '.join(names)}")
    if new := _renamed(key):
        return ConfigError(f"{key} has another name now", mend=f"write {new}")
    if key.startswith("method.") and command in METHODS:
        methods = ", ".join(names_of(METHODS[command]))
        return ConfigError(f"{key} is a setting of a method that has it", mend=f"add method=NAME, one of {methods}")
    if recipe := recipe_with(key, command):
        return ConfigError(f"{key} is a setting of recipe={recipe}", mend=f"add recipe={recipe}, or leave it out")
    own = _keys_of(compose(command))
    if key in own:  # an experiment left out the group that has it
        group = key.partition(".")[0]
        return ConfigError(f"{key} is a setting of a {group} that is chosen", mend=f"add {group}=NAME, or leave it out")
    of_recipes = [name for recipe in recipes_of(command) for name in _keys_of(recipe_settings(command, recipe))]
    if meant := _meant(key, [*own, *of_recipes], command):
        return ConfigError(f"{key} is unknown", mend=f"did you mean {' or '.join(meant)}?")
    return ConfigError(f"{key} is unknown", mend=f"python -m ankleseg.{command} --cfg job lists all keys")


RENAMED = {  # the beginning of a setting as it was, and as it is
    "patches.augmentation.contrast": "augment.contrast=0.2, the largest change of the factor",
    "patches.augmentation.brightness": "augment.brightness=0.4, in prepared intensities",
    "patches.augmentation.noise": "augment.noise=0.16, in prepared intensities",
    "patches.augmentation.left_right_swap": "left_right_pairs=[[NAME,NAME]]",
    "patches.augmentation.": "augment.",
    "patches.augmentation": "augment=NAME, such as augment=none",
    "prepare.foreground.value": "prepare.foreground.threshold",
    "prepare.scaling.low": "prepare.scaling.lower",
    "prepare.scaling.high": "prepare.scaling.upper",
    "prepare.scaling.percentile": "prepare.scaling.upper",
    "task.validation.window": "task.validation.roi_size",
    "task.validation.mode": "task.validation.tiling",
    "task.validation.batch": "task.validation.sw_batch_size",
}


def _renamed(key: str) -> str | None:
    """A setting of an earlier version as it is written now; None where it has no other name."""
    old = next((old for old in RENAMED if key.startswith(old)), None)
    if old is None:
        return None
    rest = key[len(old) :] if RENAMED[old].endswith(".") else ""
    return f"{RENAMED[old]}{rest}" if " " in RENAMED[old] or "=" in RENAMED[old] else f"{RENAMED[old]}{rest}=…"


def _meant(key: str, keys: Sequence[str], command: str) -> Sequence[str]:
    """The keys that come closest to one that does not exist: of one spelling, else of one last word."""
    if command == "train" and key in ("out", "output", "run"):
        return ["hydra.run.dir"]
    if "." not in key and (close := difflib.get_close_matches(key, [k for k in keys if "." not in k], 1, cutoff=0.8)):
        return close
    last = key.rpartition(".")[2]
    same_end = [known for known in keys if known.rpartition(".")[2] == last]
    if 0 < len(same_end) < 4:
        return same_end
    if close := difflib.get_close_matches(key, [*keys, *_groups()], n=1):
        return close
    ends = {known.rpartition(".")[2]: known for known in keys}
    return [ends[end] for end in difflib.get_close_matches(last, ends, n=1, cutoff=0.75)]


def _groups() -> list[str]:
    return sorted(str(path.relative_to(conf_dir())) for path in conf_dir().rglob("*") if path.is_dir())


def _keys_of(node: Any, above: str = "") -> list[str]:
    from omegaconf import DictConfig

    keys: list[str] = []
    for key in node:
        keys.append(f"{above}{key}")
        below = node._get_node(key)
        if isinstance(below, DictConfig) and not (below._is_none() or below._is_missing() or below._is_interpolation()):
            keys += _keys_of(below, f"{above}{key}.")
    return keys


def _several_values(override: str) -> ConfigError:
    key, _, value = override.partition("=")
    as_list, as_text = shlex.quote(f"{key}=[{value}]"), shlex.quote(f"{key}={quoted(value)}")
    return ConfigError(
        f"{override}: several values for one run", mend=f"write a list {as_list}, a text {as_text}, or add -m to sweep"
    )
