"""``python -m ankleseg.evaluate [recipe=motion|quality|volumetry] predictions=DIR references=DIR out=DIR``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ankleseg.config import names_in, run_command, to_plain
from ankleseg.errors import AnklesegError, ConfigError

if TYPE_CHECKING:
    from omegaconf import DictConfig


def main(config: DictConfig) -> None:
    """Score predictions, write tables and report; fail only when nothing could be scored.

    Raises:
        ConfigError: the recipe is unknown, or results would replace those of a training run.
        AnklesegError: predictions or references cannot be read, or nothing could be scored.
    """
    if config.recipe not in RECIPES:
        raise ConfigError(f"recipe {config.recipe!r} is unknown", mend=f"use recipe={' or recipe='.join(RECIPES)}")
    if isinstance(to_plain(config.predictions), list):
        raise ConfigError("predictions is a list without names", mend="name them: 'predictions={first:DIR,second:DIR}'")
    if (Path(config.out) / "checkpoints").exists():  # its metrics.csv and ours have one name
        raise ConfigError(
            "is a training run", file=config.out, mend=f"choose another out, e.g. {config.out}/evaluation"
        )
    RECIPES[config.recipe](config)


def segmentation(config: DictConfig) -> None:
    """Score predicted masks against references."""
    from ankleseg.evaluate import evaluate

    result = evaluate(
        _predictions(config),
        _references(config),
        config.out,
        structures=names_in(config.structures),
        **_chosen(config),
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

    result = evaluate_motion(_one_folder(config, "prepare"), _references(config), config.out)
    print(result.describe())
    if not result.scored:
        raise AnklesegError(
            "nothing could be scored: no pose was estimated", file=result.out / "motion.csv", mend="see its messages"
        )


def quality(config: DictConfig) -> None:
    """Score predicted images against references, beside interpolations of the input."""
    from ankleseg.evaluate.quality import evaluate_quality

    result = evaluate_quality(
        _one_folder(config, "ankleseg.predict"), _references(config), config.out, **_chosen(config)
    )
    print(result.describe())
    if not result.scored:
        first = result.images[0].message if result.images else "no case was predicted"
        raise AnklesegError(
            f"nothing could be scored: {first}", file=result.out / "quality.csv", mend="see its column message"
        )


def volumetry(config: DictConfig) -> None:
    """Compare predicted volumes over subjects and acquisitions."""
    from ankleseg.evaluate.volumetry import evaluate_volumetry

    result = evaluate_volumetry(
        _predictions(config),
        config.out,
        references=config.references,
        intracranial=config.evaluate.intracranial,
        structures=names_in(config.structures),
        **_chosen(config),
    )
    print(result.describe())
    if not result.measured:
        first = result.volumes[0].message if result.volumes else "no case was predicted"
        raise AnklesegError(
            f"nothing could be measured: {first}", file=result.out / "volumetry.csv", mend="see its column message"
        )


def _chosen(config: DictConfig) -> dict[str, Any]:
    """Which images of the references are meant, where a session has several."""
    return {name: to_plain(config[name]) for name in ("suffix", "acquisition", "select")}


def _predictions(config: DictConfig) -> str | dict[str, str]:
    """One folder, or several by name; a number is the name it looks like."""
    given = to_plain(config.predictions)
    return {str(name): str(folder) for name, folder in given.items()} if isinstance(given, dict) else str(given)


def _references(config: DictConfig) -> str:
    if config.references is None:
        raise ConfigError("references is missing", mend="add references=…")
    return config.references


def _one_folder(config: DictConfig, command: str) -> str:
    if not isinstance(config.predictions, str):
        raise ConfigError(f"recipe={config.recipe} takes one folder of predictions", mend=f"give the out= of {command}")
    return config.predictions


RECIPES = {"segmentation": segmentation, "motion": motion, "quality": quality, "volumetry": volumetry}


if __name__ == "__main__":
    run_command("evaluate", main)
