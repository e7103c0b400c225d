"""Figures of scores and of training, as PNG bytes."""

from __future__ import annotations

import io
import math
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ankleseg.report.colours import GROUP_COLOURS, STRUCTURE_COLOURS, colours

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK = "#222222"
FAINT = "#9A9A9A"
RESOLUTION = 150  # dots per inch
MISSED: dict[str, Any] = {"s": 30, "marker": "x"}


def distribution(
    structure: Sequence[str], group: Sequence[str], value: Sequence[float], *, label: str, rows: bool = False
) -> bytes:
    """Draw scores between 0 and 1 of every structure by group: each case a point, with median and quartiles behind.

    Zeros, which are misses, are drawn as crosses. The three sequences run in parallel, one entry a case and
    structure; ``label`` names the score. In ``rows`` structures lie below each other instead of side by side, so that
    many with long names are legible.
    """
    structures, groups = list(dict.fromkeys(structure)), list(dict.fromkeys(group))
    colour = colours(groups, GROUP_COLOURS)
    figure, axes = _distribution_figure(structures, groups, label, rows)
    jitter = np.random.default_rng(0)
    width = 0.8 / len(groups)
    for place, name in enumerate(structures):
        for order, of_group in enumerate(groups):
            values = np.array(
                [v for s, g, v in zip(structure, group, value, strict=True) if (s, g) == (name, of_group)]
            )
            if not len(values):
                continue
            centre = place + (order - (len(groups) - 1) / 2) * width
            _box(axes, values, centre, width, colour[of_group], rows)
            across = centre + jitter.uniform(-0.22, 0.22, len(values)) * width
            for chosen, style in ((values != 0, {"s": 22, "alpha": 0.85, "lw": 0}), (values == 0, MISSED)):
                places = (values[chosen], across[chosen]) if rows else (across[chosen], values[chosen])
                axes.scatter(*places, color=colour[of_group], zorder=3, **style)
    _score_limits(axes, value, rows)
    handles = [_mark(axes, color=colour[name], marker="o", label=name) for name in groups]
    if any(v == 0 for v in value):
        handles.append(_mark(axes, color=INK, marker="x", label="0: missed or invented"))
    _legend(figure, handles)
    return _png(figure)


def agreement(
    structure: Sequence[str], group: Sequence[str], reference_ml: Sequence[float], predicted_ml: Sequence[float]
) -> bytes:
    """Draw predicted against reference volumes, and their differences against their means (Bland and Altman 1986).

    The four sequences run in parallel, one entry a case and structure; volumes are in ml. The lines of the second
    panel are the mean difference and ± 1.96 standard deviations around it, of all structures together, in per cent
    of the mean of both volumes; entries with an empty volume are in the first panel only.
    """
    colour = colours(structure, STRUCTURE_COLOURS)
    marker = dict(zip(dict.fromkeys(group), "o^sDvP*" * (1 + len(group)), strict=False))
    true, found = np.asarray(reference_ml, dtype=float), np.asarray(predicted_ml, dtype=float)
    figure, (left, right) = _figure(8.4, 3.7, panels=2)
    differences = []
    for s, g, t, f in zip(structure, group, true, found, strict=True):
        style: dict[str, Any] = {"color": colour[s], "marker": marker[g], "s": 26, "edgecolor": INK, "lw": 0.4}
        left.scatter(t, f, zorder=3, clip_on=False, **style)
        if t > 0 and f > 0:
            differences.append(200 * (f - t) / (f + t))
            right.scatter((t + f) / 2, differences[-1], zorder=3, **style)
    end = 1.06 * max(true.max(), found.max(), 1e-9)
    left.plot([0, end], [0, end], color=FAINT, lw=1, zorder=1)
    left.set(xlim=(0, end), ylim=(0, end), xlabel="reference volume (ml)", ylabel="predicted volume (ml)")
    left.set_aspect("equal")
    right.axhline(0, color=INK, lw=0.6, zorder=1)
    _agreement_lines(right, np.array(differences))
    right.set(xlabel="mean of both volumes (ml)", ylabel="predicted − reference (%)", xlim=(0, end))
    handles = [_mark(left, color=colour[name], marker="s", label=name) for name in colour]
    if len(marker) > 1:
        handles += [_mark(left, color=INK, marker=marker[name], label=name, hollow=True) for name in marker]
    _legend(figure, handles)
    return _png(figure)


