"""Which frames of an export are meant: the only series, or the one that is chosen by name."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ankleseg.errors import FileError
from ankleseg.volumes.dicom.elements import MEND
from ankleseg.volumes.dicom.export import Export
from ankleseg.volumes.dicom.objects import Frame, Source
from ankleseg.volumes.selection import with_selection
from ankleseg.volumes.volume import Remark

SCOUT_SLICES = 3  # a series of at most so many slices is not taken for the volume
MOST_LISTED = 12


@dataclass(frozen=True)
class Series:
    """The frames of one series of an export."""

    frames: tuple[Frame, ...]

    @property
    def source(self) -> Source:
        """The first of its files."""
        return self.frames[0].source

    def __str__(self) -> str:
        source = self.source
        places = len({tuple(np.round(frame.position, 2)) for frame in self.frames})
        count = len(self.frames)
        size = f"{places} slices × {count // places}" if count >= 2 * places > 2 else f"{count} slices"
        kind = f"{source.modality}, {size}" if source.modality else size
        name = f"{source.description!r}" if source.description else "unnamed"
        return " ".join(part for part in (source.number, name, f"({kind})") if part)


def choose_series(path: Path, export: Export, wanted: dict[str, str]) -> tuple[Series, list[Remark]]:
    """Choose the series of an export, and say what is passed over.

    Args:
        path: as the user gave it, for messages.
        wanted: what was chosen; ``series`` may be a number, a description or a UID.

    Raises:
        FileError: no series, several and none chosen, or a damaged file that may belong to the chosen one.
    """
    groups: dict[str, list[Frame]] = {}
    for frame in export.frames:
        groups.setdefault(frame.source.series, []).append(frame)
    every = [Series(tuple(frames)) for frames in groups.values()]
    every.sort(key=lambda series: (series.source.number.zfill(9), series.source.description, series.source.series))
    if not every:
        _refuse_nothing(path, export)
    chosen = _named(path, every, wanted) if "series" in wanted else _only(path, every, wanted)
    others = [series for series in every if series is not chosen]
    _check_damaged(path, export, chosen, others)
    if "series" not in wanted:
        _check_strays(path, chosen, others)
    return chosen, _remarks(export, [] if "series" in wanted else others)


def _refuse_nothing(path: Path, export: Export) -> None:
    if export.damaged:
        first = export.damaged[0]
        raise FileError(first.why, file=_inside(path, first.file), mend=first.mend)
    objects = [foreign for foreign in export.foreign if foreign.sop_class]
    held = f", but {_counted(objects)}" if objects else ""
    mend = "give the folder that holds the slices themselves"
    raise FileError(f"holds no DICOM slices{held}", file=path, mend=mend)


def _only(path: Path, every: list[Series], wanted: dict[str, str]) -> Series:
    volumes = [series for series in every if len(series.frames) > SCOUT_SLICES]
    if len(volumes) == 1 or len(every) == 1:
        return (volumes or every)[0]
    listed = volumes or every
    patients = sorted({series.source.patient for series in listed})
    if len(patients) > 1:
        names = ", ".join(patient or "without a name" for patient in patients[:MOST_LISTED])
        mend = f"give the folder of one patient, or choose a series: {_example(path, listed[0], every, wanted)}"
        raise FileError(f"holds series of {len(patients)} patients ({names}): {_list(listed)}", file=path, mend=mend)
    raise FileError(
        f"holds {len(listed)} DICOM series: {_list(listed)}",
        file=path,
        mend=f"choose one at the end of the path, such as {_example(path, listed[0], every, wanted)}",
    )


def _named(path: Path, every: list[Series], wanted: dict[str, str]) -> Series:
    name = wanted["series"]
    found = [series for series in every if _is_called(series, name)]
    if len(found) == 1:
        return found[0]
    if found:
        raise FileError(
            f"holds {len(found)} series that are called {name!r}: {_list(found)}",
            file=path,
            mend=f"choose by the identifier, such as {_example(path, found[0], found, wanted)}",
        )
    raise FileError(
        f"holds no series {name!r}, but {_list(every)}",
        file=path,
        mend=f"choose one of them, such as {_example(path, every[0], every, wanted)}",
    )


def _is_called(series: Series, name: str) -> bool:
    source = series.source
    number = name.isdecimal() and source.number.isdecimal() and int(name) == int(source.number)
    return number or name == source.series or name.casefold() == source.description.strip().casefold()


def _example(path: Path, series: Series, every: Sequence[Series], wanted: dict[str, str]) -> str:
    """Write the path that chooses a series, by the shortest name that fits no other one."""
    source = series.source
    for name in (source.number, source.description):
        plain = name and not set(name) & set("#&\"' ,;()[]{}$\\")
        if plain and sum(_is_called(other, name) for other in every) == 1:
            return with_selection(path, {**wanted, "series": name})
    return with_selection(path, {**wanted, "series": source.series})


def _list(every: Sequence[Series]) -> str:
    names = [str(series) for series in every[:MOST_LISTED]]
    if len(set(names)) < len(names):
        names = [f"{name} {series.source.series}" for name, series in zip(names, every, strict=False)]
    more = f", … and {len(every) - MOST_LISTED} more" if len(every) > MOST_LISTED else ""
    return ", ".join(names) + more


def _inside(path: Path, file: Path) -> Path:
    return path if path.name == file.name and path.is_file() else path / file


def _check_damaged(path: Path, export: Export, chosen: Series, others: Sequence[Series]) -> None:
    """A damaged file may be a slice of the series: it is not passed over, unless others name its other series too."""
    folders = {frame.file.parent for frame in chosen.frames}
    named = Counter(bad.series for bad in export.damaged if bad.series)
    elsewhere = {series.source.series for series in others} | {name for name, count in named.items() if count > 1}
    for bad in export.damaged:
        if bad.series == chosen.source.series or (bad.file.parent in folders and bad.series not in elsewhere):
            raise FileError(bad.why, file=_inside(path, bad.file), mend=bad.mend)
    for foreign in export.foreign:
        if foreign.series and foreign.series == chosen.source.series and foreign.sop_class == chosen.source.sop_class:
            problem = f"is a {foreign.kind}, and should be a slice of the series"
            raise FileError(problem, file=_inside(path, foreign.file), mend=MEND)


def _check_strays(path: Path, chosen: Series, others: Sequence[Series]) -> None:
    """A few slices of the same number and name in line with the volume are its own, of a damaged identifier."""
    first, source = chosen.frames[0], chosen.source
    normal = np.cross(*first.axes)
    for series in others:
        other = series.source
        named = other.series and (other.number or not source.number)
        if named and (other.number, other.description) != (source.number, source.description):
            continue
        shifts = np.subtract([frame.position for frame in series.frames], first.position)
        aside = np.linalg.norm(shifts - np.outer(shifts @ normal, normal), axis=1)
        if len(series.frames) <= SCOUT_SLICES and aside.min() < 0.1 * min(first.spacing):
            every = [chosen, *others]
            raise FileError(
                f"holds {series.frames[0].file.name}, a slice in line with the others that names another series: "
                f"{_list(every)}",
                file=path,
                mend=f"copy it again, or choose the series: {_example(path, chosen, every, {})}",
            )


def _remarks(export: Export, others: Sequence[Series]) -> list[Remark]:
    remarks = []
    if others:
        problem = f"only one of its series is taken for a volume; passed over: {_list(others)}"
        remarks.append(Remark(problem, "choose another one by #series= at the end of the path if it was meant"))
    unread = [*export.foreign, *export.damaged]
    if unread:
        files = len({frame.file for frame in export.frames}) + len(unread)
        problem = f"{len(unread)} of its {files} files hold no slices and are passed over: {_counted(unread)}"
        remarks.append(Remark(problem, "check that no slice is among them"))
    return remarks


def _counted(files: Sequence[object]) -> str:
    counts = Counter(getattr(file, "kind", "unreadable file") for file in files)
    return ", ".join(f"{count} {kind}" if count == 1 else f"{count} × {kind}" for kind, count in counts.items())
