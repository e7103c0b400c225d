"""Configurations: what was typed, composing, building a node safely, running a command."""

from ankleseg.config.building import build, names_in, resolve_target, to_literals, to_plain, trusting
from ankleseg.config.command import require_folder, run_command
from ankleseg.config.composing import compose, conf_dir
from ankleseg.config.resolvers import is_of_phantom, register_resolvers, require_run

__all__ = [
    "build",
    "compose",
    "conf_dir",
    "is_of_phantom",
    "names_in",
    "register_resolvers",
    "require_folder",
    "require_run",
    "resolve_target",
    "run_command",
    "to_literals",
    "to_plain",
    "trusting",
]
