"""Colours of structures and groups, told apart by colour-blind readers too (Okabe and Ito 2008)."""

from __future__ import annotations

from collections.abc import Iterable

from ankleseg.labels import STRUCTURE_COLOURS as STRUCTURE_COLOURS

GROUP_COLOURS = ("#2F4B7C", "#D1495B", "#7A9E3B", "#8A5FA8", "#B97A2B", "#4D8E8E", "#6B6B6B")


def colours(names: Iterable[str], palette: tuple[str, ...]) -> dict[str, str]:
    """Give every name a colour of the palette, in order; beyond its end the palette repeats."""
    return {name: palette[index % len(palette)] for index, name in enumerate(dict.fromkeys(names))}