def training_curves(history: Mapping[str, Sequence[float]], marks: Sequence[tuple[int, str]] = ()) -> bytes:
    """Draw losses and validation Dice over the epochs, with the best epoch marked.

    Args:
        history: curves of one length by name. Names with ``loss`` go to the left panel, names with ``dice`` to the
            right one, others are not drawn. ``epoch``, if there, gives the horizontal axis; NaN leaves a gap.
        marks: epochs at which something begins, each with what it is; drawn as vertical lines.
    """
    from matplotlib.ticker import MaxNLocator

    count = max((len(curve) for curve in history.values()), default=0)
    epochs = np.asarray(history.get("epoch", range(count)), dtype=float)
    curves = {name: np.asarray(curve, dtype=float) for name, curve in history.items()}
    losses = {name: curve for name, curve in curves.items() if "loss" in name.lower()}
    dice = {name: curve for name, curve in curves.items() if "dice" in name.lower() and "loss" not in name.lower()}
    figure, (left, right) = _figure(8.4, 3.4, panels=2)
    for (name, curve), colour in zip(losses.items(), GROUP_COLOURS * (1 + len(losses)), strict=False):
        _curve(left, epochs, curve, color=colour, label=name)
    shown = np.concatenate([curve[np.isfinite(curve)] for curve in losses.values()]) if losses else np.empty(0)
    if len(shown) and shown.min() > 0 and shown.max() > 20 * shown.min():
        left.set_yscale("log")
    left.set(xlabel="epoch", ylabel="loss")
    mean = next((name for name in dice if not _of_structure(name)), None)
    single = {name: curve for name, curve in dice.items() if name != mean}
    for (name, curve), colour in zip(single.items(), STRUCTURE_COLOURS * (1 + len(single)), strict=False):
        _curve(right, epochs, curve, color=colour, label=_of_structure(name))
    if mean is not None and len(single) != 1:
        _curve(right, epochs, dice[mean], color=INK, label="mean", lw=2)
    right.set(xlabel="epoch", ylabel="validation Dice", ylim=(-0.02, 1.02))
    _mark_best(right, epochs, dice[mean] if mean else _mean_curve(list(dice.values())))
    for axes in (left, right):
        for epoch, text in marks:
            axes.axvline(epoch, color=FAINT, lw=1, ls=":", zorder=1)
            axes.text(epoch, 0.5, text, transform=axes.get_xaxis_transform(), rotation=90, color=FAINT, fontsize=7)
        if axes.get_legend_handles_labels()[0]:
            axes.legend(frameon=False, fontsize=8, loc="best")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        if len(epochs):
            margin = max(0.5, 0.03 * (epochs[-1] - epochs[0]))
            axes.set_xlim(epochs[0] - margin, epochs[-1] + margin)
    return _png(figure)


def _agreement_lines(axes: Axes, differences: np.ndarray) -> None:
    if len(differences) < 2:
        return
    bias, spread = differences.mean(), differences.std(ddof=1)
    low, high = bias - 1.96 * spread, bias + 1.96 * spread
    for level, style in ((bias, "-"), (low, "--"), (high, "--")):
        axes.axhline(level, color=FAINT, lw=1, ls=style, zorder=1)
    said = f"mean {bias:+.1f} %, limits of agreement {low:+.1f} to {high:+.1f} %".replace("-", "−")
    axes.set_title(said, fontsize=9, color=INK)


def _of_structure(name: str) -> str:
    """The structure in the name of a Dice curve: ``val/dice_talus`` → ``talus``, ``val/dice`` → nothing."""
    words = re.split(r"[/ ]", re.sub("dice", "/", name, flags=re.IGNORECASE))
    kept = [word.strip("_-") for word in words]
    return " ".join(word for word in kept if word and word not in ("val", "validation", "valid", "mean"))


def _mean_curve(curves: list[np.ndarray]) -> np.ndarray:
    if not curves:
        return np.empty(0)
    table = np.array(curves)
    known = np.isfinite(table)
    total = np.where(known, table, 0).sum(axis=0)
    return np.divide(total, known.sum(axis=0), out=np.full(table.shape[1], np.nan), where=known.any(axis=0))


