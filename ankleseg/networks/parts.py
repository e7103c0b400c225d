"""The parts of a network by name: contraction, bottleneck, expansion, each a list of its modules from input to output.

A network names its own in an attribute ``parts``, a mapping from the name of a part to paths of modules. For those of
MONAI they are written here; a network around another one has the parts of that one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from fnmatch import fnmatchcase

from torch import Tensor, nn

from ankleseg.errors import ConfigError

Parts = dict[str, list[str]]


def parts(contraction: Sequence[str], bottleneck: Sequence[str], expansion: Sequence[str]) -> Parts:
    """The three parts of a network that goes down and up again, by the paths of their modules."""
    return {"contraction": list(contraction), "bottleneck": list(bottleneck), "expansion": list(expansion)}


def parts_of(network: nn.Module) -> Parts:
    """The parts of a network and the paths of their modules; none of a network that is not known."""
    own = getattr(network, "parts", None)
    if isinstance(own, Mapping):
        return {name: list(paths) for name, paths in own.items()}
    for kind in type(network).__mro__:
        if kind.__module__.startswith("monai.") and kind.__name__ in _OF_MONAI:
            return _OF_MONAI[kind.__name__](network)
    inner = [(name, child) for name, child in network.named_children() if any(True for _ in child.parameters())]
    if len(inner) != 1:
        return {}
    name, child = inner[0]
    return {part: [f"{name}.{path}" for path in paths] for part, paths in parts_of(child).items()}


def modules_in(network: nn.Module, names: Iterable[str], setting: str) -> list[nn.Module]:
    """The modules that names select, with all modules inside them.

    Args:
        network: has them.
        names: parts (see `parts_of`), paths of modules such as ``ascending.0``, or patterns such as ``ascending.*``;
            a sweep may write two of them as one, with a comma.
        setting: that gives the names, for messages.

    Raises:
        ConfigError: a name selects no weights.
    """
    named, paths = parts_of(network), dict(network.named_modules(remove_duplicate=False))
    chosen: dict[int, nn.Module] = {}
    for name in [name for text in names for name in str(text).split(",")]:
        patterns = named.get(name, [name])
        found = [module for path, module in paths.items() if path and any(fnmatchcase(path, p) for p in patterns)]
        if not any(True for module in found for _ in module.parameters()):
            known = [*named, *(child for child, _ in network.named_children() if child not in named)]
            raise ConfigError(
                f"invalid {setting} {name!r}: expected a part of the network with weights",
                mend=f"its parts are {', '.join(known)}; * stands for any letters",
            )
        chosen |= {id(inner): inner for module in found for inner in module.modules()}
    return list(chosen.values())


def rates_by_level(network: nn.Module, factor: float) -> dict[str, float]:
    """Factors on the learning rate of the levels of a network: 1 for the last, and smaller towards the input.

    Args:
        network: has parts; each module of these is a level.
        factor: from a level to the one before it.

    Raises:
        ConfigError: the network has no parts.
    """
    levels = [path for paths in parts_of(network).values() for path in paths]
    levels = [path for path in levels if any(True for _ in network.get_submodule(path).parameters())]
    if not levels:
        raise ConfigError("invalid task.rates: the network names no parts", mend="name parts with a factor each")
    return {path: factor**number for number, path in enumerate(reversed(levels)) if number > 0}


def parameters_of(modules: Iterable[nn.Module]) -> list[nn.Parameter]:
    """The parameters of modules themselves, not of others inside them, each once."""
    return list({id(p): p for module in modules for p in module.parameters(recurse=False)}.values())


def tensors_of(network: nn.Module) -> dict[str, Tensor]:
    """The tensors of a state dictionary themselves, each once, under the first of its names."""
    found: dict[int, tuple[str, Tensor]] = {}
    for name, tensor in network.state_dict(keep_vars=True).items():
        found.setdefault(id(tensor), (name, tensor))
    return dict(found.values())


def part_of_each(network: nn.Module) -> dict[str, str]:
    """The part that each tensor of `tensors_of` is in; that of a network without parts is its first module."""
    named = parts_of(network) or {name: [name] for name, _ in network.named_children()}
    of_each: dict[int, str] = {}
    for part, paths in named.items():
        for path in paths:
            for tensor in network.get_submodule(path).state_dict(keep_vars=True).values():
                of_each[id(tensor)] = part
    return {name: of_each.get(id(tensor), name.partition(".")[0]) for name, tensor in tensors_of(network).items()}


def _basic_unet(network: nn.Module) -> Parts:
    ups = [f"upcat_{n}" for n in (4, 3, 2, 1)]
    return parts(["conv_0", "down_1", "down_2", "down_3"], ["down_4"], [*ups, "final_conv"])


def _nested(network: nn.Module, path: str, last: Sequence[str] = ()) -> Parts:
    """Parts of a U-Net whose levels lie inside each other: down, a skip connection around what is below, up."""
    down, up = [], []
    while len(level := list(network.get_submodule(path).children())) == 3 and hasattr(level[1], "submodule"):
        down.append(f"{path}.0")
        up.append(f"{path}.2")
        path = f"{path}.1.submodule"
    return parts(down, [path], [*reversed(up), *last])


def _segresnet(network: nn.Module) -> Parts:
    *down, bottom = [f"down_layers.{n}" for n in range(len(network.down_layers))]  # type: ignore[arg-type]
    levels = range(len(network.up_layers))  # type: ignore[arg-type]
    up = [f"{kind}.{n}" for n in levels for kind in ("up_samples", "up_layers")]
    return parts(["convInit", *down], [bottom], [*up, "conv_final"])


def _segresnet_ds(network: nn.Module) -> Parts:
    *down, bottom = [f"encoder.layers.{n}" for n in range(len(network.encoder.layers))]  # type: ignore
    up = [f"up_layers.{n}" for n in range(len(network.up_layers))]  # type: ignore[arg-type]
    return parts(["encoder.conv_init", *down], [bottom], up)


def _dynunet(network: nn.Module) -> Parts:
    down = [f"downsamples.{n}" for n in range(len(network.downsamples))]  # type: ignore[arg-type]
    up = [f"upsamples.{n}" for n in range(len(network.upsamples))]  # type: ignore[arg-type]
    heads = ["deep_supervision_heads"] if hasattr(network, "deep_supervision_heads") else []
    return parts(["input_block", *down], ["bottleneck"], [*up, *heads, "output_block"])


_OF_MONAI: dict[str, Callable[[nn.Module], Parts]] = {
    "BasicUNet": _basic_unet,
    "DynUNet": _dynunet,
    "SegResNet": _segresnet,
    "SegResNetDS": _segresnet_ds,
    "UNet": lambda network: _nested(network, "model"),
    "VoxelMorphUNet": lambda network: _nested(network, "net.0", ["net.1"]),
}
