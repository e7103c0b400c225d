"""SegSRGAN: a sharp image and its segmentation by one generator, against a critic that sees both."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, final

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from ankleseg import keys
from ankleseg.errors import ConfigError
from ankleseg.losses import gradient_penalty, slope_of
from ankleseg.measures.image_quality import psnr
from ankleseg.tasks.base import MakeOptimizer, Sample, Scores, Task, ValidatedCase, check_divisible


@final
class SegSRGAN(Task):
    """Super-resolution and segmentation by a Wasserstein GAN with gradient penalty (Delannoy 2020).

    A batch holds critic_steps + 1 equal parts: one for each step of the critic, the last for the generator. The critic
    minimises −mean D(real) + mean D(made up) + gradient_penalty · mean (‖∇D‖ − 1)², the gradient taken between a real
    and a made-up sample at a place drawn once a sample (the published code draws it for each channel). The generator
    minimises the reconstruction − adversarial · mean D(made up).

    Logs ``train/loss`` (the reconstruction), ``train/critic``, ``train/distance`` (what the critic tells real from
    made up by) and ``train/penalty``; of whole validation volumes ``val/psnr``, ``val/gain`` over the interpolated
    scan in dB, ``val/dice_<structure>`` and ``val/dice``. The peak of the PSNR is the maximum of the sharp scan.

    Args:
        discriminator: the critic, from image and probabilities (B, 1 + K, X, Y, Z) to scores (B,).
        critic_optimizer: called with the critic's parameters.
        reconstruction: loss of values and target (B, 1 + K, X, Y, Z).
        adversarial: weight of the critic's score in the generator's loss.
        gradient_penalty: weight of the penalty in the critic's loss.
        critic_steps: steps of the critic before each of the generator.
        adversarial_from: epoch from which there is a critic, counted from the end where negative: -1 is the last; none
            where training ends before. Until then all parts of a batch go to steps of the generator: a critic has
            little to say of what is not yet sharp.
        others: see `Task`; network and optimizer are those of the generator.
    """

    automatic_optimization = False
    headlines = ("psnr", "gain", "dice")
    in_progress_bar = ("psnr", "gain", "dice")

    def __init__(
        self,
        *,
        discriminator: nn.Module,
        critic_optimizer: MakeOptimizer,
        reconstruction: nn.Module,
        adversarial: float = 1e-3,
        gradient_penalty: float = 10.0,
        critic_steps: int = 5,
        adversarial_from: int = 0,
        **others: Any,
    ) -> None:
        super().__init__(**others)
        self.discriminator = discriminator
        self.reconstruction = reconstruction
        self.adversarial = adversarial
        self.gradient_penalty = gradient_penalty
        self.critic_steps = critic_steps
        self.adversarial_from = adversarial_from
        self._make_critic_optimizer = critic_optimizer

    def check_patches(self, sizes: Sequence[tuple[int, Sequence[int]]], epochs: float = math.inf) -> None:
        super().check_patches(sizes)
        ends = [*(epoch for epoch, _ in sizes[1:]), epochs]
        for (first, size), end in zip(sizes, ends, strict=True):
            if first < epochs and min(end, epochs) > self._first_with_critic(epochs):
                check_divisible(size, self.discriminator, "the critic")

    def _first_with_critic(self, epochs: float) -> float:
        return self.adversarial_from + (epochs if self.adversarial_from < 0 else 0)

    def configure_optimizers(self) -> Any:
        optimizers = [
            self._optimizer(self.network.parameters()),
            self._make_critic_optimizer(self.discriminator.parameters()),
        ]
        if self._make_scheduler is None:
            return optimizers
        steps = int(self.trainer.estimated_stepping_batches)
        return optimizers, [self._make_scheduler(optimizer, total_steps=steps) for optimizer in optimizers]

    def training_step(self, batch: Mapping[str, Any], batch_index: int) -> None:
        *others, last = self._parts(batch)
        epochs = self.trainer.max_epochs
        with_critic = self.current_epoch >= self._first_with_critic(math.inf if epochs in (None, -1) else epochs)
        for part in others:
            if with_critic:
                self._critic_step(part)
            else:
                self._generator_step(part, with_critic)
        self._generator_step(last, with_critic)
        for scheduler in _listed(self.lr_schedulers())[: 2 if with_critic else 1]:
            scheduler.step()

    def made_up(self, part: Mapping[str, Tensor]) -> Float[Tensor, "b values x y z"]:
        """The generator's image and probabilities."""
        return self.labels.activate(self._told(self.network, part[keys.IMAGE], part))

    def real(self, part: Mapping[str, Tensor]) -> Float[Tensor, "b values x y z"]:
        """The sharp image and the true structures as 0 and 1."""
        return torch.cat([part[keys.TARGET], self.labels.targets(part[keys.LABEL]).to(part[keys.TARGET])], dim=1)

    def critic_loss(self, part: Mapping[str, Tensor]) -> Tensor:
        """The critic's loss on a part of a batch."""
        with torch.no_grad():
            made_up = self.made_up(part)
        real = self.real(part).to(made_up)
        told = self._score(real, part).mean() - self._score(made_up, part).mean()
        with torch.autocast(made_up.device.type, enabled=False):  # the slope of a slope needs full precision
            full = torch.promote_types(made_up.dtype, torch.float32)
            between = torch.lerp(real.to(full), made_up.to(full), self._places(real).to(full))
            penalty = gradient_penalty(self._slope(between, part))
        self._log(len(real), critic=self.gradient_penalty * penalty - told, distance=told, penalty=penalty)
        return self.gradient_penalty * penalty - told

    def generator_loss(self, part: Mapping[str, Tensor], with_critic: bool = True) -> Tensor:
        """The generator's loss on a part of a batch."""
        made_up = self.made_up(part)
        loss = self.reconstruction(made_up, self.real(part).to(made_up))
        self._log(len(made_up), loss=loss)
        return loss - self.adversarial * self._score(made_up, part).mean() if with_critic else loss

    def _critic_step(self, part: Mapping[str, Tensor]) -> None:
        optimizer = _listed(self.optimizers())[1]
        self.toggle_optimizer(optimizer)
        optimizer.zero_grad()
        self.manual_backward(self.critic_loss(part))
        optimizer.step()
        self.untoggle_optimizer(optimizer)

    def _generator_step(self, part: Mapping[str, Tensor], with_critic: bool) -> None:
        optimizer = _listed(self.optimizers())[0]
        self.toggle_optimizer(optimizer)
        optimizer.zero_grad()
        self.manual_backward(self.generator_loss(part, with_critic))
        optimizer.step()
        self.untoggle_optimizer(optimizer)

    def _parts(self, batch: Mapping[str, Any]) -> list[dict[str, Tensor]]:
        count = self.critic_steps + 1
        size, rest = divmod(len(batch[keys.IMAGE]), count)
        if rest or not size:
            raise ConfigError(
                f"a batch of {len(batch[keys.IMAGE])} cannot be shared by {self.critic_steps} steps of the critic and "
                "one of the generator",
                mend="set patches.critic_steps to task.critic_steps",
            )
        return [{name: values[n * size : (n + 1) * size] for name, values in batch.items()} for n in range(count)]

    def _score(self, values: Tensor, part: Mapping[str, Tensor]) -> Float[Tensor, " b"]:
        return self._told(self.discriminator, values, part)

    def _slope(self, values: Tensor, part: Mapping[str, Tensor]) -> Tensor:
        """Slope of the critic, by its own shorter way where it has one."""
        slope: Any = getattr(self.discriminator, "slope", None)
        if slope is None:
            return slope_of(lambda points: self._score(points, part), values)
        return slope(values, **self._condition(self.discriminator, part))

    def _told(self, network: nn.Module, values: Tensor, part: Mapping[str, Tensor]) -> Tensor:
        """Run a network, which is told the slice thickness where it is conditional on it."""
        return network(values, **self._condition(network, part))

    @staticmethod
    def _condition(network: nn.Module, part: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {"slice_thickness": part[keys.SLICE_THICKNESS]} if getattr(network, "conditional", False) else {}

    def _places(self, real: Tensor) -> Tensor:
        """Where between real and made up each sample's penalty is taken; several processes share one draw."""
        drawn = torch.rand(len(real) * self.trainer.world_size)[self.global_rank :: self.trainer.world_size]
        return drawn.to(real).reshape(-1, *[1] * (real.ndim - 1))

    def _log(self, size: int, **values: Tensor) -> None:
        named = {f"train/{name}": value.detach() for name, value in values.items()}
        self.log_dict(named, on_step=False, on_epoch=True, sync_dist=True, batch_size=size)

    def scored(
        self, values: Float[np.ndarray, "values x y z"], sample: Sample, case: str
    ) -> tuple[Scores, ValidatedCase]:
        sharp = sample[keys.TARGET][0]
        found, interpolated = (psnr(image, sharp) or 0.0 for image in (values[0], sample[keys.IMAGE][0]))
        predicted, reference = self.masks_of(values, sample)
        scores: Scores = {"psnr": found, "gain": found - interpolated}
        scores |= self.dice_of(predicted, reference, sample)
        return scores, self.shown(case, values[0], predicted, reference)


def _listed(found: Any) -> list[Any]:
    """Lightning gives a single thing alone, several as a list, and None where there is none."""
    return [] if found is None else found if isinstance(found, list) else [found]
