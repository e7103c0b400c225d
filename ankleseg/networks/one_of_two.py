"""A network of background and one structure as one of the structure alone."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor, nn


class OneOfTwo(nn.Module):
    """The second of two outputs minus the first: its sigmoid is the softmax of the two.

    Takes what the network takes, and gives (B, 1, *spatial).

    Args:
        network: gives (B, 2, *spatial), such as those of MONAI's model zoo with a background.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        if hasattr(network, "divisor"):
            self.divisor = network.divisor

    def forward(self, x: Float[Tensor, "batch channels *spatial"]) -> Float[Tensor, "batch 1 *spatial"]:
        outputs = self.network(x)
        return outputs[:, 1:2] - outputs[:, :1]
