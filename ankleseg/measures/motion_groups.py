"""Comparison of the joints' motion between two groups, such as controls and children with equinus."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

CONFIDENCE = 0.95
DEVIATIONS = 500  # points at which the distribution of a standard deviation is sampled


@dataclass(frozen=True)
class GroupDifference:
    """One measure of one joint in two groups; None where it cannot be told.

    Attributes:
        joint, measure: what was compared.
        first, second: names of the groups.
        n_first, n_second: subjects in each.
        mean_first, sd_first, mean_second, sd_second: of the subjects, in the unit of the measure.
        difference: second minus first, with its confidence limits (Welch).
        hedges_g: the difference in pooled standard deviations, corrected for small groups, with its limits.
        p_welch, p_mann_whitney: two-sided; of many measures some are small by chance.
    """

    joint: str
    measure: str
    first: str
    second: str
    n_first: int
    n_second: int
    mean_first: float | None = None
    sd_first: float | None = None
    mean_second: float | None = None
    sd_second: float | None = None
    difference: float | None = None
    difference_low: float | None = None
    difference_high: float | None = None
    hedges_g: float | None = None
    hedges_g_low: float | None = None
    hedges_g_high: float | None = None
    p_welch: float | None = None
    p_mann_whitney: float | None = None


def compare_groups(
    rows: Sequence[Mapping[str, Any]], value: str = "range", groups: tuple[str, str] = ("control", "equinus")
) -> list[GroupDifference]:
    """Compare two groups in every measure of every joint.

    Args:
        rows: with ``subject``, ``group``, ``joint``, ``measure`` and the column ``value``; None and NaN are left out.
            Several sequences of a subject are averaged first, so that every subject counts once.
        value: column that is compared.
        groups: names of the first and the second group; other groups are left out.
    """
    result = []
    for joint, measure in dict.fromkeys((row["joint"], row["measure"]) for row in rows):
        samples = []
        for group in groups:
            by_subject: dict[str, list[float]] = {}
            for row in rows:
                if (row["joint"], row["measure"], row["group"]) == (joint, measure, group) and _known(row[value]):
                    by_subject.setdefault(row["subject"], []).append(float(row[value]))
            samples.append(np.array([np.mean(values) for values in by_subject.values()]))
        names = {"joint": joint, "measure": measure, "first": groups[0], "second": groups[1]}
        result.append(GroupDifference(**names, **_difference(*samples)))
    return result


def hedges_g(first: Float[np.ndarray, " n"], second: Float[np.ndarray, " m"]) -> tuple[float, float, float]:
    """Return the standardised difference of two samples (second minus first) and its 95 % confidence limits.

    ``g = J (mean₂ − mean₁) / s_pooled`` with the exact small-sample correction ``J``. The limits are those of the
    noncentral t distribution, exact for normal samples of equal variance, times ``J``.

    Source: Hedges and Olkin 1985, chapter 5; Cumming and Finch 2001 (limits).
    """
    from scipy.special import gammaln

    n, m = len(first), len(second)
    freedom = n + m - 2
    pooled = np.sqrt(((n - 1) * first.var(ddof=1) + (m - 1) * second.var(ddof=1)) / freedom)
    per_t = np.sqrt(1 / n + 1 / m)
    effect = float((second.mean() - first.mean()) / pooled)
    correction = float(np.exp(gammaln(freedom / 2) - gammaln((freedom - 1) / 2)) / np.sqrt(freedom / 2))
    low, high = (_noncentrality(effect / per_t, freedom, tail) * per_t for tail in (_upper(), 1 - _upper()))
    return correction * effect, correction * low, correction * high


def _upper() -> float:
    return (1 + CONFIDENCE) / 2


def _noncentrality(statistic: float, freedom: int, probability: float) -> float:
    """Noncentrality with which a t statistic is this large or smaller with the given probability."""
    from scipy.optimize import brentq
    from scipy.stats import chi2, norm

    # Integrated over the estimated deviation: scipy's own distribution gives NaN in the far tails.
    deviation = np.sqrt(chi2.ppf((np.arange(DEVIATIONS) + 0.5) / DEVIATIONS, freedom) / freedom)

    def excess(shift: float) -> float:
        return float(norm.cdf(statistic * deviation - shift).mean()) - probability

    reach = 10 + 3 * abs(statistic)
    return float(brentq(excess, statistic - reach, statistic + reach, xtol=1e-6))


def _difference(first: np.ndarray, second: np.ndarray) -> dict[str, Any]:
    result: dict[str, Any] = {"n_first": len(first), "n_second": len(second)}
    for name, sample in (("first", first), ("second", second)):
        if len(sample):
            result[f"mean_{name}"] = float(sample.mean())
        if len(sample) > 1:
            result[f"sd_{name}"] = float(sample.std(ddof=1))
    if len(first) and len(second):
        from scipy import stats

        result["difference"] = float(second.mean() - first.mean())
        result["p_mann_whitney"] = float(stats.mannwhitneyu(second, first).pvalue)
    if min(len(first), len(second)) > 1 and first.std() + second.std() > 0:
        welch = stats.ttest_ind(second, first, equal_var=False)
        interval = welch.confidence_interval(CONFIDENCE)
        result |= {"p_welch": float(welch.pvalue), "difference_low": float(interval.low)}
        result["difference_high"] = float(interval.high)
        keys = ("hedges_g", "hedges_g_low", "hedges_g_high")
        result |= dict(zip(keys, hedges_g(first, second), strict=True))
    return result


def _known(value: Any) -> bool:
    return value is not None and bool(np.isfinite(value))
