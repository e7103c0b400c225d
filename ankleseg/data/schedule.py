"""Patch size growing through training: a list of steps, a pure function of the epoch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from ankleseg.data.sampler import PatchSampler
from ankleseg.errors import ConfigError

KEYS = {"epoch", "size", "min_foreground"}


class PatchSchedule:
    """Which sampler serves which epoch.

    In YAML, a list of steps (each holds until the next one)::

        schedule:
          - {epoch: 3, size: [256, 256], min_foreground: 0.5}
          - {epoch: 6, size: [576, 576], min_foreground: 0}

    Args:
        sampler: serves the epochs before the first step.
        schedule: steps with rising ``epoch``, with ``size`` and, where it changes, ``min_foreground``: a patch larger
            than the foot cannot be three quarters foot.

    Raises:
        ConfigError: a step has unknown or missing keys, or the epochs do not rise.
    """

    def __init__(self, sampler: PatchSampler, schedule: Sequence[Mapping[str, Any]] = ()) -> None:
        self._epochs: list[int] = [0]
        self.samplers: list[PatchSampler] = [sampler]
        for step in schedule:
            if not {"epoch", "size"} <= set(step) <= KEYS:
                raise ConfigError(
                    f"step {dict(step)} of the patch schedule is not understood",
                    mend="write {epoch: 3, size: [256, 256]}, with min_foreground if it changes",
                )
            last = self.samplers[-1]
            grown = replace(last, size=step["size"], min_foreground=step.get("min_foreground", last.min_foreground))
            epoch = int(step["epoch"])
            if epoch == 0 and len(self.samplers) == 1:
                self.samplers = [grown]
                continue
            if epoch <= self._epochs[-1]:
                raise ConfigError("the epochs of the patch schedule do not rise", mend="sort its steps by epoch")
            self._epochs.append(epoch)
            self.samplers.append(grown)

    @property
    def steps(self) -> list[tuple[int, PatchSampler]]:
        """Each step's first epoch and sampler."""
        return list(zip(self._epochs, self.samplers, strict=True))

    @property
    def sizes(self) -> list[tuple[int, tuple[int, ...]]]:
        """Each step's first epoch and sides."""
        return [(epoch, tuple(sampler.size)) for epoch, sampler in zip(self._epochs, self.samplers, strict=True)]
