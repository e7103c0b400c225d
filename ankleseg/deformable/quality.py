"""Whether a registration can be believed, told from what is known without a reference."""

from __future__ import annotations

from typing import Literal

from ankleseg.deformable.registration import Registration

Status = Literal["ok", "suspect", "failed"]

OVERLAP = (
    0.8,
    0.4,
)  # share of the fixed scan's foreground that the moving scan covers, at least; below the second: failed
INFORMATION = (
    0.1,
    0.03,
)  # mutual information of the aligned scans in nats, at least; 0.3 and more in scans of one anatomy
FOLDED = 0.001, 0.05  # share of folded voxels, at most
LESS_ALIKE = 0.05  # by which the affine part may lower the local correlation: it follows the mutual information
LOST = 0.01  # by which the local correlation with the field may stay below the best without one
TURNED = 40.0  # degrees, more than a patient turns between two scans whose headers are right


def judge(registration: Registration) -> tuple[Status, str]:
    """Return a status and, where it is not ok, why.

    ``failed``: nothing should be made of it; ``suspect``: look at the page before use.
    """
    alignment = registration.alignment
    said = [
        (_below(alignment.overlap, OVERLAP), f"the moving scan covers {alignment.overlap:.0%} of the fixed one"),
        (_below(alignment.information, INFORMATION), f"the scans are hardly alike ({alignment.information:.2f} nats)"),
        (_below(-registration.folded, (-FOLDED[0], -FOLDED[1])), f"{registration.folded:.2%} of the field folds"),
        (
            int(alignment.degrees > TURNED),
            f"the scans lie {alignment.degrees:.0f}° from where their headers say",
        ),
        (
            int(registration.aligned < registration.before - LESS_ALIKE),
            f"the affine part made the scans less alike ({registration.before:.2f} to {registration.aligned:.2f})",
        ),
        _field_made_less_alike(registration),
    ]
    worst = max(level for level, _ in said)
    levels: tuple[Status, ...] = ("ok", "suspect", "failed")
    return levels[worst], "; ".join(reason for level, reason in said if level)


def _field_made_less_alike(registration: Registration) -> tuple[int, str]:
    """Whether the scans were more alike before the field: aligned, or as the headers have them."""
    before, aligned, after = registration.before, registration.aligned, registration.after
    best, how = max((aligned, "by the affine map alone"), (before, "as their headers say"))
    worse = registration.mapping.displacement is not None and after < best - LOST
    return int(worse), f"the scans were more alike {how} ({best:.2f}) than with the field ({after:.2f})"


def _below(value: float, limits: tuple[float, float]) -> int:
    return 2 if not value >= limits[1] else int(value < limits[0])