def _mark_best(axes: Axes, epochs: np.ndarray, curve: np.ndarray) -> None:
    if not np.isfinite(curve).any():
        return
    best = int(np.nanargmax(curve))
    axes.axvline(epochs[best], color=FAINT, lw=1, ls="--", zorder=1)
    axes.scatter(epochs[best], curve[best], s=45, facecolor="none", edgecolor=INK, lw=1.2, zorder=4)
    axes.set_title(f"best epoch {epochs[best]:g}: {curve[best]:.3f}", fontsize=9, color=INK)


def _curve(axes: Axes, epochs: np.ndarray, curve: np.ndarray, *, color: str, label: str, lw: float = 1.4) -> None:
    known = np.isfinite(curve)
    single = "o" if known.sum() < 3 else None  # one or two points make no visible line
    axes.plot(epochs[known], curve[known], color=color, label=label, lw=lw, marker=single, ms=4)


def _distribution_figure(
    structures: Sequence[str], groups: Sequence[str], label: str, rows: bool
) -> tuple[Figure, Axes]:
    """The figure of `distribution`, its structures named along one axis and the score along the other."""
    if rows:
        lines = max(max(name.count("\n") + 1 for name in structures), len(groups))
        figure, (axes,) = _figure(8.4, 0.9 + 0.19 * (lines + 0.6) * len(structures))
        axes.grid(visible=False)
        axes.grid(axis="x", color="#E6E6E6", lw=0.7)
        axes.set_yticks(range(len(structures)), structures)
        axes.set_ylim(len(structures) - 0.4, -0.6)
        axes.set_xlabel(label)
    else:
        figure, (axes,) = _figure(max(8.4, 1.6 + 0.75 * len(structures) * len(groups)), 3.4)
        axes.set_xticks(range(len(structures)), structures)
        axes.set_xlim(-0.6, len(structures) - 0.4)
        axes.set_ylabel(label)
    return figure, axes


def _box(axes: Axes, values: np.ndarray, centre: float, width: float, colour: str, rows: bool = False) -> None:
    low, median, high = np.percentile(values, [25, 50, 75])
    sides, middle = [centre - 0.34 * width, centre + 0.34 * width], [median, median]
    fill = axes.fill_betweenx if rows else axes.fill_between
    fill(sides, low, high, color=colour, alpha=0.18, lw=0, zorder=1)
    axes.plot(*((middle, sides) if rows else (sides, middle)), color=colour, lw=1.8, zorder=2)


def _score_limits(axes: Axes, value: Sequence[float], rows: bool) -> None:
    lowest = min(value, default=0.0)
    bottom = max(0.0, math.floor(10 * lowest - 0.5) / 10)
    limits = axes.set_xlim if rows else axes.set_ylim
    limits(bottom - 0.02 * (1 - bottom), 1 + 0.02 * (1 - bottom))


def _figure(width: float, height: float, panels: int = 1, rows: int = 1) -> tuple[Figure, list[Axes]]:
    """A figure of so many inches with its panels; the object interface touches no global state."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained", facecolor="white")
    all_axes = [figure.add_subplot(rows, panels, index + 1) for index in range(rows * panels)]
    for axes in all_axes:
        axes.spines[["top", "right"]].set_visible(False)
        axes.spines[["left", "bottom"]].set_color(FAINT)
        axes.tick_params(colors=INK, labelsize=8.5, length=3)
        axes.grid(axis="y", color="#E6E6E6", lw=0.7)
        axes.set_axisbelow(True)
        axes.xaxis.label.set_color(INK)
        axes.yaxis.label.set_color(INK)
    return figure, all_axes


def _mark(axes: Axes, *, color: str, marker: str, label: str, hollow: bool = False) -> Any:
    from matplotlib.lines import Line2D

    face = "none" if hollow else color
    return Line2D([], [], color=color, marker=marker, markerfacecolor=face, ls="", ms=6, label=label)


def _legend(figure: Figure, handles: list[Any]) -> None:
    figure.legend(handles=handles, loc="outside upper center", ncols=min(len(handles), 6), frameon=False, fontsize=8.5)


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=RESOLUTION)
    return buffer.getvalue()
