"""What a shell user types as ``KEY=VALUE``: paths and names arrive in the configuration as they were typed.

Hydra reads every value by a grammar in which ``( ) [ ] { } # ~ , = '`` and letters beyond ASCII have a meaning or none,
and OmegaConf reads ``${…}``. Values of keys that hold a path or a name are quoted here for both, before Hydra sees
them. Lists, sweeps, ``null``, quotes that are already there and interpolations keep their meaning; what exists on disk
as it was typed is a path, whatever else it may look like.
"""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Sequence
from typing import Any

from ankleseg.errors import ConfigError

# the last words of keys that hold one path; of keys that hold one path, a list or a mapping of them
PATH = "input out references root resume run_dir dir subdir folder dirpath default_root_dir masks".split()
PATH += "fixed moving labels source_cohort centreline".split()
PATHS = "checkpoint predictions others".split()
# keys of one name; of one name or several
NAME = "name acquisition cohort.acquisition cohort.split.group evaluate.intracranial".split()
NAMES = "trust group subjects subject structures bones images channels select suffix".split()
NAMES += "cohort.suffix cohort.split.train cohort.split.test".split()
NAMES_OR_NUMBER = "cohort.split.validation"
COUNTS = {"phantoms": ("subjects",)}  # what is a number in one command
METHODS = {"predict": "classical"}  # commands that choose a method=NAME, from conf/classical
RECIPES = ("prepare", "evaluate")  # commands that choose what they do by recipe=NAME, from conf/recipe/COMMAND

OVERRIDE = re.compile(r"(?P<key>\+{0,2}(?P<name>[A-Za-z_$][\w.$-]*))=(?P<value>.*)", re.DOTALL)
FUNCTION = re.compile(r"\s*(choice|range|interval|glob|shuffle|sort|tag|int|float|str|bool)\(.*\)\s*", re.DOTALL)
MAPPING = re.compile(r"\{\s*[^:{}]+:.*\}", re.DOTALL)
BRACKETS = {"[": "]", "{": "}"}


def as_typed(overrides: Sequence[str], command: str, *, multirun: bool = False) -> list[str]:
    """Quote the paths and names in overrides, so that Hydra and OmegaConf leave them as they were typed.

    ``recipe=NAME`` becomes the choice of a recipe of the command, ``method=NAME`` that of a method.

    Args:
        overrides: as typed, e.g. ``input=/data/Mes scans (2)/ankle.nii.gz``.
        command: name of the root configuration: ``train``, ``predict``, …
        multirun: a comma outside brackets then separates the values of a sweep.

    Raises:
        ConfigError: a path is empty, as a shell variable that is not set leaves it, or a name in a mapping holds
            characters that Hydra cannot take.
    """
    return [_as_typed(override, command, multirun) for override in overrides]


def quoted(text: str) -> str:
    """Return a text in quotes, as Hydra's grammar takes it for exactly this text."""
    from hydra.core.override_parser.types import Quote, QuotedString

    return QuotedString(text, Quote.double).with_quotes()


def literal(text: str) -> str:
    """Return a text for OmegaConf to read as exactly this text: every ``${`` in it is escaped."""
    return re.sub(r"(\\*)\$\{", lambda match: f"{match[1] * 2}\\${{", text)


def parsed(text: str) -> Any:
    """Return what Hydra's grammar makes of a value, None where it makes nothing of it."""
    from hydra.errors import HydraException

    try:
        return _parser().parse_override(f"value={text}")._value
    except HydraException:
        return None


@functools.cache
def _parser() -> Any:
    from hydra.core.override_parser.overrides_parser import OverridesParser

    return OverridesParser.create()


def holds_path(key: str) -> bool:
    """Tell whether the value of a key is one path or several."""
    return key.rpartition(".")[2] in (*PATH, *PATHS) or ".masks." in key


def holds_name(key: str, command: str) -> bool:
    """Tell whether the value of a key of a command is one name or several."""
    return key in (*NAME, *NAMES) and key not in COUNTS.get(command, ())


def _as_typed(override: str, command: str, multirun: bool) -> str:
    match = OVERRIDE.fullmatch(override)
    if match and match["key"] == "recipe" and command in RECIPES:
        return f"recipe/{command}={match['value']}"
    if match and match["key"] == "method" and command in METHODS:
        return f"{METHODS[command]}@method={match['value']}"
    if match and holds_path(match["name"]) and match["value"].strip() in ("", "''", '""'):
        raise ConfigError(f"{match['name']} is empty", mend=f"give a path: {match['name']}=PATH")
    if not match or not match["value"] or match["value"].strip().lower() == "null":
        return override
    name, value = match["name"], match["value"]
    is_path = holds_path(name)
    is_name = holds_name(name, command) or (name == NAMES_OR_NUMBER and value.startswith("["))
    if not (is_path or is_name):
        return override
    several = name.rpartition(".")[2] in PATHS or not (is_path or name in NAME)
    is_swept = multirun and not name.startswith("hydra.")  # which Hydra does not sweep over
    return f"{match['key']}={_value(value, name, is_path, several, is_swept)}"


