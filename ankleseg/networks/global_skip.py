"""A network that gives a change of its image instead of an image."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn


class GlobalSkip(nn.Module):
    """The first channel of the image is added to the first output of a network (Kim 2016; Zhang 2017).

    Little is left to learn where an image is to become one that looks much like it.

    Takes a batch (B, C, *spatial) and gives (B, K, *spatial); sides divide by the ``divisor`` of the network.

    Args:
        network: built for the same channels.
        in_channels, out_channels: those of `network`; kept beside it for what reads them.
    """

    def __init__(self, network: nn.Module, in_channels: int = 1, out_channels: int = 1) -> None:
        super().__init__()
        self.network = network
        self.divisor = int(getattr(network, "divisor", 1))

    def forward(self, x: Float[Tensor, "batch channels *spatial"]) -> Float[Tensor, "batch outputs *spatial"]:
        change = self.network(x)
        return torch.cat([x[:, :1] + change[:, :1], change[:, 1:]], dim=1)
