"""Which images of a BIDS session are taken: by suffix and by any entity, never by guessing between several."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ankleseg.cohorts.case import ONLY
from ankleseg.cohorts.entities import SHORT, BidsName, differing, parse_name, same_value
from ankleseg.cohorts.names import listed
from ankleseg.errors import CohortError

PREFERRED_SUFFIX = "T1w"
WITHOUT = "none"  # the value that asks for an image without an entity


@dataclass(frozen=True)
class Selection:
    """What was asked for.

    Attributes:
        suffixes: of the channels, such as ``T2w``, or ``ce-gad_T1w`` with entities of one channel alone; none takes
            the only image, or the only ``T1w``.
        entities: by their short keys, ``none`` for an image without it; ``acq`` not given takes the image without one
            where there is such an image.
        prefix: of the names of these settings in the command, for messages.
        by_acquisition: ``acq`` was given as the acquisition, which has to be given anew then.
    """

    suffixes: tuple[str, ...] = ()
    entities: Mapping[str, str] = field(default_factory=dict)
    prefix: str = "cohort."
    by_acquisition: bool = False

    @property
    def suffix(self) -> str | None:
        """The one suffix that is asked for, None where there is none, or several."""
        return self.suffixes[0] if len(self.suffixes) == 1 else None

    def channels(self) -> dict[str, Selection]:
        """What is asked of each channel, by its name."""
        asked = {}
        for channel in self.suffixes:
            name = parse_name(Path(channel))
            asked[channel] = replace(self, suffixes=(name.suffix,), entities={**self.entities, **name.entities})
        return asked

    def mend(self, wanted: Path, images: Sequence[Path]) -> str:
        """Return what to add to a command so that one of several images is taken."""
        names = {image: parse_name(image) for image in images}
        target = names[wanted]
        left = [image for image in images if image != wanted]
        told = []
        if any(names[image].suffix != target.suffix for image in left):
            told.append(f"{self.prefix}suffix={target.suffix}")
            left = [image for image in left if names[image].suffix == target.suffix]
        for key in differing(list(names.values())):
            others = [
                image for image in left if not same_value(names[image].entities.get(key), target.entities.get(key))
            ]
            if others:
                setting = "acquisition" if key == "acq" and self.by_acquisition else f"select.{key}"
                told.append(f"{self.prefix}{setting}={target.entities.get(key, WITHOUT)}")
                left = [image for image in left if image not in others]
        return " ".join(told) if told and not left else ""


def selection(suffix: Any, acquisition: object, select: object, prefix: str = "cohort.") -> Selection:
    """Bring what a user asks for into one form; numbers are names, None asks for nothing.

    Raises:
        CohortError: ``select`` is no mapping from entities to one value each, or an acquisition contradicts it.
    """
    if not isinstance(select, Mapping | None):
        raise CohortError(
            f"invalid select={select}: expected an entity and its value", mend=f"e.g. {prefix}select.run=2"
        )
    for key, value in (select or {}).items():
        if isinstance(value, Sequence | Mapping) and not isinstance(value, str):
            raise CohortError(f"select.{key} is given several values", mend=f"give one, e.g. {prefix}select.{key}=2")
    asked = {
        SHORT.get(key.lower(), key.lower()): str(value) for key, value in (select or {}).items() if value is not None
    }
    if acquisition is not None and not same_value(asked.setdefault("acq", str(acquisition)), str(acquisition)):
        raise CohortError(
            f"acquisition={acquisition} and select.acq={asked['acq']} contradict each other", mend="give one of them"
        )
    several = isinstance(suffix, Sequence) and not isinstance(suffix, str)
    suffixes = tuple(map(str, suffix if several else [suffix])) if suffix is not None else ()
    if len({name.casefold() for name in suffixes}) < len(suffixes):
        raise CohortError(
            f"invalid suffixes {', '.join(suffixes)}: expected each once",
            mend=f"tell images of one suffix apart, e.g. {prefix}suffix=[T1w,ce-gad_T1w] {prefix}select.ce=none",
        )
    return Selection(suffixes, asked, prefix, acquisition is not None)


def choose_images(folder: Path, images: Sequence[Path], asked: Selection) -> dict[str, Path]:
    """Return the images of a session that were asked for, by the names of the channels.

    Raises:
        CohortError: one of them is not there, or not clear (see `choose_image`).
    """
    if not asked.suffixes:
        image = choose_image(folder, images, asked)
        return {parse_name(image).suffix or ONLY: image}
    chosen = {}
    there = [parse_name(image).suffix for image in images]
    for name, one in asked.channels().items():
        try:
            chosen[name] = choose_image(folder, images, one)
        except CohortError as error:
            if len(asked.suffixes) > 1 and not any(same_value(suffix, one.suffix) for suffix in there):
                error.mend = f"add it, or leave {name} out of {asked.prefix}suffix"
            raise
    return chosen


def choose_image(folder: Path, images: Sequence[Path], asked: Selection) -> Path:
    """Return the one image of a session that was asked for.

    Without a suffix the only image is taken, or the only ``T1w``.

    Raises:
        CohortError: none or several, with the settings that choose one.
    """
    names = {image: parse_name(image) for image in images}
    suffix = asked.suffix
    if suffix is None and PREFERRED_SUFFIX in {name.suffix for name in names.values()}:
        suffix = PREFERRED_SUFFIX
    kinds = [image for image in images if suffix is None or same_value(names[image].suffix, suffix)]
    fitting = [image for image in kinds if _fits(names[image], asked, alone=len(kinds) == 1)]
    if "acq" not in asked.entities:
        fitting = [image for image in fitting if "acq" not in names[image].entities] or fitting
    if len(fitting) == 1:
        return fitting[0]
    having = [f"{key}-{value} " for key, value in asked.entities.items() if value.lower() != WITHOUT]
    lacking = [key for key, value in asked.entities.items() if value.lower() == WITHOUT]
    kind = f"{''.join(having)}{suffix + ' ' if suffix else ''}"
    without = f" without {' and '.join(lacking)}" if lacking else ""
    problem = f"holds {len(fitting)} {kind}images{without} where one is needed: "
    if not fitting:
        problem = f"holds no {kind}image{without}, but "
    raise CohortError(
        problem + listed([image.name for image in fitting or images]) + _differences(fitting or kinds or images),
        file=folder,
        mend=_mend(asked, fitting, kinds or list(images)),
    )


def _fits(name: BidsName, asked: Selection, *, alone: bool) -> bool:
    """Tell whether a name has the entities asked for; the only image of a session needs no number of a run."""
    for key, value in asked.entities.items():
        own = name.entities.get(key)
        if key == "run" and own is None and alone:
            continue
        if not same_value(own, None if value.lower() == WITHOUT else value):
            return False
    return True


def _differences(images: Sequence[Path]) -> str:
    names = [parse_name(image) for image in images]
    told = []
    suffixes = list(dict.fromkeys(name.suffix for name in names))
    if len(suffixes) > 1:
        told.append(f"contrast ({', '.join(suffixes)})")
    for key in differing(names):
        values = dict.fromkeys(name.entities.get(key, WITHOUT) for name in names)
        told.append(f"{key} ({', '.join(values)})")
    return f"; they differ in {' and '.join(told)}" if told else ""


def _mend(asked: Selection, fitting: Sequence[Path], kinds: Sequence[Path]) -> str:
    """The settings that choose one image; without a fitting one, those of an image that is there."""
    images = fitting or kinds
    settings = asked.mend(images[0], images)
    if settings:
        return f"choose one, e.g. by {settings}"
    if len(images) > 1:
        return "keep one of them, or list the scans in a table"
    name = parse_name(images[0])
    told = [f"{asked.prefix}suffix={name.suffix}"] if asked.suffix and not same_value(name.suffix, asked.suffix) else []
    told += [
        f"{asked.prefix}select.{key}={name.entities.get(key, WITHOUT)}"
        for key, value in asked.entities.items()
        if not same_value(name.entities.get(key), None if value.lower() == WITHOUT else value)
    ]
    return f"take what is there by {' '.join(told)}, or list the scans in a table"
