"""SegSRGAN: steps against hand-computed ones, two processes against one, a resumed run against an uninterrupted one."""

from __future__ import annotations

import math
import os
import signal
import subprocess
import sys
from contextlib import suppress
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from pytorch_lightning import LightningModule, Trainer
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from ankleseg import keys
from ankleseg.errors import ConfigError
from ankleseg.inference import VolumeInferer
from ankleseg.labels import Labels
from ankleseg.losses import SharpSegmentation, gradient_penalty, slope_of
from ankleseg.networks import SegSRGANDiscriminator, SegSRGANGenerator
from ankleseg.tasks import SegSRGAN

SIDE = 4


class Affine(nn.Module):
    """Image and logit as a gain and an offset of the input."""

    divisor = 1

    def __init__(self) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.tensor([0.8, 1.5], dtype=torch.float64))
        self.offset = nn.Parameter(torch.tensor([0.1, -0.2], dtype=torch.float64))

    def forward(self, image: Tensor) -> Tensor:
        shape = (1, 2, 1, 1, 1)
        return image * self.gain.view(shape) + self.offset.view(shape)


class Linear(nn.Module):
    """A critic whose score is a weighted sum: its slope is the weights, everywhere."""

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(2)
        self.weight = nn.Parameter(torch.randn(2, SIDE, SIDE, SIDE, generator=generator, dtype=torch.float64))

    def forward(self, values: Tensor) -> Tensor:
        return (values * self.weight.to(values)).flatten(1).sum(1)


class Patches(Dataset):
    def __init__(self, count: int) -> None:
        generator = torch.Generator().manual_seed(1)
        shape = (count, 1, SIDE, SIDE, SIDE)
        self.image = torch.rand(shape, generator=generator, dtype=torch.float64)
        self.target = torch.rand(shape, generator=generator, dtype=torch.float64)
        self.label = (torch.rand(shape, generator=generator) > 0.5).long()

    def __len__(self) -> int:
        return len(self.image)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        return {keys.IMAGE: self.image[index], keys.TARGET: self.target[index], keys.LABEL: self.label[index]}


def task(**settings) -> SegSRGAN:
    return SegSRGAN(
        network=Affine(),
        discriminator=Linear(),
        reconstruction=SharpSegmentation(),
        labels=Labels(structures=["cortex"], images=["sharp"]),
        validation=VolumeInferer((8, 8, 8)),
        optimizer=partial(torch.optim.SGD, lr=0.5),
        **({"critic_steps": 1, "critic_optimizer": partial(torch.optim.SGD, lr=0.05)} | settings),
    )


def fitted(module: LightningModule, patches: Dataset, batch: int, **settings) -> LightningModule:
    trainer = Trainer(
        accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, **({"precision": "64-true", "max_epochs": 1} | settings),
    )  # fmt: skip
    trainer.fit(module, DataLoader(patches, batch))
    return module


def sigmoid(values: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-values))


def test_one_step_of_critic_and_generator_is_the_one_computed_by_hand():
    patches = Patches(4)
    found = fitted(task(adversarial=0.3, gradient_penalty=10.0), patches, 4)
    image, target = patches.image[:, 0].numpy(), patches.target[:, 0].numpy()
    label = patches.label[:, 0].numpy().astype(float)
    (a, s), (b, t) = Affine().gain.detach().numpy(), Affine().offset.detach().numpy()
    weight = Linear().weight.detach().numpy()

    # the critic sees the first half of the batch
    sharp, probability = a * image[:2] + b, sigmoid(s * image[:2] + t)
    real, made_up = np.stack([target[:2], label[:2]], 1).mean(0), np.stack([sharp, probability], 1).mean(0)
    norm = np.sqrt((weight**2).sum())
    slope = made_up - real + 10 * 2 * (norm - 1) * weight / norm
    critic = weight - 0.05 * slope
    assert np.allclose(found.discriminator.weight.detach().numpy(), critic, atol=1e-6)

    # the generator the second half, with the critic as it is now
    sharp, probability = a * image[2:] + b, sigmoid(s * image[2:] + t)
    count = 2 * sharp.size
    by_image = (sharp - target[2:]) / np.sqrt((sharp - target[2:]) ** 2 + 1e-6) / count - 0.3 * critic[0] / 2
    by_probability = (probability - label[2:]) / np.sqrt((probability - label[2:]) ** 2 + 1e-6) / count
    by_logit = (by_probability - 0.3 * critic[1] / 2) * probability * (1 - probability)
    gain = [0.8 - 0.5 * (by_image * image[2:]).sum(), 1.5 - 0.5 * (by_logit * image[2:]).sum()]
    offset = [0.1 - 0.5 * by_image.sum(), -0.2 - 0.5 * by_logit.sum()]
    assert np.allclose(found.network.gain.detach().numpy(), gain, atol=1e-6)
    assert np.allclose(found.network.offset.detach().numpy(), offset, atol=1e-6)


