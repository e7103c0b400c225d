"""What of a source fits a network, what is begun anew, and the table that says so."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from ankleseg.errors import CheckpointError, ConfigError
from ankleseg.networks.parts import part_of_each, tensors_of

MATCHES = ("strict", "shape", "channels")
COLUMNS = ("copied", "begun anew", "missing", "unused")
COUNTER = "num_batches_tracked"  # of a batch norm, which only says how many batches it has seen
SHOWN = 4  # names in a message


@dataclass(frozen=True)
class Fit:
    """What becomes of each tensor of a network and of a source.

    Attributes:
        values: what is copied, by the names of the network.
        columns: one of `COLUMNS` for each tensor of the network, and ``unused`` for those of the source.
        sizes: their numbers of values.
        parts: the part of the network that each is in, ``(source)`` where it is in none.
        reshaped: those of the network that are begun anew because they are of another shape in the source.
    """

    values: Mapping[str, Tensor]
    columns: Mapping[str, str]
    sizes: Mapping[str, int]
    parts: Mapping[str, str]
    reshaped: tuple[str, ...] = ()

    def named(self, column: str) -> list[str]:
        """Tensors in a column."""
        return [name for name, found in self.columns.items() if found == column]

    def describe(self) -> str:
        """Return the table to print: for each part of the network, tensors and values that are copied and not."""
        rows: list[tuple[str, ...]] = [("part", *COLUMNS)]
        for part in [*dict.fromkeys(self.parts.values()), None]:
            cells = []
            for column in COLUMNS:
                names = [n for n in self.named(column) if part is None or self.parts[n] == part]
                cells.append(f"{len(names)} ({sum(self.sizes[n] for n in names):,})" if names else "0")
            rows.append((part or "all", *cells))
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        aligned = [[cell.rjust(width) for cell, width in zip(row, widths, strict=True)] for row in rows]
        lines = ["  ".join([row[0].ljust(widths[0]), *cells[1:]]) for row, cells in zip(rows, aligned, strict=True)]
        return "\n".join(["weights at the start, in tensors (and values):", *lines])


def fit_of(network: nn.Module, weights: Mapping[str, Tensor], match: str, anew: Iterable[nn.Module] = ()) -> Fit:
    """Find what of a source fits a network.

    Args:
        network: gets the weights, and stays as it is.
        weights: of the source, by name.
        match: ``shape`` copies the tensors of the same name and shape; ``channels`` also turns the first layer into one
            for another number of channels, each of which gets the mean of the source's, scaled so that the same image
            in all channels gives the same; ``strict`` is ``shape``, and `require_fit` wants all of it.
        anew: modules that get nothing.

    Raises:
        ConfigError: there is no such ``match``.
    """
    if match not in MATCHES:
        raise ConfigError(f"invalid init.match {match!r}: expected one of {', '.join(MATCHES)}", mend="correct it")
    own, parts = tensors_of(network), part_of_each(network)
    begun = {id(tensor) for module in anew for tensor in module._parameters.values()}
    begun |= {id(tensor) for module in anew for tensor in module._buffers.values()}
    adapted = _first_layer(own, weights) if match == "channels" else (lambda name, value: value)
    values: dict[str, Tensor] = {}
    columns: dict[str, str] = {}
    reshaped: list[str] = []
    for name, tensor in own.items():
        value = adapted(name, weights[name]) if name in weights else None
        if id(tensor) in begun:
            columns[name] = "begun anew"
        elif value is None:
            columns[name] = "missing"
        elif value.shape == tensor.shape:
            values[name], columns[name] = value, "copied"
        else:
            columns[name] = "begun anew"
            reshaped.append(name)
    for counter in [name for name in columns if name.endswith(COUNTER) and columns[name] == "missing"]:
        del columns[counter]
    sizes = {name: own[name].numel() for name in columns}
    for name in sorted(weights.keys() - network.state_dict().keys()):
        columns[name], sizes[name] = "unused", weights[name].numel()
    return Fit(values, columns, sizes, {name: parts.get(name, "(source)") for name in columns}, tuple(reshaped))


def _first_layer(own: Mapping[str, Tensor], weights: Mapping[str, Tensor]) -> Callable[[str, Tensor], Tensor]:
    """How the weights of a source become those of a network with another number of input channels."""
    first = next((name for name, tensor in own.items() if tensor.ndim > 2 and name in weights), None)
    if first is None or weights[first].ndim != own[first].ndim:
        return lambda name, value: value
    before, after = weights[first].shape[1], own[first].shape[1]

    def adapted(name: str, value: Tensor) -> Tensor:
        wanted = own[name].shape
        if value.ndim < 3 or value.shape[1] != before or wanted != (value.shape[0], after, *value.shape[2:]):
            return value
        return (value.mean(1, keepdim=True) * before / after).expand(wanted).clone() if before != after else value

    return adapted


def require_fit(fit: Fit, match: str, path: Path, networks: str = "") -> None:
    """Refuse a source of which no weights are copied (biases and norms do not count), or with ``strict`` not all.

    Args:
        fit: what was found.
        match: what was asked for.
        path: the source, for messages.
        networks: which networks do not fit, where they differ.

    Raises:
        CheckpointError: naming the first tensors that do not fit. Those that are begun anew on purpose need not.
    """
    if not any(value.ndim > 1 for value in fit.values.values()):
        raise CheckpointError(
            f"has no weights that fit the network{networks}",
            file=path,
            mend="choose the network that it was trained with, by network=…",
        )
    found = {"of another shape": fit.reshaped, "missing": fit.named("missing"), "of no use": fit.named("unused")}
    for problem, names in found.items():
        if names and match == "strict":
            more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
            raise CheckpointError(
                f"does not fit the network{networks}: {problem} {'is' if len(names) == 1 else 'are'} "
                f"{', '.join(names[:SHOWN])}{more}",
                file=path,
                mend="add init.match=shape to copy what fits",
            )


def copy_into(network: nn.Module, values: Mapping[str, Tensor]) -> None:
    """Put tensors into a network, by name."""
    own = tensors_of(network)
    with torch.no_grad():
        for name, value in values.items():
            own[name].copy_(value)
