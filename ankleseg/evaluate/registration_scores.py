"""What an evaluation of registrations found."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

SCORED = "scored"


@dataclass(frozen=True)
class RegistrationScore:
    """What is known of one registration; None where there is nothing to compare with."""

    registration: str
    method: str
    status: str
    result: str
    message: str = ""
    labels: int = 0
    dice: float | None = None
    hd95_mm: float | None = None
    target_error_mm: float | None = None
    target_error_p95_mm: float | None = None
    folded: float | None = None
    log_jacobian_sd: float | None = None
    seconds: float | None = None


@dataclass(frozen=True)
class LabelScore:
    """One label of one registration."""

    registration: str
    label: int
    finding: str
    dice: float | None
    hd95_mm: float | None


@dataclass(frozen=True)
class RegistrationEvaluation:
    """What was found: a row a registration, and a row a label of it."""

    out: Path
    registrations: tuple[RegistrationScore, ...]
    labels: tuple[LabelScore, ...]
    date: str

    @property
    def scored(self) -> int:
        """How many registrations were compared with labels or a true field."""
        return sum(row.status == SCORED for row in self.registrations)

    def describe(self) -> str:
        """Return the lines to print at the end."""
        lines = []
        for row in self.registrations:
            said = [row.message] if row.message else []
            said += [f"Dice {row.dice:.3f} over {row.labels} labels"] if row.dice is not None else []
            said += [f"target error {row.target_error_mm:.2f} mm"] if row.target_error_mm is not None else []
            said += [f"{row.folded:.3%} folded"] if row.folded is not None else []
            lines.append(f"{row.registration}: {', '.join(said)}")
        return "\n".join([*lines, f"report: {self.out / 'report.html'}"])