def test_gradient_penalty_has_its_closed_form():
    points = torch.rand(5, 2, 3, 3, 3, dtype=torch.float64)
    weight = torch.rand(2, 3, 3, 3, dtype=torch.float64)
    linear = gradient_penalty(slope_of(lambda values: (values * weight).flatten(1).sum(1), points))
    assert float(linear) == pytest.approx((float(weight.norm()) - 1) ** 2)
    squares = gradient_penalty(slope_of(lambda values: values.square().flatten(1).sum(1) / 2, points))
    assert float(squares.detach()) == pytest.approx(float((points.flatten(1).norm(dim=1) - 1).square().mean()))


def test_charbonnier_and_dice_are_those_of_their_formulas():
    values, target = torch.rand(2, 2, 2, 3, 2, 3)
    plain = float(SharpSegmentation()(values, target))
    assert plain == pytest.approx(float(((values - target) ** 2 + 1e-6).sqrt().mean()), rel=1e-5)
    weighted = float(SharpSegmentation(image=3)(values, target))
    distances = ((values - target) ** 2 + 1e-6).sqrt()
    assert weighted == pytest.approx(float(3 * distances[:, 0].mean() + distances[:, 1].mean()) / 2, rel=1e-5)
    truth = (target > 0.5).float()
    p, y = values[:, 1], truth[:, 1]
    dice = (2 * (p * y).sum() + 1) / (p.sum() + y.sum() + 1)
    image = ((values[:, 0] - truth[:, 0]) ** 2 + 1e-6).sqrt().mean()
    assert float(SharpSegmentation("dice")(values, truth)) == pytest.approx(float(image + 1 - dice), rel=1e-5)
    assert float(SharpSegmentation("dice", 10)(values, truth)) == pytest.approx(float(10 * image + 1 - dice), rel=1e-5)
    with pytest.raises(ValueError, match="positive"):
        SharpSegmentation(image=0)
    with pytest.raises(ValueError, match="none of charbonnier, dice, dice_cross_entropy"):
        SharpSegmentation("iou")


def test_cross_entropy_beside_dice_tells_of_background_and_of_structures_that_are_absent():
    logits = torch.randn(2, 4, 3, 2, 3, requires_grad=True)
    label = torch.randint(0, 3, (2, 3, 2, 3))  # the third structure is in no patch
    structures = torch.stack([label == number for number in (1, 2, 3)], dim=1).float()
    values = torch.cat([torch.zeros(2, 1, 3, 2, 3), logits.softmax(1)[:, 1:]], dim=1)
    target = torch.cat([torch.zeros(2, 1, 3, 2, 3), structures], dim=1)
    both, dice = (SharpSegmentation(word)(values, target) for word in ("dice_cross_entropy", "dice"))
    expected = torch.nn.functional.cross_entropy(logits, label)
    torch.testing.assert_close(both - dice, expected, rtol=1e-4, atol=1e-5)
    certain = torch.zeros(1, 3, 2, 2, 2)
    certain[:, 1] = 1
    assert float(SharpSegmentation("dice_cross_entropy")(certain, certain)) < 0.01
    assert torch.isfinite(SharpSegmentation("dice_cross_entropy")(certain, certain.flip(1)))


def test_before_the_critic_all_parts_teach_the_generator():
    patches = Patches(4)
    found = fitted(task(adversarial_from=1), patches, 4)
    assert torch.equal(found.discriminator.weight, Linear().weight), "the critic does not move"
    plain = Affine()
    optimizer = torch.optim.SGD(plain.parameters(), lr=0.5)
    for half in (slice(0, 2), slice(2, 4)):
        raw = plain(patches.image[half])
        values = torch.cat([raw[:, :1], raw[:, 1:].sigmoid()], 1)
        truth = torch.cat([patches.target[half], patches.label[half].double()], 1)
        optimizer.zero_grad()
        SharpSegmentation()(values, truth).backward()
        optimizer.step()
    assert torch.allclose(found.network.gain, plain.gain, atol=1e-5)


