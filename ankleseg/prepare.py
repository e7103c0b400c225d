"""``python -m ankleseg.prepare cohort.root=DIR out=DIR [recipe=ankle_dynamic]``: check all, write what can be used."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ankleseg.cohorts.names import counted
from ankleseg.config import build, names_in, run_command, to_plain
from ankleseg.errors import CohortError, ConfigError

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from ankleseg.cohorts import Cohort
    from ankleseg.motion import MotionSettings
    from ankleseg.transforms import LowResolution


def main(config: DictConfig) -> None:
    """Check a cohort and do with its cases what the recipe says.

    Raises:
        ConfigError: no cohort was given.
        CohortError: no case can be used.
    """
    from ankleseg.cohorts import load_cohort

    if not config.cohort.root:
        raise ConfigError("there is no cohort to prepare", mend="add cohort.root=FOLDER or cohort.root=TABLE.csv")
    node = config.cohort
    chosen = {name: to_plain(node.get(name)) for name in ("suffix", "acquisition", "select")}
    cohort = load_cohort(node.root, **chosen, strict=False)
    print(cohort.describe())
    build(config.recipe)(cohort, config.out)


def prepare_static(
    cohort: Cohort,
    out: str,
    *,
    transforms: Sequence[Mapping[str, Any]],
    structures: Any = None,
    copy_headers: bool = False,
    resample_masks: bool = False,
) -> None:
    """Write images, foregrounds and labels as networks see them.

    Args:
        transforms: nodes of a `Preparation`.
        others: as in `prepare_cohort`, which says too what is raised.
    """
    from ankleseg.data.prepared_cohort import USABLE, describe, prepare_cohort
    from ankleseg.labels import Labels
    from ankleseg.transforms import Preparation

    rows = prepare_cohort(
        cohort,
        Preparation(transforms),
        Labels(structures=tuple(names_in(structures) or cohort.structures), regions=cohort.regions),
        out,
        copy_headers=copy_headers,
        resample_masks=resample_masks,
    )
    print(describe(rows))
    counts = Counter(status for status in {row["case"]: row["status"] for row in rows}.values())
    print(f"{counts[USABLE]} of {counted(sum(counts.values()), 'case')} prepared: {out}")
    if not counts[USABLE]:
        raise CohortError("no case can be used", file=cohort.root, mend="see the table above")


def prepare_motion(
    cohort: Cohort,
    out: str,
    *,
    motion: MotionSettings,
    subjects: Any = None,
    bones: Any = None,
    workers: int = 1,
    dask: str | None = None,
    network: str | None = None,
) -> None:
    """Register every bone on every frame.

    Args:
        network: checkpoint of the one that segments the bones that nobody drew; None for none.
        others: as in `prepare_motion_cohort`, which says too what is raised.
    """
    from ankleseg.motion import describe, prepare_motion_cohort

    if network is not None:
        cohort = segmented(cohort, Path(out), motion, names_in(subjects), names_in(bones), network)
    results = prepare_motion_cohort(
        cohort, out, motion, subjects=names_in(subjects), bones=names_in(bones), workers=workers, dask=dask
    )
    print(describe(results))
    print(f"report: {out}/report.html")
    if not any(result.quality for result in results):
        raise CohortError("no sequence can be used", file=cohort.root, mend=f"see {out}/cleaning.tsv")


def segmented(
    cohort: Cohort,
    out: Path,
    motion: MotionSettings,
    subjects: Sequence[str] | None,
    bones: Sequence[str] | None,
    network: str,
) -> Cohort:
    """The cohort with masks by a network of the bones that nobody drew, in ``out/segmentation``.

    The default network need not come with the package.

    Args:
        others: as in `prepare_motion_cohort`.

    Raises:
        CheckpointError: the network cannot be used.
    """
    from ankleseg.inference import load_model, shipped
    from ankleseg.inference.missing_masks import missing_masks, with_predicted_masks
    from ankleseg.motion.cleaning.cohort import spare_data

    chosen = cohort if subjects is None else cohort.select(subjects)
    wanted = list(bones or motion.cleaning.bones)
    lacking = any(missing_masks(case, wanted) for case in chosen.cases)
    if not lacking or (network == shipped.DEFAULT and shipped.default_model() is None):
        return cohort
    spare_data(chosen, out)
    name = Path(network).name
    print(f"scans without masks are segmented by {name}: look at them; not for diagnosis")
    model = load_model(network, device=motion.device)
    found, count = with_predicted_masks(chosen, model, out / "segmentation", wanted, name)
    print(f"{counted(count, 'case')} segmented by {name}: {out / 'segmentation'}")
    return found


def prepare_thick(cohort: Cohort, out: str, *, low_resolution: LowResolution, noise: float = 0.0) -> None:
    """Make thick scans of sharp ones.

    Args:
        cohort: of the sharp scans.
        out: folder of the thick ones and their table.
        low_resolution: how thick.
        noise: standard deviation of Rician noise, as a fraction of the brightest intensities.

    Raises:
        ConfigError: the table would replace that of the cohort.
    """
    from ankleseg.data.thick_cohort import TABLE, write_thick_cohort

    if cohort.root.resolve() == (Path(out) / TABLE).resolve():
        raise ConfigError("is the cohort and would be replaced", file=cohort.root, mend="choose another out")
    rows = write_thick_cohort(cohort.cases, out, low_resolution, noise=noise)
    print(f"{len(rows)} of {len(cohort.cases)} scans were made thick: {out}/{TABLE}")


if __name__ == "__main__":
    run_command("prepare", main)
