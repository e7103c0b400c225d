"""Penalties on the weights of a network."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

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
        weights = _weights_of(network)
        penalty = torch.zeros((), device=weights[0].device if weights else None)
        for weight in weights:
            if self.l1:
                penalty = penalty + self.l1 * weight.abs().sum()
            if self.l2:
                penalty = penalty + self.l2 * weight.square().sum()
        return penalty


class L2SP(nn.Module):
    """Penalty on the distance of weights to those that training started from: α/2 · Σ(w − w₀)² + β/2 · Σw² (L²-SP).

    It holds a fine-tuned network near its source. What was begun anew has no source and is held near 0 by β. Weights
    are the parameters of two dimensions or more. The start travels in the checkpoint of the task, so that a resumed run
    has it.

    Source: Li, Grandvalet and Davoine 2018, "Explicit inductive bias for transfer learning with convolutional
    networks".

    Args:
        alpha: factor of the distance to the start.
        beta: factor of what was begun anew.
        anew: parts of the network that were, such as ``init.surgery``.

    Raises:
        ValueError: a factor is negative.
    """

    def __init__(self, alpha: float = 0.1, beta: float = 0.01, anew: Sequence[str] = ()) -> None:
        super().__init__()
        if alpha < 0 or beta < 0:
            raise ValueError(f"the factors of L2SP are not negative, but alpha is {alpha} and beta is {beta}")
        self.alpha = alpha
        self.beta = beta
        self.anew = tuple(anew)

    def start_from(self, network: nn.Module, anew: Iterable[nn.Parameter] = ()) -> None:
        """Remember the weights of a network as the start, but for those that were begun anew."""
        begun = {id(parameter) for parameter in anew}
        for number, weight in enumerate(_weights_of(network)):
            start = torch.zeros_like(weight) if id(weight) in begun else weight.detach().clone()
            self.register_buffer(f"start_{number}", start)
            self.register_buffer(f"factor_{number}", torch.tensor(self.beta if id(weight) in begun else self.alpha))

    def forward(self, network: nn.Module) -> Scalar:
        distances = [
            self.get_buffer(f"factor_{number}") / 2 * (weight - self.get_buffer(f"start_{number}")).square().sum()
            for number, weight in enumerate(_weights_of(network))
        ]
        return torch.stack(distances).sum()


def _weights_of(network: nn.Module) -> list[nn.Parameter]:
    return [parameter for parameter in network.parameters() if parameter.ndim > 1]
