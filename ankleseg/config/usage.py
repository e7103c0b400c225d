"""What a command says of itself: its usage, its settings with their comments, the groups it is composed of."""

from __future__ import annotations

import re
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from ankleseg.config.composing import conf_dir
from ankleseg.config.overrides import METHODS, RECIPES

ADDED = {"train": ("experiment", "budget", "bone")}  # groups that are added by +group=name


def usage(command: str) -> str:
    """Return how a command is called: the comment that its root configuration begins with."""
    lines = (conf_dir() / f"{command}.yaml").read_text(encoding="utf-8").splitlines()
    head = [line.removeprefix("# ") for line in lines if line.startswith("# python")]
    lines = [f"usage: {head[0]}", *(f"       {line}" for line in head[1:])]
    if command in ADDED:
        lines.append(f"experiments: {', '.join(names_of('experiment'))}")
    return "\n".join(lines)


def help_text(command: str) -> str:
    """Return usage, settings and groups of a command."""
    text = (conf_dir() / f"{command}.yaml").read_text(encoding="utf-8")
    groups = re.findall(r"^  - ([\w/]+): (\w+)", text, flags=re.MULTILINE)
    lines = [
        usage(command).partition("\nexperiments")[0],
        "",
        "Config: set any of these by key=value; ??? has to be given",
        "",
        _settings(text),
    ]
    for recipe in recipes_of(command):
        text_of_recipe = _recipe_file(command, recipe).read_text(encoding="utf-8")
        groups += re.findall(r"^  - /(\w+): (\w+)", text_of_recipe, flags=re.MULTILINE)
        about = text_of_recipe.splitlines()[1].removeprefix("# ")
        lines += ["", f"With recipe={recipe}: {about}", *(["", found] if (found := _settings(text_of_recipe)) else [])]
    choices = [_choices(f"{named(group)}={chosen}", group) for group, chosen in groups]
    choices += [_choices("method=null", METHODS[command])] if command in METHODS else []
    choices += [_choices(f"+{group}=…", group) for group in ADDED.get(command, ())]
    if choices:
        lines += ["", "Groups: choose by group=name, and set what they hold by group.key=value", "", *choices]
    lines += ["", f"With --cfg job added, python -m ankleseg.{command} … prints all that it would use."]
    return "\n".join(lines)


def recipes_of(command: str) -> list[str]:
    """Return the recipes that a command has."""
    return names_of(f"recipe/{command}") if command in RECIPES else []


def recipe_with(key: str, command: str) -> str | None:
    """Return the recipe of a command that has a setting, such as ``motion.decay``; None where none has it."""
    for recipe in recipes_of(command):
        node = recipe_settings(command, recipe)
        groups = [str(group).strip("/") for default in node.get("defaults", ()) for group in default]
        if key.split(".")[0] in groups or OmegaConf.select(node, key, default=node) is not node:
            return recipe
    return None


def recipe_settings(command: str, recipe: str | None) -> DictConfig:
    """Return what the file of a recipe of the package holds; nothing for a recipe of the user's own."""
    file = _recipe_file(command, recipe or "")
    found = OmegaConf.load(file) if file.is_file() else OmegaConf.create()
    assert isinstance(found, DictConfig)
    return found


def named(group: str) -> str:
    """Return what a user writes for a group: ``recipe`` for the recipes of any command, ``method`` for its methods."""
    return "recipe" if group.startswith("recipe/") else "method" if group in METHODS.values() else group


def _recipe_file(command: str, recipe: str) -> Path:
    return conf_dir() / "recipe" / command / f"{recipe}.yaml"


def _settings(text: str) -> str:
    """Return the settings that a root file or a recipe holds, with their comments."""
    blocks = re.split(r"^(?=[^\s#])", text, flags=re.MULTILINE)
    return "".join(block for block in blocks[1:] if not block.startswith(("defaults:", "hydra:", "recipe:"))).rstrip()


def names_of(group: str) -> list[str]:
    """Return the choices of a group of the configuration."""
    return sorted(path.stem for path in (conf_dir() / group).glob("*.yaml"))


def _choices(shown: str, group: str) -> str:
    return f"{shown:<28} # {', '.join(names_of(group))}"
