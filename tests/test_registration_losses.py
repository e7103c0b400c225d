"""Losses of registration: range, numbers by hand, and gradients against those that autograd traces."""

from __future__ import annotations

import pytest
import torch
from monai.losses import BendingEnergyLoss, GlobalMutualInformationLoss
from torch import Tensor

from ankleseg.losses import Diffusion, InverseConsistency, LocalCorrelation
from ankleseg.losses.similarity import FLAT, window_sum


def blobs(*size: int, seed: int = 0, channels: int = 1) -> Tensor:
    """Smooth random images (2, C, *size) of unit variance."""
    generator = torch.Generator().manual_seed(seed)
    image = window_sum(torch.randn(2, channels, *size, generator=generator), 5)
    return image / image.std()


def in_windows(moved: Tensor, fixed: Tensor, window: int, signed: bool = False, mask: Tensor | None = None) -> Tensor:
    """The loss as its definition says, in double precision, a window at a time."""
    ones = torch.ones_like(fixed)
    weight = ones if mask is None else mask.double().expand_as(fixed)
    reach, total = window // 2, fixed.new_zeros(())
    images = [
        image.double() / image.double().std((2, 3), keepdim=True, correction=0).detach() for image in (moved, fixed)
    ]
    for x in range(fixed.shape[2]):
        for y in range(fixed.shape[3]):
            part = (..., slice(max(x - reach, 0), x + reach + 1), slice(max(y - reach, 0), y + reach + 1))
            share = weight[part] / weight[part].sum((2, 3), keepdim=True).clamp_min(1e-6)
            first, second = (image[part] - (share * image[part]).sum((2, 3), keepdim=True) for image in images)
            covariance = (share * first * second).sum((2, 3))
            variances = [(share * image.square()).sum((2, 3)).clamp_min(FLAT) for image in (first, second)]
            size = covariance.abs() if signed else covariance
            total = total - (weight[..., x, y] * covariance * size / variances[0] / variances[1]).sum()
    return total / weight.sum()


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("masked", [False, True])
def test_the_correlation_and_its_gradients_are_those_of_the_definition(signed: bool, masked: bool):
    fixed, moved = blobs(13, 11, channels=2), blobs(13, 11, seed=1, channels=2)
    mask = (blobs(13, 11, seed=2) > -0.5) if masked else None
    pairs = [[image.clone().requires_grad_() for image in (moved, fixed)] for _ in range(2)]
    loss = LocalCorrelation(5, signed)(*pairs[0], mask)
    truth = in_windows(*pairs[1], window=5, signed=signed, mask=mask)
    assert loss.item() == pytest.approx(truth.item(), rel=1e-4)
    (3 * loss).backward()
    truth.backward()
    for image, same in zip(*pairs, strict=True):
        torch.testing.assert_close(image.grad / 3, same.grad, rtol=1e-3, atol=1e-3 * same.grad.abs().max().item())


@pytest.mark.parametrize("signed", [False, True])
def test_a_flat_bright_volume_stays_in_range(signed: bool):
    """Where the published code and MONAI's give −10⁷ in float32."""
    generator = torch.Generator().manual_seed(0)
    images = [
        torch.full((1, 1, 40, 40, 40), 1000.0) + 0.02 * torch.randn(40, 40, 40, generator=generator) for _ in "ab"
    ]
    for image in images:
        image[..., 30:] = 0
    loss = LocalCorrelation(signed=signed)
    value = loss(*images)
    assert -1 <= value <= (1 if signed else 0)
    doubled = [image.double() for image in images]
    half = [(image - image.mean()) / image.std() for image in doubled]
    sums = [window_sum(image, 9) for image in (torch.ones_like(half[0]), *half, half[0] * half[1])]
    variances = [(window_sum(x.square(), 9) / sums[0] - (s / sums[0]) ** 2).clamp_min(FLAT)
                 for x, s in zip(half, sums[1:3], strict=True)]  # fmt: skip
    covariance = sums[3] / sums[0] - sums[1] * sums[2] / sums[0] ** 2
    truth = -(covariance * (covariance.abs() if signed else covariance) / variances[0] / variances[1]).mean()
    assert value.item() == pytest.approx(truth.item(), abs=1e-5)
    assert loss(images[0], images[0]).item() == pytest.approx(-float((variances[0] > FLAT).double().mean()), abs=1e-3)


