"""Penalties on the weights of a network."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

Scalar = Float[Tensor, ""]


class WeightPenalty:
    """Elastic net l1 · Σ|w| + l2 · Σw² over the weights of a network (Zou and Hastie 2005).

    Weights are the parameters of two dimensions or more: those of convolutions and linear layers. Biases and the
    scales and shifts of norm layers go free.

    Args:
        l1: factor of the sum of absolute values; alone it is the lasso.
        l2: factor of the sum of squares; alone it is ridge, or weight decay by loss.

    Raises:
        ValueError: a factor is negative.
    """

    def __init__(self, l1: float = 0.0, l2: float = 0.0) -> None:
        if l1 < 0 or l2 < 0:
            raise ValueError(f"the factors of a weight penalty are not negative, but l1 is {l1} and l2 is {l2}")
        self.l1 = l1
        self.l2 = l2

    def __call__(self, network: nn.Module) -> Scalar:
        weights = [parameter for parameter in network.parameters() if parameter.ndim > 1]
        penalty = torch.zeros((), device=weights[0].device if weights else None)
        for weight in weights:
            if self.l1:
                penalty = penalty + self.l1 * weight.abs().sum()
            if self.l2:
                penalty = penalty + self.l2 * weight.square().sum()
        return penalty
