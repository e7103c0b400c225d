"""Every command in the documentation can be typed as it stands: its options exist and nothing is left to be given."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep
from omegaconf import OmegaConf

from ankleseg.config import compose
from ankleseg.config.overrides import as_typed

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(r"^( *)```(?:bash|console|sh)\n(.*?)^\1```", re.DOTALL | re.MULTILINE)
LOOP = re.compile(r"^for (\w+) in (.+); do$", re.MULTILINE)
# what hydra.main would provide, and compose does not
RUNTIME = ["run_dir=run"]


def commands() -> list[tuple[str, str]]:
    """Page and text of every ``python -m ankleseg.…`` in a block of shell commands, each turn of a loop by itself."""
    found = []
    for page in PAGES:
        for _, block in BLOCK.findall(page.read_text(encoding="utf-8")):
            loop = LOOP.search(block)
            turns = [block.replace(f"${loop[1]}", value) for value in loop[2].split()] if loop else [block]
            lines = [line.strip() for turn in turns for line in turn.replace("\\\n", " ").splitlines()]
            found += [(page.name, line) for line in dict.fromkeys(lines) if line.startswith("python -m ankleseg.")]
    return found


def one_value(override: str) -> str:
    """The override, or its first value where it is swept."""
    parsed = OverridesParser.create().parse_override(override)
    if not parsed.is_sweep_override():
        return override
    sweep = parsed.value()
    first = sweep.start if isinstance(sweep, IntervalSweep) else next(parsed.sweep_string_iterator())
    return f"{parsed.input_line.split('=', 1)[0]}={first}"


def shape(command: str) -> tuple[str, ...]:
    """Module and settings of a command; of a setting that chooses no file of ``conf/`` the key alone."""
    module, *words = words_of(command)
    return (module, *sorted(word if chooses(word) else word.partition("=")[0] for word in words))


def words_of(command: str) -> list[str]:
    return shlex.split(re.sub(r"\s#.*", "", command))[2:]  # as in a shell, a # within a word is no comment


def chooses(word: str) -> bool:
    return "=" in word and (ROOT / "conf" / word.partition("=")[0].lstrip("+~").partition("@")[0]).is_dir()


COMMANDS = commands()


def test_commands_were_found():
    told = {command.split()[2] for _, command in COMMANDS}
    assert told == {f"ankleseg.{path.stem}" for path in (ROOT / "conf").glob("*.yaml") if path.stem != "command"}
    assert len(COMMANDS) > 40


def test_every_documented_command_is_complete():
    """Its options exist and nothing is left to be given; of commands that differ in values alone one is composed."""
    composed, problems = set(), []
    for page, command in COMMANDS:
        try:
            name, overrides = overrides_of(command)
            if shape(command) not in composed:
                check(name, overrides)
                composed.add(shape(command))
        except (Exception, SystemExit) as error:
            problems.append(f"{page}: {command}: {error}")
    assert not problems, "\n".join(problems)


def overrides_of(command: str) -> tuple[str, list[str]]:
    """What a command is composed from."""
    module, *words = words_of(command)
    name = module.removeprefix("ankleseg.")
    typed = [word for word in words if word not in ("-m", "--cfg", "job", "--help")]
    words = as_typed(typed, name, multirun="-m" in words)
    overrides = [one_value(word) for word in words if not word.startswith(("hydra.", "hydra/"))]
    return name, [*overrides, *(RUNTIME if name == "train" else [])]


def check(name: str, overrides: list[str]) -> None:
    config = compose(name, overrides)
    resumes = config.get("resume") is not None  # the stored configuration is complete
    complete = resumes or config.get("models")  # which need no input
    assert complete or not OmegaConf.missing_keys(config), OmegaConf.missing_keys(config)
    OmegaConf.to_container(config, resolve=True)


def test_the_reference_lists_every_choice_of_every_group():
    listed = {}
    for line in (ROOT / "docs" / "reference" / "configuration.md").read_text(encoding="utf-8").splitlines():
        if row := re.match(r"\| `([a-z/]+)` \| (.*) \|[^|]*\|$", line):
            listed[row[1]] = set(re.findall(r"`(\w+)`", row[2]))
    folders = [folder for folder in (ROOT / "conf").rglob("*") if folder.is_dir()]
    there = {
        str(folder.relative_to(ROOT / "conf")): {file.stem for file in folder.glob("*.yaml")} for folder in folders
    }
    assert listed == {group: choices for group, choices in there.items() if choices}
