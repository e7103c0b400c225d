"""Weights in half precision: a file of half the size, whose answers are compared with those of the whole one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from ankleseg.errors import CheckpointError
from ankleseg.inference.bundle.exchange import examples

WORST = 1e-2  # of the range of the outputs: a network that differs by more is not written


def in_half(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights of convolutions and linear layers as float16; biases and what norms know stay as they are."""
    return {
        name: value.half() if value.ndim > 1 and value.is_floating_point() else value for name, value in weights.items()
    }


def difference_of(rounded: nn.Module, whole: nn.Module, channels: int, window: Sequence[int], path: Path) -> str:
    """How far the outputs of a network of rounded weights are from those of the whole ones, in a line to print.

    Args:
        rounded, whole: in eval mode, on the CPU.
        channels: of the input.
        window: sides of a tile.
        path: of the checkpoint, for messages.

    Raises:
        CheckpointError: by more than a hundredth of their range.
    """
    inputs = examples(whole, channels, window, batch=1)
    with torch.no_grad():
        expected, given = whole(*inputs), rounded(*inputs)
    difference = float((given - expected).abs().max())
    extent = max(float(np.ptp(expected.numpy())), 1e-12)
    if not difference <= WORST * extent:
        raise CheckpointError(
            f"in half precision its outputs differ by {difference:.2g}, of a range of {extent:.2g}",
            file=path,
            mend="leave half=true out",
        )
    return f"models/model.pt: in half precision; outputs differ by {difference:.1e} at most, of a range of {extent:.3g}"
