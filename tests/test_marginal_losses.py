"""Losses where some structures are unknown: they are taught neither to be there nor to be absent."""

from __future__ import annotations

from math import log

import pytest
import torch
from loss_examples import ONE_OUTPUT, SOFTMAX, labels, regions, softmax_logits
from torch import nn

from ankleseg.losses import BinaryCrossEntropy, CategoricalCrossEntropy, DiceCrossEntropy, DiceLoss


def test_marginal_cross_entropy_by_hand():
    logits = softmax_logits((0.5, 0.2, 0.3), (0.1, 0.6, 0.3))
    # structure 2 is unknown: the first voxel is background or structure 2 with 0.5 + 0.3, the second is structure 1
    loss = CategoricalCrossEntropy()(logits, labels(0, 1), torch.tensor([[True, False]]))
    assert loss.item() == pytest.approx(-(log(0.8) + log(0.6)) / 2, rel=1e-5)


def test_marginal_dice_by_hand():
    logits = softmax_logits((0.5, 0.2, 0.3), (0.1, 0.6, 0.3))
    loss = DiceLoss()(logits, labels(0, 1), torch.tensor([[True, False]]))
    known = 1 - 2 * 0.6 / (0.2 + 0.6 + 1)  # structure 1; structure 2 is unknown and has loss 0
    assert loss.item() == pytest.approx((known + 0) / 2, abs=1e-4)


def test_dice_over_a_batch_counts_a_structure_where_it_is_known():
    sure = softmax_logits((0.8, 0.1, 0.1), (0.2, 0.1, 0.7))
    other = softmax_logits((0.3, 0.1, 0.6), (0.3, 0.6, 0.1))
    logits, label = torch.cat([sure, other]), torch.cat([labels(0, 2), labels(0, 1)])
    loss = DiceLoss()(logits, label, torch.tensor([[True, True], [True, False]]))
    first = 1 - 2 * 0.6 / (0.1 + 0.1 + 0.1 + 0.6 + 1)  # over both samples
    second = 1 - 2 * 0.7 / (0.1 + 0.7 + 1)  # over the first sample only
    assert loss.item() == pytest.approx((first + second) / 2, abs=1e-4)


@pytest.mark.parametrize("kind", SOFTMAX)
def test_an_unknown_structure_is_taught_neither_to_be_there_nor_to_be_absent(kind: type[nn.Module]):
    logits = torch.tensor([[0.0, 1.0, -1.0]]).view(1, 3, 1, 1).requires_grad_()
    known = torch.tensor([[True, False]])
    loss = kind()(logits, labels(0), known)
    loss.backward()
    # background and the unknown structure rise together, in proportion to their probabilities
    assert logits.grad is not None
    gradient, p = logits.grad.ravel(), logits.detach().softmax(1).ravel()
    assert gradient[1] > 0 and gradient[0] < 0 and gradient[2] < 0
    assert (gradient[2] / gradient[0]).item() == pytest.approx((p[2] / p[0]).item(), rel=1e-4)
    # moving probability between the two costs nothing
    one, other = softmax_logits((0.7, 0.2, 0.1)), softmax_logits((0.1, 0.2, 0.7))
    assert kind()(one, labels(0), known).item() == pytest.approx(kind()(other, labels(0), known).item(), rel=1e-5)


@pytest.mark.parametrize("kind", SOFTMAX)
def test_with_everything_known_the_marginal_loss_is_the_usual_one(kind: type[nn.Module]):
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 4, 5, 5, generator=generator)
    label = torch.randint(0, 4, (2, 1, 5, 5), generator=generator)
    everything = torch.ones(2, 3, dtype=torch.bool)
    assert torch.allclose(kind()(logits, label, everything), kind()(logits, label), atol=1e-6)


@pytest.mark.parametrize("kind", [*SOFTMAX, *ONE_OUTPUT])
def test_where_nothing_is_known_nothing_is_taught(kind: type[nn.Module]):
    outputs = 1 if kind is BinaryCrossEntropy else 3
    logits = torch.linspace(-2, 2, outputs * 4).view(1, outputs, 4, 1).requires_grad_()
    loss = kind()(logits, labels(0, 0, 0, 0), torch.zeros(1, max(outputs - 1, 1), dtype=torch.bool))
    loss.backward()
    assert loss.item() == pytest.approx(0, abs=1e-6)
    assert logits.grad is not None and logits.grad.abs().max() < 1e-6


def test_a_label_of_an_unknown_structure_is_refused():
    logits, label = softmax_logits((0.5, 0.2, 0.3)), labels(2)
    with pytest.raises(ValueError, match="the label holds 2, which is said to be unknown in sample 0"):
        DiceCrossEntropy()(logits, label, torch.tensor([[True, False]]))
    with pytest.raises(ValueError, match="does not fit 1 samples of 2"):
        DiceCrossEntropy()(logits, label, torch.tensor([[True, True, True]]))


@pytest.mark.parametrize("kind", ONE_OUTPUT)
def test_an_unknown_region_is_not_taught_and_does_not_move_the_others(kind: type[nn.Module]):
    logits, label = regions(1)
    label[:, 1] = 0
    known = torch.tensor([[True, False, True]] * 2)
    moved = logits.clone()
    moved[:, 1] += 3
    assert kind()(logits, label, known) == kind()(moved, label, known)
    logits.requires_grad_()
    kind()(logits, label, known).backward()
    assert logits.grad is not None and (logits.grad[:, 1] == 0).all() and (logits.grad[:, [0, 2]] != 0).all()
    label[0, 1, 2, 2] = 1
    with pytest.raises(ValueError, match="the label holds 2, which is said to be unknown in sample 0"):
        kind()(logits, label, known)
