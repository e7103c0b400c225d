"""Losses of restored images.

Each is called with output and target (B, C, *spatial) and, where it is known, the correlation (B,) of image and target.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

Scalar = Float[Tensor, ""]
Images = Float[Tensor, "batch channels *spatial"]
Target = Float[Tensor, "..."]  # (batch, channels, *spatial), checked when called
Correlation = Float[Tensor, "batch"]


class MeanSquaredError(nn.Module):
    """Mean squared difference of output and target: what Noise2Noise learns the mean of (Lehtinen 2018).

    Raises (when called):
        ValueError: output and target have different shapes.
    """

    def forward(self, output: Images, target: Target, correlation: Correlation | None = None) -> Scalar:
        check_shapes(output, target)
        return (output.float() - target).square().mean()


class CorrelationWeighted(nn.Module):
    """Mean over the batch of g(c) · d, for patches of correlation c and distance d of output and target.

    Coupeau 2020 weighs by g(c) = 1 / (1 + exp(−10 (c − 0.5))), so that badly registered patches teach less. (The
    document sums over the batch; the published code, as here, divides by its size.)

    A learnt g has a trainable slope and centre in place of 10 and 0.5. Trained as it is, it would go to 0, where the
    loss is least. So the weights of a batch are divided by their geometric mean: with it fixed, g is best where the
    weight of a patch is inversely proportional to the distance that its correlation lets expect (the profile
    likelihood of a Laplace distribution, its scale a function of c, as in Kendall and Gal 2017). The arithmetic mean
    would not do: all weight on the easiest patch would be best.

    Args:
        distance: ``l1``, the sum of absolute differences in the patch, or ``l2``, the Euclidean norm.
        weight: ``published``, ``learnt``, or ``none``, which weighs all patches alike.
        gradient: factor of the same distance of the differences between neighbouring voxels, which is added.

    Raises:
        ValueError: another distance or weight, or a negative factor; when called: output and target have different
            shapes, or no correlation is given.
    """

    def __init__(self, distance: str = "l1", weight: str = "published", gradient: float = 0.0) -> None:
        super().__init__()
        for value, known in ((distance, ("l1", "l2")), (weight, ("published", "learnt", "none"))):
            if value not in known:
                raise ValueError(f"{value!r} is none of {', '.join(known)}")
        if gradient < 0:
            raise ValueError(f"the factor of the gradients is not negative, but is {gradient}")
        self.order = {"l1": 1, "l2": 2}[distance]
        self.weight = weight
        self.gradient = gradient
        # of about the same size, so that an optimiser moves both alike
        self.tenth_of_slope = nn.Parameter(torch.tensor(1.0), requires_grad=weight == "learnt")
        self.centre = nn.Parameter(torch.tensor(0.5), requires_grad=weight == "learnt")

    def forward(self, output: Images, target: Target, correlation: Correlation | None = None) -> Scalar:
        check_shapes(output, target)
        difference = output.float() - target
        distance = self._norm(difference)
        if self.gradient:
            for axis in range(2, difference.ndim):
                distance = distance + self.gradient * self._norm(difference.diff(dim=axis))
        if self.weight == "none":
            return distance.mean()
        if correlation is None:
            raise ValueError("the weight of a patch needs the correlation of its image and target")
        return (self.weights(correlation) * distance).mean()

    def weights(self, correlation: Correlation) -> Correlation:
        """Weights of the patches of a batch."""
        exponent = functional.logsigmoid(10 * self.tenth_of_slope * (correlation - self.centre))
        if self.weight == "learnt":
            exponent = exponent - exponent.mean()
        return exponent.exp()

    def _norm(self, difference: Tensor) -> Tensor:
        return torch.linalg.vector_norm(difference.flatten(1), self.order, dim=1)


def check_shapes(output: Tensor, target: Tensor) -> None:
    """Refuse a target of another shape than the output; raises ValueError."""
    if output.shape != target.shape:
        raise ValueError(f"a target of shape {tuple(target.shape)} does not fit an output of {tuple(output.shape)}")
