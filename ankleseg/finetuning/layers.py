"""Keras and ONNX files: their convolutions and norms in order, as tensors of PyTorch."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd

from ankleseg.errors import CheckpointError

Layer = dict[str, Tensor]  # weight and bias, and of a norm running_mean and running_var
OF_KERAS = {
    "kernel": "weight", "bias": "bias",
    "gamma": "weight", "beta": "bias", "moving_mean": "running_mean", "moving_variance": "running_var",
}  # fmt: skip
OF_NORM = ("weight", "bias", "running_mean", "running_var")


def read_keras(path: Path, layout: Mapping[str, Any]) -> list[Layer]:
    """Convolutions and norms of a Keras file (.h5), each kind in the order of the numbers in its names.

    Kernels, stored (*sides, in, out), become (out, in, *sides); the order of their spatial axes is kept.

    Args:
        path: the file; links in it that lead to other files are not followed.
        layout: patterns of the names of ``convolutions`` and ``norms``.

    Raises:
        CheckpointError: it cannot be read, or h5py is not installed.
    """
    try:
        import h5py
    except ImportError as error:
        raise _not_installed("h5py", path) from error
    found: dict[str, Layer] = {}

    def visit(name: str, item: Any) -> None:
        layer, weight = name.split("/")[0], name.split("/")[-1]
        word = OF_KERAS.get(weight.partition(":")[0])
        if isinstance(item, h5py.Dataset) and word is not None and not item.external and not item.is_virtual:
            found.setdefault(layer, {})[word] = torch.from_numpy(np.asarray(item[()], dtype=np.float32))

    try:
        with h5py.File(path, "r") as file:
            file.get("model_weights", file).visititems(visit)
    except OSError as error:
        raise CheckpointError("is no Keras file, or is damaged", file=path, mend="get the file again") from error
    ordered = [
        found[name]
        for pattern in (layout["convolutions"], layout["norms"])
        for name in sorted((name for name in found if fnmatchcase(name, pattern)), key=_by_number)
    ]
    for layer in ordered:
        if layer.get("weight", torch.empty(0)).ndim > 2:
            layer["weight"] = torch.movedim(layer["weight"], (-1, -2), (0, 1)).contiguous()
    return ordered


def read_onnx(path: Path, layout: Mapping[str, Any]) -> list[Layer]:
    """Convolutions and batch norms of an ONNX file, in the order of its graph; nothing of it is run.

    A norm that was merged into its convolution is missing from it.

    Args:
        path: the file; weights that lie in further files are not read.
        layout: not used.

    Raises:
        CheckpointError: it cannot be read, a weight is no constant, or onnx is not installed.
    """
    try:
        import onnx
        from google.protobuf.message import DecodeError
    except ImportError as error:
        raise _not_installed("onnx", path) from error
    try:
        graph = onnx.load(str(path), load_external_data=False).graph
    except (OSError, DecodeError, ValueError) as error:
        raise CheckpointError("is no ONNX file, or is damaged", file=path, mend="get the file again") from error
    constants = {tensor.name: tensor for tensor in graph.initializer}
    constants |= {node.output[0]: node.attribute[0].t for node in graph.node if node.op_type == "Constant"}

    def tensor(name: str) -> Tensor:
        if name not in constants or constants[name].data_location == onnx.TensorProto.EXTERNAL:
            raise CheckpointError(f"holds no constant {name!r}", file=path, mend="export it with its weights inside")
        return torch.from_numpy(np.array(onnx.numpy_helper.to_array(constants[name]), dtype=np.float32))

    words = {"Conv": ("weight", "bias"), "BatchNormalization": OF_NORM}
    return [
        {word: tensor(name) for word, name in zip(words[node.op_type], node.input[1:], strict=False)}
        for node in graph.node
        if node.op_type in words
    ]


def named_as(layers: Sequence[Layer], network: nn.Module, epsilon: float, path: Path) -> dict[str, Tensor]:
    """Name layers after the convolutions and batch norms of a network, the first after the first.

    Args:
        layers: convolutions and norms, each kind in order.
        network: whose modules are in the order of computation.
        epsilon: of the norms; the difference to that of the network goes into the variance.
        path: the file, for messages.

    Raises:
        CheckpointError: there are more or fewer than in the network. All norms may be missing.
    """
    given = {kind: [layer for layer in layers if ("running_mean" in layer) == kind] for kind in (False, True)}
    modules: dict[bool, list[tuple[str, Any]]] = {
        kind: [(name, m) for name, m in network.named_modules() if isinstance(m, _BatchNorm if kind else _ConvNd)]
        for kind in (False, True)
    }
    if len(given[False]) != len(modules[False]) or len(given[True]) not in (0, len(modules[True])):
        raise CheckpointError(
            f"holds {len(given[False])} convolutions and {len(given[True])} norms, "
            f"the network {len(modules[False])} and {len(modules[True])}",
            file=path,
            mend="choose the network that it was made for, and its init.layout",
        )
    named: dict[str, Tensor] = {}
    for kind in (False, True):
        for layer, (name, module) in zip(given[kind], modules[kind], strict=False):
            named |= {f"{name}.{word}": value for word, value in layer.items()}
            if kind:
                named[f"{name}.running_var"] = layer["running_var"] + (epsilon - module.eps)
    return named


def _by_number(name: str) -> tuple[int, str]:
    number = re.search(r"_(\d+)$", name)
    return int(number[1]) if number else 0, name


def _not_installed(package: str, path: Path) -> CheckpointError:
    return CheckpointError(
        f"needs {package}, which is not installed", file=path, mend="pip install 'ankleseg[weights]'"
    )
