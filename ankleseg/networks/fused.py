"""Convolutions that oneDNN computes in one call with the ReLU behind them, from weights laid out once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional


class _Fused(nn.Module):
    """Part of a two- or three-dimensional convolution; see `fused`."""

    relu: bool = False
    _packed: Tensor | None = None

    # what a convolution has
    weight: Tensor
    bias: Tensor | None
    padding: Any
    stride: tuple[int, ...]
    dilation: tuple[int, ...]
    groups: int
    _conv_forward: Callable[..., Tensor]

    def forward(self, input: Tensor) -> Tensor:
        if not _one_call(input, self.weight):
            output = self._conv_forward(input, self.weight, self.bias)
            return functional.relu_(output) if self.relu else output
        settings = self.padding, self.stride, self.dilation, self.groups
        if self._packed is None:
            self._packed = torch.ops.mkldnn._reorder_convolution_weight(self.weight, *settings, input.shape)
        after = "relu" if self.relu else "none"
        return torch.ops.mkldnn._convolution_pointwise(input, self._packed, self.bias, *settings, after, [], "")

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_packed"}  # oneDNN's can't be copied


class FusedConv2d(_Fused, nn.Conv2d):
    pass


class FusedConv3d(_Fused, nn.Conv3d):
    pass


FUSED: dict[type[nn.Module], type[nn.Module]] = {nn.Conv2d: FusedConv2d, nn.Conv3d: FusedConv3d}


def can_be_fused(convolution: nn.Module) -> bool:
    """Whether oneDNN has this very convolution; a subclass, one with parametrised weights among them, may differ."""
    kind: Any = convolution
    return type(kind) in FUSED and kind.padding_mode == "zeros" and not isinstance(kind.padding, str)


def fused(convolution: nn.Module, *, relu: bool) -> nn.Module:
    """A convolution with the same parameters that computes the same, with a ReLU where asked, in one call of oneDNN.

    PyTorch's own way lays the weights out again in each call and passes over the output once more for the ReLU. The
    call is the one that PyTorch's compiler makes, and needs no compiler. Elsewhere than on a CPU, in other types than
    float32, under autocast, while tracing and where gradients are taken the plain layers are run. The weights must not
    change after the first call.
    """
    given: Any = convolution
    made: Any = FUSED[type(convolution)].__new__(FUSED[type(convolution)])
    made.__dict__.update(given.__dict__)
    made.relu = relu
    return made


def _one_call(x: Tensor, weight: Tensor) -> bool:
    return (
        x.device.type == weight.device.type == "cpu"
        and x.dtype == weight.dtype == torch.float32
        and not torch.is_grad_enabled()
        and not torch.is_autocast_enabled("cpu")
        and not torch.jit.is_tracing()
        and not torch.compiler.is_compiling()
        and torch.backends.mkldnn.is_available()
        and bool(torch.backends.mkldnn.enabled)
        and hasattr(torch.ops.mkldnn, "_convolution_pointwise")
    )
