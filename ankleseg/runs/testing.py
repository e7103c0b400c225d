"""The test that ends a run: predictions of subjects it never saw, and their scores."""

from __future__ import annotations

from pathlib import Path

from omegaconf import DictConfig

from ankleseg.cohorts import Case, Cohort, load_cohort
from ankleseg.config import build
from ankleseg.data import ThickScans


def test(run: Path, cohort: Cohort, config: DictConfig, device: str = "cpu") -> None:
    """Predict a cohort with the best checkpoint of a run, and evaluate it, in ``run/test``.

    Where the network was trained on thick scans made of sharp ones, such scans are made of the test cases too, and
    what comes out is compared with the sharp ones.
    """
    from ankleseg.evaluate import evaluate
    from ankleseg.evaluate.quality import evaluate_quality
    from ankleseg.inference import WholeVolume, load_model, predict_cases

    out = run / "test"
    model = load_model(run, device=device)
    thick = build(config.patches.thick) if "thick" in config.patches else None
    predict_cases(
        cohort.cases if thick is None else _thick_cases(cohort, out / "thick", thick, model.preparation.orientation),
        [model],
        out / "predictions",
        whole_volume=WholeVolume(window=model.window),
        postprocessing=model.postprocessing,
        spacing=None if thick is None else model.preparation.spacing,
    )
    if model.images:
        print(evaluate_quality(out / "predictions", cohort, out).describe())
    else:
        resampled = thick is not None or config.resample_masks  # references on other grids, as in training
        print(evaluate(out / "predictions", cohort, out, resampled=resampled).describe())


def _thick_cases(cohort: Cohort, out: Path, thick: ThickScans, orientation: str) -> tuple[Case, ...]:
    """Make the typical thick scan of each case."""
    from ankleseg.data.thick_cohort import TABLE, write_thick_cohort

    typical = thick.typical()
    write_thick_cohort(cohort.cases, out, typical.low, orientation=orientation, noise=typical.noise)
    return load_cohort(out / TABLE).cases
