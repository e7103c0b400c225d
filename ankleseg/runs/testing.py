"""The test that ends a run: predictions of subjects it never saw, and their scores."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from omegaconf import DictConfig

from ankleseg.cohorts import Case, Cohort, load_cohort
from ankleseg.cohorts.prepared import preparation_of
from ankleseg.config import build, to_plain
from ankleseg.transforms import Preparation, RandThickSlicesd
from ankleseg.volumes import axis_codes

if TYPE_CHECKING:
    from ankleseg.inference import Model


def test(run: Path, cohort: Cohort, config: DictConfig, device: str = "cpu") -> None:
    """Predict a cohort with the best checkpoint of a run, and evaluate it, in ``run/test``.

    Where the network was trained on thick scans made of sharp ones, such scans are made of the test cases too, and
    what comes out is compared with the sharp ones. A network that segments along a centreline gets that of the
    reference.
    """
    from ankleseg.evaluate import evaluate
    from ankleseg.evaluate.quality import evaluate_quality
    from ankleseg.inference import load_model

    out = run / "test"
    model = load_model(run, device=device)
    if preparation_of(cohort.root) is not None:
        model = replace(model, preparation=Preparation(to_plain(config.prepare.transforms)))
    thick = build(config.patches.thick) if "thick" in config.patches else None
    orientation = axis_codes(model.preparation.oriented(np.eye(4)))
    cases = cohort.cases if thick is None else _thick_cases(cohort, out / "thick", thick, orientation)
    predict_known(cases, model, out / "predictions", spacing=None if thick is None else model.preparation.spacing)
    if model.labels.images:
        print(evaluate_quality(out / "predictions", cohort, out).describe())
    else:
        resampled = thick is not None or config.resample_masks  # references on other grids, as in training
        print(evaluate(out / "predictions", cohort, out, resampled=resampled).describe())


def predict_known(
    cases: Sequence[Case], model: Model, out: Path, spacing: Sequence[float | None] | None = None
) -> None:
    """Predict cases as a run does at its end, along the centreline of their references where the model needs one.

    Args:
        cases: with references.
        model: to be tested.
        out: folder of the predictions.
        spacing: mm of the result, see `ankleseg.inference.predict_cases`.
    """
    from ankleseg.inference import VolumeInferer, predict_cases
    from ankleseg.inference.centrelines import needs_centreline, reference_centreline

    predict_cases(
        cases,
        [model],
        out,
        inferer=VolumeInferer(roi_size=model.window),
        postprocessing=model.postprocessing,
        spacing=spacing,
        centreline=reference_centreline(model.labels) if needs_centreline(model) else None,
    )


def _thick_cases(cohort: Cohort, out: Path, thick: RandThickSlicesd, orientation: str) -> tuple[Case, ...]:
    """Make the typical thick scan of each case."""
    from ankleseg.data.thick_cohort import TABLE, write_thick_cohort

    typical = thick.typical()
    write_thick_cohort(cohort.cases, out, typical.low, orientation=orientation, noise=typical.noise)
    return load_cohort(out / TABLE).cases
