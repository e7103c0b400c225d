"""Several images of each slice: parts such as magnitude and phase, and echoes, of which one has to be chosen."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from ankleseg.errors import FileError
from ankleseg.volumes.dicom.objects import Frame
from ankleseg.volumes.selection import with_selection

PARTS = {"M": "magnitude", "MAGNITUDE": "magnitude", "P": "phase", "PHASE": "phase", "R": "real", "REAL": "real",
         "I": "imaginary", "IMAGINARY": "imaginary"}  # fmt: skip
ECHO_TOLERANCE = 0.005  # of an echo time, by which a user may round it


def choose_contrast(path: Path, frames: Sequence[Frame], heights: Sequence[int], wanted: dict[str, str]) -> list[Frame]:
    """Return the frames of one part and one echo.

    Args:
        path: as the user gave it, without a selection, for messages.
        heights: which slice each frame shows.
        wanted: what was chosen.

    Raises:
        FileError: several parts or echoes of a slice and none chosen, or one that is not there.
    """
    height = dict(zip(map(id, frames), heights, strict=True))
    kept = list(frames)
    for choice, labels, chosen in (("part", _parts, _of_part), ("echo", _echoes, _of_echo)):
        names = labels(kept)
        kept = _chosen(path, kept, names, height, wanted, choice, chosen)
    return kept


def _chosen(
    path: Path,
    frames: list[Frame],
    names: list[str],
    height: dict[int, int],
    wanted: dict[str, str],
    choice: str,
    find: Callable[[Sequence[str], str], list[str]],
) -> list[Frame]:
    every = sorted(set(names), key=_numbers if choice == "echo" else None)
    if choice in wanted:
        found = find(every, wanted[choice])
        if len(found) == 1:
            return [frame for frame, name in zip(frames, names, strict=True) if name == found[0]]
    elif not _overlap(frames, names, height):
        return frames
    if len(every) == 1:
        held = f"only {every[0]}" if every[0] else f"nothing that names the {choice}"
        raise FileError(f"holds no {choice} {wanted[choice]!r}, {held}", file=path, mend=f"leave {choice}= out")
    plural = {"part": "kinds of images", "echo": "echoes"}[choice]
    example = with_selection(path, {**wanted, choice: _value(every[-1])})
    said = f"no {choice} {wanted[choice]!r}, but" if choice in wanted else f"{len(every)} {plural} of each slice:"
    raise FileError(
        f"holds {said} {', '.join(name or 'unnamed' for name in every)}",
        file=path,
        mend=f"choose one at the end of the path, such as {example}",
    )


def _overlap(frames: Sequence[Frame], names: Sequence[str], height: dict[int, int]) -> bool:
    shown: dict[str, set[int]] = {}
    for frame, name in zip(frames, names, strict=True):
        shown.setdefault(name, set()).add(height[id(frame)])
    groups = list(shown.values())
    return any(a & b for number, a in enumerate(groups) for b in groups[:number])


def _parts(frames: Sequence[Frame]) -> list[str]:
    common = set.intersection(*(set(frame.kind) for frame in frames))
    labels = {}
    for kind in dict.fromkeys(frame.kind for frame in frames):
        own = [value for value in kind if value not in common] or list(kind)
        known = [PARTS[value] for value in own if value in PARTS]
        labels[kind] = (known or ["_".join(own)])[0]
    if len(set(labels.values())) < len(labels):
        labels = {kind: "_".join(value for value in kind if value not in common) for kind in labels}
    return [labels[frame.kind] for frame in frames]


def _of_part(names: Sequence[str], wanted: str) -> list[str]:
    meant = (wanted.casefold(), PARTS.get(wanted.upper(), wanted).casefold())
    return [name for name in names if name.casefold() in meant]


def _echoes(frames: Sequence[Frame]) -> list[str]:
    found = sorted({_echo(frame) for frame in frames})
    numbered = len({number for _, number in found} - {0.0}) == len(found)
    names = {}
    for place, (time, number) in enumerate(found, start=1):
        echo = f"echo {number if numbered else place:g}"
        names[time, number] = f"{echo} (TE {time:.6g} ms)" if time else echo
    return [names[_echo(frame)] for frame in frames]


def _echo(frame: Frame) -> tuple[float, float]:
    return round(frame.echo_time or 0.0, 3), frame.echo_number or 0.0


def _of_echo(names: Sequence[str], wanted: str) -> list[str]:
    """Find the echoes of an echo time in ms, else that of a number."""
    try:
        value = float(wanted.lower().removesuffix("ms"))
    except ValueError:
        return []
    told = {name: _numbers(name) for name in names}
    found = [name for name, (_, time) in told.items() if time and abs(time - value) <= ECHO_TOLERANCE * time + 1e-3]
    return found or [name for name, (number, _) in told.items() if number == value]


def _numbers(name: str) -> tuple[float, float]:
    """Number and time of an echo, 0 where it has none."""
    number, time = _parted(name)
    return float(number), float(time or 0)


def _value(name: str) -> str:
    """What a user writes to choose a part or an echo: its name, or its time, else its number."""
    number, time = _parted(name)
    return time or number


def _parted(name: str) -> tuple[str, str]:
    """Number and time in the name of an echo."""
    number, _, time = name.removeprefix("echo ").partition(" (TE ")
    return number, time.removesuffix(" ms)")
