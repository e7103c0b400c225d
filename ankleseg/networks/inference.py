"""A network made ready to predict: the same function, computed faster."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from ankleseg.networks.fused import can_be_fused, fused
from ankleseg.networks.segsrgan_layers import InstanceNorm

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
DROPOUTS = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d)  # which do nothing in eval mode
BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
INSTANCE_NORMS = (nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d)


def for_inference(network: nn.Module) -> nn.Module:
    """A copy of the network in eval mode that gives the same outputs up to rounding, and faster on a CPU.

    A batch norm that directly follows a convolution within ``nn.Sequential`` is folded into its weights, the weights of
    two-dimensional convolutions are laid channels last, and convolutions are computed by `fused`, with a ReLU that
    follows them: on whole slices of 576×576 the published U-Net is 1.9 times as fast, 1.2 times by the folding and 1.55
    by the rest. Instance norms become group norms of one channel a group, the same function that PyTorch computes
    faster: MONAI's BasicUNet takes 0.6 to 0.7 of its time (``benchmarks/instance_norms.py``). Those of SegSRGAN write
    over their input, which spares memory. What cannot be changed (other norms, other containers, hooks) computes as in
    eval mode. The copy is for prediction alone: its parameters are not those of the network, which stays as it is, and
    must not change. A network must not reach into such a container for the output of the convolution alone.
    """
    ready = copy.deepcopy(network).eval()
    with torch.no_grad():
        _fold_batch_norms(ready)
    _group_instance_norms(ready)
    for module in ready.modules():
        if isinstance(module, InstanceNorm):
            module.in_place = True
        if isinstance(module, nn.Conv2d):
            module.weight.data = module.weight.contiguous(memory_format=torch.channels_last)
    _fuse_convolutions(ready)
    return ready


def _uses(network: nn.Module) -> Counter[int]:
    """How many places in the network each module has."""
    # children() and named_children() would pass over the second use of a child in the same container.
    return Counter(id(child) for module in network.modules() for child in module._modules.values())


def _fuse_convolutions(network: nn.Module) -> None:
    uses = _uses(network)
    for container in [module for module in network.modules() if _is_plain_sequential(module)]:
        places = [(at, name) for at, name in _places(container, uses) if not _does_nothing(at.get_submodule(name))]
        for (before, conv_name), (after, relu_name) in pairwise(places):
            conv, relu = before.get_submodule(conv_name), after.get_submodule(relu_name)
            if _can_fuse(conv, uses) and type(relu) is nn.ReLU and not _has_hooks(relu):
                setattr(before, conv_name, fused(conv, relu=True))
                setattr(after, relu_name, nn.Identity())
    for module in list(network.modules()):
        for name, child in module.named_children():
            if _can_fuse(child, uses):
                setattr(module, name, fused(child, relu=False))


def _can_fuse(conv: nn.Module, uses: Counter[int]) -> bool:
    return can_be_fused(conv) and uses[id(conv)] == 1 and not _has_hooks(conv)


def _does_nothing(module: nn.Module) -> bool:
    return type(module) in (nn.Identity, *DROPOUTS) and not _has_hooks(module)


def _fold_batch_norms(network: nn.Module) -> None:
    uses = _uses(network)
    for container in [module for module in network.modules() if _is_plain_sequential(module)]:
        for (before, conv_name), (after, norm_name) in pairwise(_places(container, uses)):
            conv: Any = before.get_submodule(conv_name)
            norm: Any = after.get_submodule(norm_name)
            if _can_fold(conv, norm):
                setattr(before, conv_name, fuse_conv_bn_eval(conv, norm, transpose=isinstance(conv, TRANSPOSED)))
                setattr(after, norm_name, nn.Identity())


def _group_instance_norms(network: nn.Module) -> None:
    for module in list(network.modules()):
        for name, child in module.named_children():
            norm: Any = child
            if type(norm) not in INSTANCE_NORMS or norm.track_running_stats or _has_hooks(norm):
                continue
            grouped = nn.GroupNorm(norm.num_features, norm.num_features, norm.eps, norm.affine).eval()
            grouped.weight, grouped.bias = norm.weight, norm.bias
            setattr(module, name, grouped)


def _is_plain_sequential(module: nn.Module) -> bool:
    plain = isinstance(module, nn.Sequential) and type(module).forward is nn.Sequential.forward
    return plain and not _has_hooks(module)


def _has_hooks(module: nn.Module) -> bool:
    return bool(module._forward_hooks or module._forward_pre_hooks)


def _places(container: nn.Module, uses: Counter[int]) -> Iterator[tuple[nn.Module, str]]:
    """The places of a sequential container in the order of computation, through containers inside it.

    A container used in several places is not entered: what precedes it differs from one use to the other.
    """
    children: dict[str, Any] = container._modules
    for name, child in children.items():
        if _is_plain_sequential(child) and uses[id(child)] == 1:
            yield from _places(child, uses)
        else:
            yield container, name


def _can_fold(conv: Any, norm: Any) -> bool:
    # Exact types: a subclass, one with parametrised weights among them, may compute something else.
    if type(conv) not in CONVOLUTIONS + TRANSPOSED or type(norm) not in BATCH_NORMS:
        return False
    transposed_in_groups = isinstance(conv, TRANSPOSED) and conv.groups > 1  # fusing them is not right in torch
    return norm.running_mean is not None and not (transposed_in_groups or _has_hooks(conv) or _has_hooks(norm))
