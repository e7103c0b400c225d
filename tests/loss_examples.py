"""Logits and labels whose losses are worked out by hand."""

from __future__ import annotations

from math import log

import torch

from ankleseg.losses import BinaryCrossEntropy, CategoricalCrossEntropy, DiceCrossEntropy, DiceLoss, Focal

ONE_OUTPUT = [BinaryCrossEntropy, DiceLoss, DiceCrossEntropy, Focal]
SOFTMAX = [CategoricalCrossEntropy, DiceLoss, DiceCrossEntropy, Focal]


def logit(probability: float) -> float:
    return log(probability / (1 - probability))


def one_output(*probabilities: float) -> torch.Tensor:
    """Logits (1, 1, n, 1) whose sigmoid is the probabilities."""
    return torch.tensor([logit(p) for p in probabilities]).view(1, 1, -1, 1)


def softmax_logits(*rows: tuple[float, ...]) -> torch.Tensor:
    """Logits (1, K, n, 1) whose softmax over K is the rows, one row a voxel."""
    return torch.tensor(rows).log().T[None, ..., None].contiguous()


def labels(*values: int) -> torch.Tensor:
    return torch.tensor(values).view(1, 1, -1, 1)


def confident(label: torch.Tensor, outputs: int, size: float = 100.0) -> torch.Tensor:
    """Logits that give each voxel its label with all certainty."""
    if outputs == 1:
        return size * (2.0 * label - 1.0)
    return torch.cat([torch.where(label == k, size, -size) for k in range(outputs)], dim=1)


def regions(seed: int, dtype: torch.dtype = torch.uint8) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits and overlapping masks (2, 3, 5, 6)."""
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(2, 3, 5, 6, generator=generator)
    return logits, (torch.rand(2, 3, 5, 6, generator=generator) < 0.5).to(dtype)
