"""Schedules of the learning rate over the steps of a run."""

from __future__ import annotations

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR


def polynomial_decay(optimizer: Optimizer, *, total_steps: int, power: float = 0.9, warm_up: float = 0.03) -> LambdaLR:
    """Rise linearly over the first steps, then fall to zero as (1 − t)^power (Chen et al. 2018, "poly").

    Args:
        optimizer: holds the highest rate.
        total_steps: steps of the whole run.
        power: of the decay.
        warm_up: fraction of the steps in which the rate rises.
    """
    rising = max(1, round(total_steps * warm_up))

    def factor(step: int) -> float:
        if step < rising:
            return (step + 1) / rising
        left = (total_steps - step) / max(1, total_steps - rising)
        return max(left, 0.0) ** power

    return LambdaLR(optimizer, factor)
