"""What an evaluation of registered bones found."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ankleseg.evaluate.motion_summary import AngleScore, PoseScore, summarise_angles, summarise_poses, wrong_called_ok


@dataclass(frozen=True)
class MotionEvaluation:
    """What was found: a row a bone and frame, a row an angle and frame, and what could not be compared."""

    out: Path
    predictions: Path
    references: Path
    poses: tuple[PoseScore, ...]
    angles: tuple[AngleScore, ...]
    problems: tuple[str, ...]
    date: str

    @property
    def scored(self) -> int:
        """How many estimated poses were compared with a true one."""
        return sum(row.error_mm is not None for row in self.poses)

    def describe(self) -> str:
        """Return the lines to print at the end: target errors of what was called ok, wrong results, joint angles."""
        lines = []
        for entry in summarise_poses(self.poses):
            if entry["called"] == "ok" and entry["poses"]:
                error = entry["error_mm"]
                lines.append(
                    f"{entry['bone']}: target error median {error['median']:.3f} mm, 95 % {error['p95']:.3f} mm, "
                    f"greatest {error['max']:.3f} mm over {entry['poses']} called ok"
                )
        wrong, said = wrong_called_ok(self.poses), [row.status for row in self.poses]
        counts = ", ".join(f"{said.count(status)} {status}" for status in dict.fromkeys(said))
        lines.append(f"wrong results called ok: {len(wrong)}; called {counts}")
        for entry in summarise_angles(self.angles):
            if entry["called"] == "ok" and entry["n"]:
                lines.append(f"{entry['joint']} {entry['angle']}: RMS error {entry['rms_deg']:.2f}°")
        return "\n".join([*lines, f"report: {self.out / 'report.html'}"])
