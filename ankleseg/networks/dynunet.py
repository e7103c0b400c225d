"""MONAI's DynUNet, mended where it is trained with deep supervision."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from monai.networks.nets import DynUNet as MonaiDynUNet
from torch import Tensor

from ankleseg.networks.blocks import check_sides


class DynUNet(MonaiDynUNet):
    """MONAI's ``DynUNet``, the network of nnU-Net (Isensee 2021), which gives its outputs as MONAI's loss takes them.

    MONAI's is wrong for training with deep supervision: it stacks the outputs of all resolutions into a sixth axis,
    which no loss takes, and keeps those of the last step with all that their gradients need, so that it cannot be
    copied, as for a validation, and holds memory.

    Takes a batch (B, in_channels, *spatial) whose sides divide by ``divisor``, the product of the strides, and gives
    logits (B, out_channels, *spatial); in training with deep supervision a list of them, the finest first, all of the
    same sides.

    Args:
        in_channels: image channels.
        out_channels: 1 for a single structure, else background and structures, or one for each region.
        spatial_dims: 2 or 3.
        filters: channels of the levels.
        strides: of the levels, along every axis, 1 first.
        norm_name, deep_supervision, deep_supr_num, others: see MONAI's.

    Raises:
        ValueError: a side does not divide, or there is not a stride for each level.
    """

    def __init__(
        self,
        in_channels: int = 1,
        out_channels: int = 1,
        spatial_dims: int = 2,
        filters: Sequence[int] = (16, 32, 64, 128, 256),
        strides: Sequence[int] = (1, 2, 2, 2, 2),
        **others: Any,
    ) -> None:
        if len(filters) != len(strides):
            raise ValueError(f"{len(filters)} filters do not fit {len(strides)} strides: give one for each level")
        super().__init__(
            spatial_dims,
            in_channels,
            out_channels,
            kernel_size=[3] * len(strides),
            strides=list(strides),
            upsample_kernel_size=list(strides[1:]),
            filters=list(filters),
            **others,
        )
        self.divisor = math.prod(strides)

    def forward(self, x: Tensor) -> Tensor | list[Tensor]:
        check_sides(x, self.divisor)
        outputs = super().forward(x)
        self.heads[:] = [torch.zeros(1)] * len(self.heads)
        return list(outputs.unbind(1)) if outputs.ndim > x.ndim else outputs
