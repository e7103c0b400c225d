"""``python -m ankleseg.evaluate [recipe=motion] predictions=DIR references=DIR out=DIR``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ankleseg.config import run_command, to_plain
from ankleseg.errors import AnklesegError, ConfigError

if TYPE_CHECKING:
    from omegaconf import DictConfig


def main(config: DictConfig) -> None:
    """Score predictions, write tables and report; fail only when nothing could be scored.

    Raises:
        ConfigError: the recipe is unknown.
        AnklesegError: predictions or references cannot be read, or nothing could be scored.
    """
    if config.recipe not in RECIPES:
        raise ConfigError(f"recipe {config.recipe!r} is unknown", mend=f"use recipe={' or recipe='.join(RECIPES)}")
    RECIPES[config.recipe](config)


def segmentation(config: DictConfig) -> None:
    """Score predicted masks against references."""
    from ankleseg.evaluate import evaluate

    result = evaluate(
        to_plain(config.predictions), config.references, config.out, structures=to_plain(config.structures)
    )
    print(result.describe())
    if not result.scored:
        first = result.scores[0] if result.scores else None
        raise AnklesegError(
            f"nothing could be scored: {first.message if first else 'no case was predicted'}",
            file=result.out / "metrics.csv",
            mend="see its column message",
        )


def motion(config: DictConfig) -> None:
    """Score registered bones against the truth of a phantom."""
    from ankleseg.evaluate.motion import evaluate_motion

    if not isinstance(config.predictions, str):
        raise ConfigError("recipe=motion takes one folder of predictions", mend="give the out= of prepare")
    result = evaluate_motion(config.predictions, config.references, config.out)
    print(result.describe())
    if not result.scored:
        raise AnklesegError(
            "nothing could be scored: no pose was estimated", file=result.out / "motion.csv", mend="see its messages"
        )


RECIPES = {"segmentation": segmentation, "motion": motion}


if __name__ == "__main__":
    run_command("evaluate", main)
