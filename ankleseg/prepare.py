"""``python -m ankleseg.prepare cohort.root=DIR out=DIR [recipe=ankle_dynamic]``: check all, write what can be used."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from ankleseg.cohorts.names import counted
from ankleseg.config import build, names_in, run_command, to_plain
from ankleseg.errors import CohortError, ConfigError

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from ankleseg.cohorts import Cohort


def main(config: DictConfig) -> None:
    """Check and prepare the cases of a cohort, or follow their bones through motion.

    Raises:
        ConfigError: no cohort was given, or the recipe is unknown.
        CohortError: no case can be used.
    """
    from ankleseg.cohorts import load_cohort

    if config.recipe not in RECIPES:
        raise ConfigError(f"recipe {config.recipe!r} is unknown", mend=f"use recipe={' or recipe='.join(RECIPES)}")
    if not config.cohort.root:
        raise ConfigError("there is no cohort to prepare", mend="add cohort.root=FOLDER or cohort.root=TABLE.csv")
    node = config.cohort
    chosen = {name: to_plain(node.get(name)) for name in ("suffix", "acquisition", "select")}
    cohort = load_cohort(node.root, **chosen, strict=False)
    print(cohort.describe())
    RECIPES[config.recipe](config, cohort)


def prepare_static(config: DictConfig, cohort: Cohort) -> None:
    """Write images, foregrounds and labels as networks see them."""
    from ankleseg.data.preflight import USABLE, describe, prepare_cohort

    rows = prepare_cohort(
        cohort,
        build(config.prepare),
        names_in(config.structures) or cohort.structures,
        config.out,
        copy_headers=config.copy_headers,
        resample_masks=config.resample_masks,
    )
    print(describe(rows))
    counts = Counter(status for status in {row["case"]: row["status"] for row in rows}.values())
    print(f"{counts[USABLE]} of {counted(sum(counts.values()), 'case')} prepared: {config.out}")
    if not counts[USABLE]:
        raise CohortError("no case can be used", file=config.cohort.root, mend="see the table above")


def prepare_motion(config: DictConfig, cohort: Cohort) -> None:
    """Clean, register every bone on every frame, and derive the motion of the joints."""
    from ankleseg.motion import describe, prepare_motion_cohort

    results = prepare_motion_cohort(
        cohort,
        config.out,
        build(config.motion),
        subjects=names_in(config.subject),
        bones=names_in(config.bones),
        workers=config.workers,
        dask=config.dask,
    )
    print(describe(results))
    print(f"report: {config.out}/report.html")
    if not any(result.quality for result in results):
        raise CohortError("no sequence can be used", file=config.cohort.root, mend=f"see {config.out}/cleaning.tsv")


def prepare_thick(config: DictConfig, cohort: Cohort) -> None:
    """Make thick scans of sharp ones."""
    from ankleseg.data.thick_cohort import TABLE, write_thick_cohort

    if Path(config.cohort.root).resolve() == (Path(config.out) / TABLE).resolve():
        raise ConfigError("is the cohort and would be replaced", file=config.cohort.root, mend="choose another out")
    settings = to_plain(config.low_resolution)
    noise = settings.pop("noise")
    rows = write_thick_cohort(cohort.cases, config.out, build(settings), noise=noise)
    print(f"{len(rows)} of {len(cohort.cases)} scans were made thick: {config.out}/{TABLE}")


RECIPES = {"static": prepare_static, "ankle_dynamic": prepare_motion, "low_resolution": prepare_thick}


if __name__ == "__main__":
    run_command("prepare", main)
