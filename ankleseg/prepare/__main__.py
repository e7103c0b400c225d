"""``python -m ankleseg.prepare cohort.root=DIR out=DIR``: check every case and write what can be prepared."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from ankleseg.config import build, run_command, to_plain
from ankleseg.errors import CohortError, ConfigError

if TYPE_CHECKING:
    from omegaconf import DictConfig


def main(config: DictConfig) -> None:
    """Check and prepare the cases of a cohort.

    Raises:
        ConfigError: no cohort was given.
        CohortError: no case can be used.
    """
    from ankleseg.cohorts import load_cohort
    from ankleseg.prepare.preflight import USABLE, describe, prepare_cohort

    if not config.cohort.root:
        raise ConfigError("there is no cohort to prepare", mend="add cohort.root=FOLDER or cohort.root=TABLE.csv")
    cohort = load_cohort(config.cohort.root, suffix=config.cohort.suffix)
    print(cohort.describe())
    rows = prepare_cohort(
        cohort,
        build(config.prepare),
        to_plain(config.structures) or cohort.structures,
        config.out,
        copy_headers=config.copy_headers,
        resample_masks=config.resample_masks,
    )
    print(describe(rows))
    counts = Counter(status for status in {row["case"]: row["status"] for row in rows}.values())
    print(f"{counts[USABLE]} of {sum(counts.values())} cases are prepared: {config.out}")
    if not counts[USABLE]:
        raise CohortError("no case can be used", file=config.cohort.root, mend="see the table above")


if __name__ == "__main__":
    run_command("prepare", main)
