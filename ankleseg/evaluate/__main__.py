"""``python -m ankleseg.evaluate [recipe=…] predictions=DIR references=DIR out=DIR``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ankleseg.config import build, run_command, to_plain
from ankleseg.errors import ConfigError

if TYPE_CHECKING:
    from omegaconf import DictConfig


def main(config: DictConfig) -> None:
    """Score predictions, write tables and report; fail only when nothing could be scored.

    Raises:
        ConfigError: predictions are a list, or results would replace those of a training run.
        AnklesegError: predictions or references cannot be read, or nothing could be scored.
    """
    given = to_plain(config.predictions)
    if isinstance(given, list):
        raise ConfigError(
            "invalid predictions: expected one folder, or several by name",
            mend="name them: 'predictions={first:DIR,second:DIR}'",
        )
    if (Path(config.out) / "checkpoints").exists():  # its metrics.csv and ours have one name
        raise ConfigError(
            "is a training run", file=config.out, mend=f"choose another out, e.g. {config.out}/evaluation"
        )
    # a number is the name it looks like
    named = {str(name): str(folder) for name, folder in given.items()} if isinstance(given, dict) else str(given)
    build(config.recipe)(named, config.references, config.out)


if __name__ == "__main__":
    run_command("evaluate", main)
