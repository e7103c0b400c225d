"""What a command says of itself: its usage, its settings with their comments, the groups it is composed of."""

from __future__ import annotations

import re

from ankleseg.config.composing import conf_dir

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
    blocks = re.split(r"^(?=[^\s#])", text, flags=re.MULTILINE)
    settings = "".join(block for block in blocks[1:] if not block.startswith(("defaults:", "hydra:")))
    lines = [
        usage(command).partition("\nexperiments")[0],
        "",
        "Config: set any of these by key=value; ??? has to be given",
        "",
        settings.rstrip(),
    ]
    groups = re.findall(r"^  - (\w+): (\w+)", text, flags=re.MULTILINE)
    choices = [_choices(f"{group}={chosen}", group) for group, chosen in groups]
    choices += [_choices(f"+{group}=…", group) for group in ADDED.get(command, ())]
    if choices:
        lines += ["", "Groups: choose by group=name, and set what they hold by group.key=value", "", *choices]
    lines += ["", f"With --cfg job added, python -m ankleseg.{command} … prints all that it would use."]
    return "\n".join(lines)


def names_of(group: str) -> list[str]:
    """Return the choices of a group of the configuration."""
    return sorted(path.stem for path in (conf_dir() / group).glob("*.yaml"))


def _choices(shown: str, group: str) -> str:
    return f"{shown:<28} # {', '.join(names_of(group))}"