@pytest.mark.parametrize("epochs", [2, 3])
def test_a_negative_epoch_counts_from_the_end(epochs):
    found = fitted(task(adversarial_from=-2, critic_optimizer=torch.optim.Adam), Patches(4), batch=4, max_epochs=epochs)
    _, critic = found.optimizers()
    assert int(critic.state[found.discriminator.weight]["step"]) == 2, "one step in each of the last two epochs"


def test_patches_that_generator_or_critic_will_not_take_are_refused_before_training():
    def checked(sizes, epochs=math.inf, **settings):
        made = task(**settings)
        made.network, made.discriminator = SegSRGANGenerator(kernel=2), SegSRGANDiscriminator(kernel=2, patch=64)
        made.check_patches([(epoch, (side,) * 3) for epoch, side in sizes], epochs)

    checked([(0, 64)])
    checked([(0, 36), (5, 64)], adversarial_from=5)
    checked([(0, 36)], epochs=3, adversarial_from=3)
    checked([(0, 64), (7, 36)], epochs=7, adversarial_from=3)
    checked([(0, 36), (5, 64)], epochs=6, adversarial_from=-1)
    with pytest.raises(
        ConfigError, match="30 × 30 × 30 voxels do not suit the network; choose multiples of 4 of at least 8 as"
    ):
        checked([(0, 30)])
    with pytest.raises(ConfigError, match="4 × 4 × 4 .* the network; choose multiples of 4 of at least 8 as"):
        checked([(0, 4), (1, 64)], adversarial_from=1)
    with pytest.raises(ConfigError, match="32 × 32 × 32 .* the critic; choose multiples of 32 of at least 64 as"):
        checked([(0, 32), (5, 64)], adversarial_from=4)
    with pytest.raises(ConfigError, match="32 × 32 × 32 .* the critic"):
        checked([(0, 32), (5, 64)], epochs=6, adversarial_from=-2)
    with pytest.raises(ConfigError, match="68 × 68 × 68 .* the critic"):
        checked([(0, 32), (5, 68)], adversarial_from=5)


def test_a_batch_that_cannot_be_shared_is_refused():
    with pytest.raises(ConfigError, match="a batch of 4 cannot be shared by 2 steps of the critic and one of the gen"):
        fitted(task(critic_steps=2), Patches(4), 4)


TOGETHER = """
import sys, torch
sys.path.insert(0, {tests!r})
from pytorch_lightning import Trainer
from pytorch_lightning.strategies import DDPStrategy
from torch.utils.data import DataLoader
from ankleseg.data import EpochSampler
from test_segsrgan_task import Patches, task

def main():
    trainer = Trainer(accelerator="cpu", devices=2, strategy="ddp_find_unused_parameters_true", precision="64-true",
        use_distributed_sampler=False, max_epochs=1, logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False)
    patches = Patches(16)
    module = task()
    trainer.fit(module, DataLoader(patches, 4, sampler=EpochSampler(16)))
    if trainer.global_rank == 0:
        torch.save(module.state_dict(), {out!r})

if __name__ == "__main__":
    main()
"""


@pytest.mark.slow
def test_two_processes_train_as_one_with_twice_the_batch(tmp_path: Path):
    script, out = tmp_path / "together.py", tmp_path / "together.pt"
    script.write_text(TOGETHER.format(tests=str(Path(__file__).parent), out=str(out)))
    process = subprocess.Popen(
        [sys.executable, str(script)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        _, said = process.communicate(timeout=600)
    finally:
        with suppress(ProcessLookupError):  # the second process would outlive the first
            os.killpg(process.pid, signal.SIGKILL)
    assert process.returncode == 0, said[-2000:]
    found = torch.load(out, weights_only=True)
    alone = fitted(task(), Patches(16), 8).state_dict()
    start = task().state_dict()
    for name, value in alone.items():
        assert not torch.allclose(value, start[name], atol=1e-4), f"{name} was not trained"
        assert torch.allclose(found[name], value, atol=1e-9), name


def test_mixed_precision_trains_both():
    found = fitted(task().float(), Patches(4), 4, precision="bf16-mixed")
    assert not torch.allclose(found.network.gain, Affine().gain.float())
    assert not torch.allclose(found.discriminator.weight, Linear().weight.float())
