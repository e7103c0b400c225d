"""What a registration network is trained by: how unlike the moved image is, and how rough its flow."""

from __future__ import annotations

import inspect

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn

Images = Float[Tensor, "batch channels *spatial"]
Field = Float[Tensor, "batch dimensions *flow"]
Mask = Shaped[Tensor, "batch 1 *spatial"]
Scalar = Float[Tensor, ""]


class RegistrationLoss(nn.Module):
    """Weighted sum of a dissimilarity and a penalty on the flow (Balakrishnan 2019).

    The published code weighs the penalty by the number of voxels that a voxel of the flow spans along an axis: 2 for a
    velocity at half the resolution, 1 for a displacement.

    Args:
        similarity: called with the moved and the fixed image (B, C, *spatial), the smaller the better; and with a mask
            (B, 1, *spatial) where it takes one, else the images are 0 outside the mask.
        smoothness: called with the flow (B, D, *flow), in voxels.
        similarity_weight, smoothness_weight: published are 1, and 0.01 for the mean squared error, 1 for the local
            correlation.

    Raises:
        ValueError: a weight is negative; when called: the images have different shapes.
    """

    def __init__(
        self,
        similarity: nn.Module,
        smoothness: nn.Module,
        similarity_weight: float = 1.0,
        smoothness_weight: float = 0.01,
    ) -> None:
        super().__init__()
        for name, weight in (("similarity_weight", similarity_weight), ("smoothness_weight", smoothness_weight)):
            if weight < 0:
                raise ValueError(f"invalid {name} {weight}: expected 0 or more")
        self.similarity = similarity
        self.smoothness = smoothness
        self.similarity_weight = similarity_weight
        self.smoothness_weight = smoothness_weight
        self._masks = "mask" in inspect.signature(similarity.forward).parameters

    def forward(
        self, moved: Images, fixed: Images, flow: Field, mask: Mask | None = None, downsizing: int = 1
    ) -> Scalar:
        """Compare a moved image with the fixed one.

        Args:
            moved, fixed: images.
            flow: what the network gave.
            mask: voxels that count; None: all.
            downsizing: voxels of the image that a voxel of the flow spans along an axis.
        """
        unlike = self.dissimilarity(moved, fixed, mask)
        rough = self.smoothness(flow.float())
        return self.similarity_weight * unlike + self.smoothness_weight * downsizing * rough

    def dissimilarity(self, moved: Images, fixed: Images, mask: Mask | None = None) -> Scalar:
        """The first term, without its weight."""
        if moved.shape != fixed.shape:
            raise ValueError(f"a moved image of {tuple(moved.shape)} does not fit a fixed one of {tuple(fixed.shape)}")
        if mask is None:
            return self.similarity(moved, fixed)
        if self._masks:
            return self.similarity(moved, fixed, mask=mask)
        inside = mask.to(moved.dtype)
        return self.similarity(moved * inside, fixed * inside)


def left_out(labels: Shaped[Tensor, "batch structures *spatial"]) -> Float[Tensor, "batch 1 *spatial"]:
    """The mask that leaves structures out: 1 where none of these is, by masks that may be blurred by being moved."""
    return (labels.amax(dim=1, keepdim=True) <= 0.5).to(torch.float32)
