"""A case is one scan with what is known about it; a cohort is the cases of a study. Paths only, no pixels."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from ankleseg.cohorts.names import Side, counted, known_name
from ankleseg.errors import CohortError, ConfigError
from ankleseg.volumes import without_selection

log = logging.getLogger(__name__)

Value = int | str | tuple[int, ...]  # of a structure in a label map
ONLY = "image"  # what a single channel is called where nothing names it


@dataclass(frozen=True)
class Reference:
    """Where the segmentation of a structure is: a mask, or a label map where there is a ``value``.

    Attributes:
        path: the file.
        value: the number of the structure in the label map, the numbers of a region that is made of several, or the
            name of its segment in a ``.seg.nrrd``.
        network: name of the one that made it; None where a person drew it.
        status: what is thought of it: ``ok``, ``suspect``, or ``failed``, which must not be used.
        reason: why it is not ok.
    """

    path: Path
    value: Value | None = None
    network: str | None = None
    status: str = "ok"
    reason: str = ""

    @property
    def values(self) -> tuple[int | str, ...]:
        """All values of the structure in its label map; none of a mask."""
        if self.value is None:
            return ()
        return self.value if isinstance(self.value, tuple) else (self.value,)


@dataclass(frozen=True)
class Case:
    """One scan.

    Attributes:
        name: different for every case of a cohort.
        subject: who was scanned; several cases may share a subject, and then stay together in every split.
        channels: the file of each channel by its name, such as ``t1ce``; ``image`` where nothing names it. All are on
            one grid; the first one is what masks are drawn on. ``FILE#frame=1`` is a volume of a 4-D file.
        references: the manual segmentation of each structure that has one.
        group: such as ``control`` or ``equinus``; it may differ between the sessions of a subject.
        side: of the body that was scanned.
        sequences: the 4-D file of each dynamic sequence.
        frame: that the case is, from 0, of a sequence; its images and references are the 4-D files, unless there is a
            `sequence`.
        sequence: of a frame whose images and references are files of its own, as in a prepared cohort, the 4-D file
            that it was taken from; it may be gone.
        unknown: structures that are there but whose references are not to be believed, such as bones whose
            registration failed; they are neither taught nor scored.
        static: of a frame, the scan of the same foot lying still.
        registrations: of a frame, the file that says how the bones of `static` lie in it.
        clean: the same scan without noise, which only a phantom has.
        foreground: mask of the body, which a prepared cohort has.
        problem: what keeps the case from being used, where a cohort was loaded without being strict; it has no channels
            then.
    """

    name: str
    subject: str
    channels: Mapping[str, Path]
    references: Mapping[str, Reference] = field(default_factory=dict)
    group: str | None = None
    side: Side | None = None
    sequences: Mapping[str, Path] = field(default_factory=dict)
    frame: int | None = None
    sequence: Path | None = None
    unknown: tuple[str, ...] = ()
    static: Path | None = None
    registrations: Path | None = None
    clean: Path | None = None
    foreground: Path | None = None
    problem: CohortError | None = field(default=None, compare=False)

    @property
    def images(self) -> tuple[Path, ...]:
        """The files of the channels, in their order."""
        return tuple(self.channels.values())

    @property
    def frame_in_files(self) -> int | None:
        """Which volume of its images and references the case is; None where they are of the case alone."""
        return self.frame if self.sequence is None else None

    @property
    def taken_from(self) -> Path | None:
        """Of a frame, the file of the sequence."""
        return self.images[0] if self.frame is not None and self.sequence is None else self.sequence

    @property
    def files(self) -> frozenset[Path]:
        """All files of the case."""
        others = [path for path in (self.static, self.registrations, self.clean, self.foreground) if path]
        references = [reference.path for reference in self.references.values()]
        return frozenset([*self.images, *references, *self.sequences.values(), *others])

    @property
    def masks(self) -> dict[Path, tuple[int | str, ...] | None]:
        """Each reference file with the label values used of it, None for a mask: what `check_case` takes."""
        masks: dict[Path, tuple[int | str, ...] | None] = {}
        for reference in self.references.values():
            others = masks.get(reference.path) or ()
            used = tuple(dict.fromkeys((*others, *reference.values)))
            masks[reference.path] = None if reference.value is None else used
        return masks


def spare_inputs(cases: Iterable[Case], results: Iterable[Path]) -> None:
    """Make sure that no result takes the place of a file of the cases.

    Raises:
        ConfigError: one would; nothing has been written yet.
    """
    inputs = {without_selection(path).resolve() for case in cases for path in case.files}
    for path in results:
        if path.resolve() in inputs:
            raise ConfigError("is an input and would be replaced by a result", file=path, mend="choose another out")


@dataclass(frozen=True)
class Cohort:
    """The cases of a study, and the structures of interest in the order of their labels.

    ``remarks`` are lines on what its files leave open or contradict and how it was read all the same. ``nested`` says
    of masks that are files of their own that they may share voxels; label values tell it themselves.

    Raises:
        CohortError: no cases, two of one name, a name that is a path, or an image of two subjects.
    """

    root: Path
    cases: tuple[Case, ...]
    structures: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()
    nested: bool = False

    def __post_init__(self) -> None:
        if not self.cases:
            raise CohortError("holds no cases", file=self.root, mend="check that it is the cohort's folder or table")
        name, count = Counter(case.name for case in self.cases).most_common(1)[0]
        if count > 1:
            raise CohortError(
                f"has {count} cases named {name}", file=self.root, mend="give each scan its own name in a column 'case'"
            )
        channels = dict.fromkeys(channel for case in self.cases for channel in case.channels)
        for name in (*(case.name for case in self.cases), *self._sequence_names, *self.structures, *channels):
            if name in (".", "..") or set(name) & set("/\\\0"):  # they become names of folders and files
                raise CohortError(f"uses the name {name!r}", file=self.root, mend="name it without slashes")
        subject_of: dict[Path, str] = {}
        for case in self.cases:
            for image in (*case.images, *case.sequences.values()):
                if subject_of.setdefault(image, case.subject) != case.subject:
                    raise CohortError(
                        f"is the image of two subjects, {subject_of[image]} and {case.subject}, and would leak",
                        file=image,
                        mend="correct the table",
                    )

    @property
    def _sequence_names(self) -> list[str]:
        return [name for case in self.cases for name in case.sequences]

    @property
    def channels(self) -> tuple[str, ...]:
        """Names of the channels that all cases share, in the order of the first case.

        Where every case has one channel, and not all name it alike, it is ``image``.

        Raises:
            CohortError: a case lacks a channel of the first one, or has another.
        """
        usable = [case for case in self.cases if case.channels]
        if not usable:
            return ()
        first, *others = usable
        if all(len(case.channels) == 1 for case in usable):
            names = {name for case in usable for name in case.channels}
            return tuple(names) if len(names) == 1 else (ONLY,)
        for case in others:
            in_order(case, tuple(first.channels))
        return tuple(first.channels)

    @property
    def regions(self) -> bool:
        """Whether a voxel may lie in several structures: they share label values, or are told to be nested."""
        return self.nested or _share_values(self.cases)

    @property
    def subjects(self) -> tuple[str, ...]:
        """Names of the subjects, sorted."""
        return tuple(sorted({case.subject for case in self.cases}))

    @property
    def groups(self) -> tuple[str, ...]:
        """Names of the groups, sorted; empty where no subject has one."""
        return tuple(sorted({case.group for case in self.cases if case.group is not None}))

    def groups_of(self, subject: str) -> tuple[str | None, ...]:
        """Return the groups of the cases of a subject, which may differ between sessions; None where one has none."""
        return tuple(dict.fromkeys(case.group for case in self.cases if case.subject == subject))

    def group_of(self, subject: str) -> str | None:
        """Return the one group of a subject, None where it has none.

        Raises:
            CohortError: its sessions are in different groups.
        """
        group, *others = self.groups_of(subject)
        if others:
            raise CohortError(
                f"puts subject {subject} in the groups {group or 'n/a'} and {others[0] or 'n/a'}",
                file=self.root,
                mend="give a subject one group, or split without groups, e.g. by cohort/split=leave_one_out",
            )
        return group

    def select(self, subjects: Iterable[str | int]) -> Cohort:
        """Return the cohort of the given subjects, all their cases included.

        Args:
            subjects: their names; ``1`` and ``sub-1`` mean ``sub-01`` where there is no other.

        Raises:
            CohortError: a subject is unknown, or may be several.
        """
        wanted = {known_name(str(subject), self.subjects, "subject", self.root) for subject in subjects}
        return replace(self, cases=tuple(case for case in self.cases if case.subject in wanted))

    def describe(self) -> str:
        """Return one line to print: how many cases, of which groups and sides, with which channels and structures."""
        parts = [f"{counted(len(self.cases), 'case')} of {counted(len(self.subjects), 'subject')}"]
        groups = Counter(group for subject in self.subjects for group in self.groups_of(subject))
        sides = Counter(case.side for case in self.cases)
        for counts in (groups, sides):
            known = [f"{count} {name}" for name, count in sorted(counts.items(), key=str) if name is not None]
            if known:
                parts.append(", ".join(known))
        if self._sequence_names:
            parts.append(counted(len(self._sequence_names), "dynamic sequence"))
        channels = {frozenset(case.channels) for case in self.cases if case.channels}
        if len(channels) == 1 and len(next(iter(channels))) > 1:
            parts.append("channels " + ", ".join(self.channels))
        kind = "regions" if self.regions else "structures"
        parts.append(f"{kind} {', '.join(self.structures)}" if self.structures else "no structures")
        return "; ".join(parts)


def larger_first(structures: Iterable[str], cases: Sequence[Case]) -> tuple[str, ...]:
    """Return structures in their order, but where regions share label values those of more values first."""
    names = tuple(structures)
    if not _share_values(cases):
        return names
    most = {
        name: max((len(case.references[name].values) for case in cases if name in case.references), default=0)
        for name in names
    }
    return tuple(sorted(names, key=lambda name: -most[name]))


def _share_values(cases: Iterable[Case]) -> bool:
    for case in cases:
        used = [(reference.path, value) for reference in case.references.values() for value in reference.values]
        if len(set(used)) < len(used):
            return True
    return False


def in_order(case: Case, channels: Sequence[str]) -> Case:
    """Return a case with the channels that a network expects, in its order and by its names.

    Capitals do not count. A single channel is that of a network of one, whatever they are called.

    Raises:
        CohortError: a channel is missing, or there is another one.
    """
    if len(channels) == len(case.channels) == 1:
        return replace(case, channels=dict(zip(channels, case.images, strict=True)))
    ours, wanted = ({name.casefold(): name for name in names} for names in (case.channels, channels))
    if ours.keys() == wanted.keys():
        return replace(case, channels={name: case.channels[ours[name.casefold()]] for name in channels})
    raise CohortError(
        f"case {case.name} has the channel{'' if len(ours) == 1 else 's'} {', '.join(case.channels) or 'none'}: "
        f"expected {', '.join(channels)}{_compared(ours, wanted)}",
        file=without_selection(case.images[0]) if case.images else None,
        mend=_channels_mend(case, channels, ours, wanted),
    )


def _compared(ours: Mapping[str, str], wanted: Mapping[str, str]) -> str:
    missing = [name for key, name in wanted.items() if key not in ours]
    extra = [name for key, name in ours.items() if key not in wanted]
    parts = [f"{what} {', '.join(names)}" for what, names in (("missing", missing), ("unexpected", extra)) if names]
    return f" ({'; '.join(parts)})"


def _channels_mend(case: Case, channels: Sequence[str], ours: Mapping[str, str], wanted: Mapping[str, str]) -> str:
    table = f"a table with the columns case,{','.join(f'image_{name}' for name in channels)}"
    if len(ours) == len(wanted) and any(all(name.isdecimal() for name in names) for names in (ours, wanted)):
        return f"numbers do not tell which channel is which: list the files in {table}"
    if ours.keys() > wanted.keys():
        return f"leave the others out, by {table}"
    return f"add the files, and list them in {table}"


def announced(cohort: Cohort) -> Cohort:
    """Log the remarks of a cohort, and return it: what every command says that loads one."""
    for remark in cohort.remarks:
        log.warning(remark)
    return cohort
