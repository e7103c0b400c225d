"""What the pages of bones in motion are drawn from: a subject with its sequences, and a cohort."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float, Shaped

from ankleseg.errors import GeometryError
from ankleseg.volumes import Finding

if TYPE_CHECKING:
    from ankleseg.measures.motion_groups import GroupDifference

STATUSES = ("ok", "suspect", "failed")
GLOBAL = "global"  # the row of the whole foot, whose pose each bone starts from


@dataclass(frozen=True)
class PoseStatus:
    """How well the pose of a bone is known on a frame: a row of ``SEQ_quality.tsv``; None where it cannot be told.

    Attributes:
        frame: 0-based.
        bone: its name, or ``global`` for the whole foot.
        status: ``ok``, ``suspect`` or ``failed``, a person's word before the program's.
        correlation, overlap: 0 to 1; overlap is the share of the bone inside the field of view.
        error_mm, error_deg: standard error of the pose.
        step_mm, step_deg: move to the neighbouring frame.
        reason: for anything but ok.
        judged: what the program said, where a person said otherwise; else None.
        note: of that person.
    """

    frame: int
    bone: str
    status: str
    correlation: float | None = None
    overlap: float | None = None
    error_mm: float | None = None
    error_deg: float | None = None
    step_mm: float | None = None
    step_deg: float | None = None
    reason: str = ""
    judged: str | None = None
    note: str = ""


@dataclass(frozen=True, eq=False)
class MotionSequence:
    """A dynamic sequence with the bones on it.

    Attributes:
        name: such as ``sub-C01_task-active``.
        frames: (X, Y, Z, T) intensities.
        affine: of the frames.
        masks: {bone: (X, Y, Z, T)} of each bone placed by its own pose: bool, 0/1, or fractions 0 to 1, which make
            smoother contours; empty on frames without a pose.
        placed_by_foot: the same bones placed by the pose of the whole foot, which their own registration started from.
        rows: of every frame and bone, and of ``global`` if wished.
        angles: rows as `ankleseg.measures.kinematics.motion_rows` gives them.
        ranges: rows as `ankleseg.measures.kinematics.ranges_of_motion` gives them.
        seconds: from frame to frame; None where it is not known.
        soft_tissue: where it was registered, of each frame whether that was used, ``registered`` ``yes`` or ``no``,
            ``similarity_polyrigid`` of the blend, ``similarity_registered``, and the share ``folded``.

    Raises:
        GeometryError: masks on another grid than the frames.
    """

    name: str
    frames: Shaped[np.ndarray, "x y z t"]
    affine: Float[np.ndarray, "4 4"]
    masks: Mapping[str, Shaped[np.ndarray, "x y z t"]]
    placed_by_foot: Mapping[str, Shaped[np.ndarray, "x y z t"]]
    rows: Sequence[PoseStatus]
    angles: Sequence[Mapping[str, Any]] = ()
    ranges: Sequence[Mapping[str, Any]] = ()
    seconds: float | None = None
    soft_tissue: Sequence[Mapping[str, Any]] = ()

    def __post_init__(self) -> None:
        for bone, mask in [*self.masks.items(), *self.placed_by_foot.items()]:
            if mask.shape != self.frames.shape:
                raise GeometryError(
                    f"{self.name}: {bone} has the shape {mask.shape}, the frames {self.frames.shape}",
                    mend="give masks on the grid of the frames",
                )

    @property
    def bones(self) -> list[str]:
        """Names of the bones, in the order of the masks."""
        return list(dict.fromkeys([*self.masks, *self.placed_by_foot]))


@dataclass(frozen=True, eq=False)
class MotionSubject:
    """All that the page of a subject shows.

    Attributes:
        name: such as ``sub-C01``.
        group, side: as far as known.
        facts: pairs of name and value for the head of the page.
        findings: of the cleaning, on this subject's files.
        static: (X, Y, Z) intensities; None where there is no static scan to show.
        static_affine: of the static scan.
        static_masks: {bone: (X, Y, Z)} on it.
        sequences: that could be used; none where the subject was excluded.
        verdict: ``usable``, ``partly`` or ``excluded``.
        cohort_page: relative link to the page of the cohort, if there is one.
    """

    name: str
    group: str | None = None
    side: str | None = None
    facts: Sequence[tuple[str, str]] = ()
    findings: Sequence[Finding] = ()
    static: Shaped[np.ndarray, "x y z"] | None = None
    static_affine: Float[np.ndarray, "4 4"] | None = None
    static_masks: Mapping[str, Shaped[np.ndarray, "x y z"]] = field(default_factory=dict)
    sequences: Sequence[MotionSequence] = ()
    verdict: str = "usable"
    cohort_page: str | None = None


@dataclass(frozen=True)
class SubjectSummary:
    """A subject in the table of the cohort.

    Attributes:
        name, group, side: of the subject.
        verdict: ``usable``, ``partly`` or ``excluded``.
        reason: for anything but usable.
        counts: {status: number of bones on frames}, over all sequences, without the whole foot.
        page: relative link to its own page, such as ``sub-C01/report.html``; None where it has none.
        worst: the row that needs a look first, in words; empty where nothing does.
    """

    name: str
    group: str | None = None
    side: str | None = None
    verdict: str = "usable"
    reason: str = ""
    counts: Mapping[str, int] = field(default_factory=dict)
    page: str | None = None
    worst: str = ""


@dataclass(frozen=True)
class MotionCohort:
    """All that the page of a cohort shows.

    Attributes:
        title: of the page.
        facts: pairs of name and value for the head of the page.
        subjects: one a subject, also the excluded ones.
        angles: rows of `motion_rows` of all subjects, each with ``subject``, ``group`` and ``sequence`` added.
        ranges: rows of `ranges_of_motion`, each with ``subject``, ``group`` and ``sequence`` added.
        differences: of the ranges between two groups, as `ankleseg.measures.motion_groups.compare_groups` gives them:
            {what was compared, such as ``task-active``: rows}.
    """

    title: str
    subjects: Sequence[SubjectSummary]
    facts: Sequence[tuple[str, str]] = ()
    angles: Sequence[Mapping[str, Any]] = ()
    ranges: Sequence[Mapping[str, Any]] = ()
    differences: Mapping[str, Sequence[GroupDifference]] = field(default_factory=dict)
