"""``python -m ankleseg.evaluate predictions=DIR references=DIR out=DIR``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ankleseg.config import run_command, to_plain

if TYPE_CHECKING:
    from omegaconf import DictConfig


def main(config: DictConfig) -> None:
    """Score predictions, write tables and report; fail only when nothing could be scored.

    Raises:
        AnklesegError: predictions or references cannot be read, or no case could be scored.
    """
    from ankleseg.errors import AnklesegError
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


if __name__ == "__main__":
    run_command("evaluate", main)
