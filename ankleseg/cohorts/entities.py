"""Names of BIDS files, and those of the Spinal Cord Toolbox: ``sub-01_acq-thick_run-2_T2w_label-SC_seg``."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ankleseg.cohorts.files import stem

ENTITY = re.compile(r"([a-zA-Z0-9]+)-(.+)", re.DOTALL)
CONTRAST = re.compile(r"T[12]w|T2star\w*|T[12]map|PD\w?|PDT2|FLAIR|UNIT1|MTS|MTR|MP2RAGE|MEGRE|MESE|VFA|angio", re.I)
MANUAL = "-manual"  # a suffix of the Spinal Cord Toolbox may end so
CORD_SUFFIX = re.compile(r"(seg|gmseg|wmseg|lesion|softseg|centerline|rootlets|labels?(-\w+)?)(-manual)?", re.I)
SHORT = {  # as the keys of sidecars and tables call them: as they stand in names
    "acquisition": "acq",
    "ceagent": "ce",
    "direction": "dir",
    "inversion": "inv",
    "modality": "mod",
    "mtransfer": "mt",
    "processing": "proc",
    "reconstruction": "rec",
    "session": "ses",
    "subject": "sub",
    "tracer": "trc",
}


@dataclass(frozen=True)
class BidsName:
    """What the name of a file says.

    Attributes:
        entities: by their short keys, such as ``acq`` and ``run``.
        suffix: the last word, such as ``T1w`` or ``mask``.
        contrasts: of a derivative, the suffix of the image it was made of, where the name tells it.
        manual: whether the suffix says that it was drawn by hand.
    """

    entities: Mapping[str, str]
    suffix: str
    contrasts: tuple[str, ...] = ()
    manual: bool = False


def parse_name(file: Path) -> BidsName:
    """Take the name of a file apart.

    The value of ``label`` and ``desc`` may hold underscores; elsewhere a word without a key is a contrast.
    """
    *words, last = stem(file).split("_")
    if ENTITY.fullmatch(last) and not CORD_SUFFIX.fullmatch(last):
        words, last = [*words, last], ""
    entities: dict[str, str] = {}
    contrasts: list[str] = []
    key = ""
    for word in words:
        found = ENTITY.fullmatch(word)
        if found:
            key = found[1].lower()
            entities[key] = found[2]
        elif key in ("label", "desc") and not CONTRAST.fullmatch(word):
            entities[key] += f"_{word}"
        else:
            contrasts.append(word)
    if "mod" in entities:
        contrasts.append(entities["mod"])
    manual = last.lower().endswith(MANUAL)
    return BidsName(entities, last[: -len(MANUAL)] if manual else last, tuple(contrasts), manual)


def same_value(first: str | None, second: str | None) -> bool:
    """Tell whether two values of an entity are the same: in any case, and ``1`` as ``01``."""
    if first is None or second is None:
        return first is second
    if first.isdecimal() and second.isdecimal():
        return int(first) == int(second)
    return first.casefold() == second.casefold()


def differing(names: Sequence[BidsName]) -> list[str]:
    """Return the keys of the entities in which names differ, in the order they stand there."""
    keys = dict.fromkeys(key for name in names for key in name.entities)
    return [key for key in keys if len({(name.entities.get(key) or "").casefold() for name in names}) > 1]
