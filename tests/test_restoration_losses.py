"""Losses of restored images against numbers worked out by hand."""

from __future__ import annotations

from math import exp

import pytest
import torch

from ankleseg.losses import CorrelationWeighted, MeanSquaredError

OUTPUT = torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]], [[[0.0, 0.0], [0.0, 2.0]]]])
TARGET = torch.tensor([[[[1.0, 0.0], [3.0, 1.0]]], [[[0.0, 0.0], [0.0, 0.0]]]])
CORRELATION = torch.tensor([0.9, 0.6])


def test_mean_squared_error_by_hand():
    assert MeanSquaredError()(OUTPUT, TARGET).item() == pytest.approx((4 + 9 + 4) / 8)
    assert MeanSquaredError()(OUTPUT, TARGET, CORRELATION) == MeanSquaredError()(OUTPUT, TARGET)


@pytest.mark.parametrize(("distance", "first", "second"), [("l1", 5.0, 2.0), ("l2", 13**0.5, 2.0)])
def test_published_weights_by_hand(distance, first, second):
    """g(0.9) = 1 / (1 + e^-4) and g(0.6) = 1 / (1 + e^-1); the sum over the batch is divided by its size."""
    loss = CorrelationWeighted(distance)(OUTPUT, TARGET, CORRELATION)
    assert loss.item() == pytest.approx((first / (1 + exp(-4)) + second / (1 + exp(-1))) / 2, rel=1e-6)


def test_without_weights_all_patches_count_alike():
    loss = CorrelationWeighted(weight="none")
    assert loss(OUTPUT, TARGET).item() == loss(OUTPUT, TARGET, CORRELATION).item() == pytest.approx((5 + 2) / 2)


def test_gradients_by_hand():
    """Output − target is [[0, 2], [0, 3]] in the first patch and [[0, 0], [0, 2]] in the second."""
    loss = CorrelationWeighted(weight="none", gradient=0.5)(OUTPUT, TARGET)
    assert loss.item() == pytest.approx((5 + 2) / 2 + 0.5 * ((0 + 1 + 2 + 3) + (0 + 2 + 0 + 2)) / 2)


@pytest.mark.parametrize("distance", ["l1", "l2"])
def test_a_perfect_restoration_costs_nothing_and_has_a_finite_gradient(distance):
    output = TARGET.clone().requires_grad_()
    loss = CorrelationWeighted(distance, gradient=1.0)(output, TARGET, CORRELATION)
    loss.backward()
    assert loss.item() == 0 and torch.isfinite(output.grad).all()


def test_published_weights_have_nothing_to_learn():
    for weight, trained in (("published", 0), ("none", 0), ("learnt", 2)):
        assert sum(p.requires_grad for p in CorrelationWeighted(weight=weight).parameters()) == trained


def test_learnt_weights_start_as_the_published_ones_but_for_a_factor():
    ratio = CorrelationWeighted(weight="learnt").weights(CORRELATION) / CorrelationWeighted().weights(CORRELATION)
    assert ratio[0].item() == pytest.approx(ratio[1].item(), rel=1e-6)


def trained_weights(distances: torch.Tensor, correlation: torch.Tensor, steps: int) -> torch.Tensor:
    """Weights after an optimiser could do with them what it liked, the network standing still."""
    loss = CorrelationWeighted(weight="learnt")
    output = distances.reshape(-1, 1, 1, 1)
    optimizer = torch.optim.Adam(loss.parameters(), lr=0.2)
    for _ in range(steps):
        optimizer.zero_grad()
        loss(output, torch.zeros_like(output), correlation).backward()
        optimizer.step()
    return loss.weights(correlation).detach()


def test_no_gradient_drives_the_learnt_weights_to_zero():
    """The geometric mean of the weights stays 1, whatever is learnt, and none of them vanishes."""
    correlation = torch.linspace(0.6, 1, 16)
    for distances in (torch.linspace(3, 1, 16), torch.linspace(1, 3, 16), torch.ones(16), torch.full((16,), 1e4)):
        weights = trained_weights(distances, correlation, 250)
        assert weights.log().mean().item() == pytest.approx(0, abs=1e-4)
        assert weights.min() > 0.2


def test_learnt_weights_become_inverse_to_the_distance_that_a_correlation_lets_expect():
    correlation = torch.linspace(0.6, 1, 16)
    truth = 1 / torch.sigmoid(6 * (correlation - 0.8))
    weights = trained_weights(truth, correlation, 400)
    product = weights * truth
    assert product.max() / product.min() < 1.05


def test_restoration_losses_tell_what_does_not_fit():
    with pytest.raises(ValueError, match=r"a target of shape \(1, 1, 2, 2\) does not fit an output of \(2, 1, 2, 2\)"):
        MeanSquaredError()(OUTPUT, TARGET[:1])
    with pytest.raises(ValueError, match="the weight of a patch needs the correlation of its image and target"):
        CorrelationWeighted()(OUTPUT, TARGET)
    with pytest.raises(ValueError, match="'l3' is none of l1, l2"):
        CorrelationWeighted("l3")
    with pytest.raises(ValueError, match="'guessed' is none of published, learnt, none"):
        CorrelationWeighted(weight="guessed")
    with pytest.raises(ValueError, match="the factor of the gradients is not negative, but is -1"):
        CorrelationWeighted(gradient=-1)
