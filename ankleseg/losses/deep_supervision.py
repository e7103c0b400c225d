"""The loss of a network that gives its answer at several resolutions."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import Tensor


def deep_supervision(
    loss: Callable[..., Tensor], outputs: Sequence[Tensor], label: Tensor, known: Tensor | None = None
) -> Tensor:
    """Sum of the losses of outputs at several resolutions, 1, 1/2, 1/4, … of each, by MONAI's ``DeepSupervisionLoss``.

    MONAI's takes labels of floating-point numbers alone, and passes nothing else on.

    Args:
        loss: called with logits, a label and, where it is given, ``known``.
        outputs: logits (B, K, *spatial) each, the finest first; of a coarser grid the label takes its nearest voxels.
        label: (B, 1, *spatial) or of regions (B, K, *spatial).
        known: (B, structures).
    """
    from monai.losses import DeepSupervisionLoss

    others = [] if known is None else [known]

    def at_one_resolution(logits: Tensor, target: Tensor) -> Tensor:
        return loss(logits, target.to(label.dtype), *others)

    return DeepSupervisionLoss(at_one_resolution)(list(outputs), label.float())  # type: ignore[arg-type]