def test_contrast_and_brightness_change_nothing_and_only_the_signed_one_heeds_the_sign():
    fixed, moved = blobs(24, 24, 24), blobs(24, 24, 24, seed=1)
    for signed in (False, True):
        loss = LocalCorrelation(signed=signed)
        assert loss(moved, fixed).item() == pytest.approx(loss(0.01 * moved + 7, 500 * fixed).item(), rel=1e-3)
        assert loss(fixed, fixed).item() == pytest.approx(-1, abs=1e-4)
        assert loss(-fixed, fixed).item() == pytest.approx(1 if signed else -1, abs=1e-4)


def test_masked_voxels_count_nowhere():
    fixed, moved, mask = blobs(20, 20, 20), blobs(20, 20, 20, seed=1), torch.ones(2, 1, 20, 20, 20)
    mask[..., 5:9, 5:9, 5:9] = 0
    loss, other = LocalCorrelation(), torch.where(mask > 0, moved, 30 + moved.roll(3, 2))
    # the whole image's mean and spread see the masked voxels, but only the clamp of flat windows heeds them
    assert loss(moved, fixed, mask).item() == pytest.approx(loss(other, fixed, mask).item(), rel=1e-3)
    other.requires_grad_()
    loss(other, fixed, mask).backward()
    assert (other.grad[mask == 0] == 0).all() and (other.grad[mask > 0] != 0).all()


def test_the_correlation_refuses():
    with pytest.raises(ValueError, match="invalid window 4: expected an odd number of voxels, 3 or more"):
        LocalCorrelation(4)
    with pytest.raises(ValueError, match=r"a moved image of \(2, 1, 9, 9\) does not fit a fixed one of \(2, 1, 9, 8\)"):
        LocalCorrelation(3)(blobs(9, 9), blobs(9, 8))


def test_diffusion_by_hand():
    """Differences along x are 1 and 3 in the first component, along y 2 in the second; each axis has its own mean."""
    field = torch.tensor([[[[0.0, 0.0], [1.0, 1.0], [4.0, 4.0]], [[0.0, 2.0], [0.0, 2.0], [0.0, 2.0]]]])
    assert Diffusion()(field).item() == pytest.approx(((1 + 9) * 2 / 8 + 3 * 4 / 6) / 2)
    assert Diffusion(squared=False)(field).item() == pytest.approx(((1 + 3) * 2 / 8 + 3 * 2 / 6) / 2)
    alternating = torch.tensor([1.0, -1.0]).repeat(8).view(1, 1, 16, 1).expand(1, 2, 16, 16)
    assert Diffusion()(alternating) > 0


def test_bending_of_monai_is_that_of_the_literature():
    """Of u = (x², xy, 0): u_xx = 2 in the first component, u_xy = 1 in the second, counted twice; a mean over three."""
    x, y, _ = torch.meshgrid(*[torch.arange(6.0)] * 3, indexing="ij")
    field = torch.stack([x**2, x * y, 0 * x])[None]
    assert BendingEnergyLoss()(field).item() == pytest.approx((2**2 + 2 * 1**2) / 3)


def test_mutual_information_of_monai_heeds_no_contrast():
    fixed = torch.rand(1, 1, 12, 12, 12, generator=torch.Generator().manual_seed(0))
    information = GlobalMutualInformationLoss()
    same, inverted = information(fixed, fixed).item(), information(1 - fixed, fixed).item()
    assert same == pytest.approx(inverted, rel=1e-4)
    assert same < information(fixed.flip(2), fixed).item() - 0.5


def test_a_displacement_and_its_inverse_are_consistent():
    there = torch.zeros(1, 3, 10, 10, 10)
    there[:, 0] = 2.0
    assert InverseConsistency()(there, -there).item() == pytest.approx(0, abs=1e-10)
    assert InverseConsistency()(there, 0 * there).item() == pytest.approx(4)