def _value(value: str, name: str, is_path: bool, several: bool, multirun: bool) -> str:
    if is_path and os.path.lexists(value):
        return _element(value, is_path)
    if multirun and _is_sweep(value):
        return value
    if several and _encloses(value.strip()) and (is_path or name == "select" or value.strip()[0] == "["):
        inner = value.strip()[1:-1]
        if value.strip()[0] == "{":
            return "{" + ", ".join(_pair(pair, name, is_path) for pair in _pairs(inner)) + "}"
        return "[" + _elements(inner, is_path) + "]"
    if multirun:
        return _elements(value, is_path)
    if several and not is_path and len(_parts(value, is_path)) > 1 and parsed(value) is not None:
        return f"[{_elements(value, is_path)}]"
    return _element(value, is_path)


def _is_sweep(value: str) -> bool:
    """Tell a sweep that says so, by a function or by several lists, from text with commas."""
    found = parsed(value)
    if FUNCTION.fullmatch(value):
        return found is not None
    return any(isinstance(element, list | dict) for element in getattr(found, "list", ()))


def _encloses(value: str) -> bool:
    """Tell whether the bracket that closes the first one ends the value, or braces hold ``name: …``."""
    if MAPPING.fullmatch(value):
        return True
    closing, depth = BRACKETS.get(value[:1]), 0
    for place, letter in enumerate(value if closing else ""):
        depth += (letter == value[0]) - (letter == closing)
        if not depth:
            return place == len(value) - 1
    return False


def _elements(value: str, is_path: bool) -> str:
    return ",".join(_element(part, is_path) for part in _parts(value, is_path) if part)


def _parts(value: str, is_path: bool) -> list[str]:
    """Split at commas, but not inside quotes, nor inside a path that exists."""
    pieces, parts = value.split(","), []
    while pieces:
        for count in range(len(pieces), 0, -1):
            part = ",".join(pieces[:count])
            is_one = (is_path and os.path.lexists(os.path.expanduser(part.strip()))) or _is_quoted(part)
            if count == 1 or is_one:
                has_blanks = is_path and os.path.lexists(part) and not os.path.lexists(part.strip())
                parts.append(part if has_blanks else part.strip())
                del pieces[:count]
                break
    return parts


def _pairs(value: str) -> list[str]:
    """Split at the commas that a ``name:`` follows."""
    pairs: list[str] = []
    for piece in value.split(",") if value.strip() else ():
        if ":" in piece or not pairs:
            pairs.append(piece)
        else:
            pairs[-1] += f",{piece}"
    return pairs


def _pair(pair: str, name: str, is_path: bool) -> str:
    from hydra._internal.grammar.utils import escape_special_characters

    key, colon, value = pair.partition(":")
    key = key.strip()
    if not colon or not key or parsed(f"{{{(escaped := escape_special_characters(key))}: 0}}") is None:
        raise ConfigError(
            f"{name}: invalid pair {pair.strip()!r}: expected name:value, with a name of ASCII letters and digits",
            mend=f"write '{name}={{first:{'DIR' if is_path else 'VALUE'}}}'",
        )
    return f"{escaped}: {_element(value.strip(), is_path)}"


def _is_quoted(text: str) -> bool:
    from hydra.core.override_parser.types import QuotedString

    return text.strip()[:1] in ("'", '"') and isinstance(parsed(text), QuotedString)


def _element(text: str, is_path: bool) -> str:
    """One path or name: as it is where Hydra takes it for just that, else quoted."""
    if is_path and os.path.lexists(text):
        return _plain_or_quoted(literal(text))
    if _is_quoted(text):
        return text
    if is_path and text[:1] == text[-1:] == '"' and os.path.lexists(text[1:-1]):  # as Lightning hands on a run's folder
        text = text[1:-1]
    elif is_path:
        meant = parsed(text)  # with Hydra's own backslashes before what has a meaning
        if isinstance(meant, str) and meant != text and os.path.lexists(meant):
            return text
        text = os.path.expanduser(text)
    return _plain_or_quoted(text if _is_interpolated(text) and not _below_existing(text, is_path) else literal(text))


def _is_interpolated(text: str) -> bool:
    from omegaconf.errors import GrammarParseError
    from omegaconf.grammar_parser import parse

    try:
        return "${" in text and bool(parse(text))
    except GrammarParseError:
        return False


def _below_existing(text: str, is_path: bool) -> bool:
    """Tell whether a ``${`` is part of a folder that exists, so that it is no interpolation."""
    folder = os.path.dirname(text)
    return is_path and "${" in folder and os.path.lexists(folder)


def _plain_or_quoted(text: str) -> str:
    found = parsed(text)
    return text if isinstance(found, str) and found == text and "\\" not in text else quoted(text)
