"""Losses against numbers worked out by hand."""

from __future__ import annotations

from math import exp, log
from pathlib import Path

import pytest
import torch
from hydra.utils import instantiate
from loss_examples import ONE_OUTPUT, SOFTMAX, confident, labels, one_output, regions, softmax_logits
from omegaconf import OmegaConf
from torch import nn

from ankleseg.losses import (
    L2SP,
    BinaryCrossEntropy,
    CategoricalCrossEntropy,
    CorrelationWeighted,
    DiceCrossEntropy,
    DiceLoss,
    Focal,
    GeneralisedDice,
    MeanSquaredError,
    RegistrationLoss,
    SharpSegmentation,
    WeightPenalty,
    deep_supervision,
)

CONF = Path(__file__).parents[1] / "conf" / "losses"
NAMES = sorted(path.stem for path in CONF.glob("*.yaml"))


def test_every_loss_node_builds():
    kinds = {name: type(instantiate(OmegaConf.load(CONF / f"{name}.yaml"))) for name in NAMES}
    assert kinds == {
        "binary_cross_entropy": BinaryCrossEntropy,
        "categorical_cross_entropy": CategoricalCrossEntropy,
        "correlation_weighted": CorrelationWeighted,
        "dice": DiceLoss,
        "dice_cross_entropy": DiceCrossEntropy,
        "focal": Focal,
        "generalised_dice": GeneralisedDice,
        "mean_squared_error": MeanSquaredError,
        "registration_mi": RegistrationLoss,
        "registration_mse": RegistrationLoss,
        "registration_ncc": RegistrationLoss,
    }


def test_binary_cross_entropy_by_hand():
    loss = BinaryCrossEntropy()(one_output(0.9, 0.2, 0.5), labels(1, 0, 1))
    assert loss.item() == pytest.approx(-(log(0.9) + log(0.8) + log(0.5)) / 3, rel=1e-6)


def test_structure_weight_multiplies_the_voxels_of_the_structure():
    loss = BinaryCrossEntropy(structure_weight=4.0)(one_output(0.9, 0.2), labels(1, 0))
    assert loss.item() == pytest.approx(-(4 * log(0.9) + log(0.8)) / 2, rel=1e-6)


def test_categorical_cross_entropy_divides_by_voxels_and_not_by_classes():
    logits = softmax_logits((0.7, 0.2, 0.1), (0.25, 0.25, 0.5))
    loss = CategoricalCrossEntropy()(logits, labels(0, 2))
    assert loss.item() == pytest.approx(-(log(0.7) + log(0.5)) / 2, rel=1e-6)


def test_class_weights_average_by_weight():
    logits = softmax_logits((0.7, 0.2, 0.1), (0.25, 0.25, 0.5))
    loss = CategoricalCrossEntropy(class_weights=[1.0, 1.0, 3.0])(logits, labels(0, 2))
    assert loss.item() == pytest.approx(-(log(0.7) + 3 * log(0.5)) / 4, rel=1e-6)


def test_dice_of_one_output_by_hand():
    loss = DiceLoss()(one_output(0.9, 0.2, 0.5), labels(1, 0, 1))
    assert loss.item() == pytest.approx(1 - 2 * (0.9 + 0.5) / (0.9 + 0.2 + 0.5 + 2), abs=1e-5)


def test_dice_is_a_ratio_of_sums_for_each_structure_without_background():
    logits = softmax_logits((0.7, 0.2, 0.1), (0.1, 0.6, 0.3), (0.2, 0.3, 0.5))
    loss = DiceLoss()(logits, labels(0, 1, 2))
    first = 2 * 0.6 / ((0.2 + 0.6 + 0.3) + 1)
    second = 2 * 0.5 / ((0.1 + 0.3 + 0.5) + 1)
    assert loss.item() == pytest.approx(1 - (first + second) / 2, abs=1e-5)


def test_dice_sums_over_the_batch_or_averages_its_samples():
    logits = torch.cat([one_output(0.9, 0.2), one_output(0.4, 0.3)])
    label = torch.cat([labels(1, 0), labels(1, 1)])
    summed = 1 - 2 * (0.9 + 0.4 + 0.3) / (0.9 + 0.2 + 0.4 + 0.3 + 3)
    averaged = 1 - (2 * 0.9 / (1.1 + 1) + 2 * 0.7 / (0.7 + 2)) / 2
    assert DiceLoss()(logits, label).item() == pytest.approx(summed, abs=1e-5)
    assert DiceLoss(over_batch=False)(logits, label).item() == pytest.approx(averaged, abs=1e-5)


@pytest.mark.parametrize("outputs", [1, 4])
@pytest.mark.parametrize("sides", [(8, 12), (4, 6, 8)])
def test_every_loss_of_the_truth_with_itself_is_nothing(outputs, sides):
    label = torch.randint(0, max(outputs, 2), (2, 1, *sides), generator=torch.Generator().manual_seed(0))
    for kind in ONE_OUTPUT if outputs == 1 else SOFTMAX:
        assert kind()(confident(label, outputs), label).item() == pytest.approx(0.0, abs=1e-5)


@pytest.mark.parametrize("outputs", [1, 4])
def test_the_sum_is_dice_and_the_cross_entropy_that_fits(outputs):
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, outputs, 8, 8, generator=generator)
    label = torch.randint(0, max(outputs, 2), (2, 1, 8, 8), generator=generator)
    cross_entropy = BinaryCrossEntropy() if outputs == 1 else CategoricalCrossEntropy()
    torch.testing.assert_close(
        DiceCrossEntropy()(logits, label), DiceLoss()(logits, label) + cross_entropy(logits, label)
    )


@pytest.mark.parametrize("outputs", [1, 4])
@pytest.mark.parametrize("right", [True, False])
def test_gradients_stay_finite_for_extreme_logits(outputs, right):
    label = torch.randint(0, max(outputs, 2), (2, 1, 8, 8), generator=torch.Generator().manual_seed(0))
    for kind in ONE_OUTPUT if outputs == 1 else SOFTMAX:
        logits = confident(label, outputs) * (1 if right else -1)
        logits.requires_grad_()
        loss = kind()(logits, label)
        loss.backward()
        assert torch.isfinite(loss)
        assert torch.isfinite(logits.grad).all()


@pytest.mark.parametrize("outputs", [1, 4])
def test_an_empty_label_costs_nothing_when_nothing_is_predicted(outputs):
    label = torch.zeros(2, 1, 8, 8, dtype=torch.int64)
    for kind in ONE_OUTPUT if outputs == 1 else SOFTMAX:
        assert kind()(confident(label, outputs), label).item() == pytest.approx(0.0, abs=1e-5)


@pytest.mark.parametrize("outputs", [1, 4])
def test_an_empty_label_costs_when_something_is_predicted(outputs):
    label = torch.zeros(2, 1, 8, 8, dtype=torch.int64)
    logits = torch.zeros(2, outputs, 8, 8, requires_grad=True)
    loss = DiceLoss()(logits, label)
    assert loss.item() == pytest.approx(1.0, abs=1e-5)
    loss.backward()
    assert torch.isfinite(logits.grad).all()


@pytest.mark.parametrize("kind", SOFTMAX)
def test_a_structure_missing_from_the_batch_leaves_finite_gradients(kind):
    logits = torch.zeros(2, 4, 8, 8, requires_grad=True)
    label = torch.zeros(2, 1, 8, 8, dtype=torch.int64)
    label[..., :4] = 2
    kind()(logits, label).backward()
    assert torch.isfinite(logits.grad).all()
    # Descent raises the output of structure 2 inside it.
    assert (logits.grad[:, 2, :, :4] < 0).all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_logits_do_not_overflow(dtype):
    """The sum over a batch of patches passes 65,504, the greatest number of float16."""
    label = torch.ones(8, 1, 128, 128, dtype=torch.int64)
    loss = DiceCrossEntropy()(confident(label, 1, 20.0).to(dtype), label)
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(0.0, abs=1e-5)


@pytest.mark.parametrize("kind", list(dict.fromkeys([*ONE_OUTPUT, *SOFTMAX])), ids=lambda kind: kind.__name__)
def test_a_label_of_another_shape_is_named(kind):
    with pytest.raises(
        ValueError, match=r"a label of shape \(2, 1, 8, 4\) does not fit logits of shape \(2, 1, 8, 8\)"
    ):
        kind()(torch.zeros(2, 1, 8, 8), torch.zeros(2, 1, 8, 4, dtype=torch.int64))
    with pytest.raises(ValueError, match=r"a label of shape \(2, 2, 8, 8\) does not fit"):
        kind()(torch.zeros(2, 3, 8, 8), torch.zeros(2, 2, 8, 8, dtype=torch.int64))


@pytest.mark.parametrize(
    ("kind", "outputs", "value", "message"),
    [
        (BinaryCrossEntropy, 1, 2, r"the label holds 2, but with 1 output\(s\) it is 0 to 1"),
        (CategoricalCrossEntropy, 3, 3, r"the label holds 3, but with 3 output\(s\) it is 0 to 2"),
        (DiceLoss, 1, 3, r"the label holds 3, but with 1 output\(s\) it is 0 to 1"),
        (DiceCrossEntropy, 4, 5, r"the label holds 5, but with 4 output\(s\) it is 0 to 3"),
        (DiceCrossEntropy, 4, -1, r"the label holds -1, but with 4 output\(s\) it is 0 to 3"),
        (BinaryCrossEntropy, 4, 1, "binary cross entropy takes 1 output, not 4: use CategoricalCrossEntropy"),
        (
            CategoricalCrossEntropy,
            1,
            1,
            "categorical cross entropy takes 2 outputs or more, not 1: use BinaryCrossEntropy",
        ),
    ],
)
def test_labels_that_no_output_stands_for_are_named(kind, outputs, value, message):
    label = torch.zeros(1, 1, 4, 4, dtype=torch.int64)
    label[0, 0, 1, 2] = value
    with pytest.raises(ValueError, match=message):
        kind()(torch.zeros(1, outputs, 4, 4), label)


def test_a_wrong_number_of_class_weights_is_named():
    with pytest.raises(ValueError, match="2 class weights do not fit 4 outputs, background first"):
        CategoricalCrossEntropy([1.0, 2.0])(torch.zeros(1, 4, 4, 4), torch.zeros(1, 1, 4, 4, dtype=torch.int64))


def test_losses_add_nothing_to_a_checkpoint():
    for loss in (BinaryCrossEntropy(2.0), CategoricalCrossEntropy([1.0, 2.0]), DiceLoss(), DiceCrossEntropy()):
        assert loss.state_dict() == {}


def small_network() -> nn.Sequential:
    network = nn.Sequential(nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2), nn.Conv2d(2, 1, 1))
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.fill_(7.0)
        network[0].weight[:] = torch.tensor([1.0, -2.0]).view(2, 1, 1, 1)
        network[2].weight[:] = torch.tensor([0.5, -0.5]).view(1, 2, 1, 1)
    return network


@pytest.mark.parametrize(
    ("l1", "l2", "penalty"), [(0.1, 0.0, 0.4), (0.0, 0.1, 0.55), (0.1, 0.1, 0.95), (0.0, 0.0, 0.0)]
)
def test_weight_penalty_by_hand(l1, l2, penalty):
    assert WeightPenalty(l1, l2)(small_network()).item() == pytest.approx(penalty, rel=1e-6)


def test_weight_penalty_pulls_on_weights_alone():
    network = small_network()
    WeightPenalty(l1=0.1, l2=0.1)(network).backward()
    assert network[0].weight.grad.flatten().tolist() == pytest.approx([0.3, -0.5])
    assert all(network[index].bias.grad is None for index in (0, 1, 2))
    assert network[1].weight.grad is None


def test_a_negative_penalty_is_refused():
    with pytest.raises(
        ValueError, match="the factors of a weight penalty are not negative, but l1 is -1.0 and l2 is 0.0"
    ):
        WeightPenalty(l1=-1.0, l2=0.0)


def test_binary_cross_entropy_of_extreme_logits_is_linear():
    loss = BinaryCrossEntropy()(torch.full((1, 1, 2, 2), -100.0), torch.ones(1, 1, 2, 2, dtype=torch.int64))
    assert loss.item() == pytest.approx(100.0 + log(1 + exp(-100.0)))


@pytest.mark.parametrize("kind", ONE_OUTPUT)
@pytest.mark.parametrize("dtype", [torch.uint8, torch.int64])
def test_the_loss_of_regions_is_the_mean_of_those_of_each_alone(kind: type[nn.Module], dtype: torch.dtype):
    logits, label = regions(0, dtype)
    known = torch.tensor([[True, False, True], [True, True, False]])
    masked = label * known[..., None, None]
    for given, told in ((label, None), (masked, known)):
        alone = [
            kind()(logits[:, [k]], given[:, [k]], None if told is None else told[:, [k]])
            for k in range(logits.shape[1])
        ]
        torch.testing.assert_close(kind()(logits, given, told), torch.stack(alone).mean())
    torch.testing.assert_close(kind()(logits, label, torch.ones_like(known)), kind()(logits, label))


def test_a_softmax_is_not_for_regions():
    logits, label = regions(2)
    with pytest.raises(ValueError, match="takes structures that exclude each other: use BinaryCrossEntropy"):
        CategoricalCrossEntropy()(logits, label)
    values, target = torch.rand(1, 3, 4, 4), torch.ones(1, 3, 4, 4)
    with pytest.raises(ValueError, match="exclude each other: use 'dice' for regions"):
        SharpSegmentation("dice_cross_entropy")(values, target)
    assert torch.isfinite(SharpSegmentation("dice")(values, target))
    label[0, 0, 0, 0] = 2
    with pytest.raises(ValueError, match=r"the label holds 2, but with 3 output\(s\) it is 0 to 1"):
        DiceCrossEntropy()(logits, label)


def test_focal_by_hand():
    right, wrong = (1 - 0.9) ** 2 * -log(0.9), (1 - 0.4) ** 2 * -log(0.4)
    assert Focal()(one_output(0.9, 0.4), labels(1, 1)).item() == pytest.approx((right + wrong) / 2, rel=1e-4)
    plain = BinaryCrossEntropy()(one_output(0.9, 0.4), labels(1, 1)).item()
    assert Focal(gamma=0)(one_output(0.9, 0.4), labels(1, 1)).item() == pytest.approx(plain, rel=1e-4)


def test_generalised_dice_by_hand_and_of_regions_of_which_some_are_unknown():
    # two regions of one and three voxels: weights 1 and 1/9
    probabilities = torch.tensor([[0.8, 0.1, 0.1, 0.1], [0.7, 0.7, 0.7, 0.1]])
    label = torch.tensor([[1, 0, 0, 0], [1, 1, 1, 0]])[None, ..., None]
    logits = probabilities.logit()[None, ..., None]
    shared, sizes = 0.8 + 2.1 / 9, (1.1 + 1) + (2.2 + 3) / 9
    assert GeneralisedDice()(logits, label).item() == pytest.approx(1 - 2 * shared / sizes, abs=1e-5)
    known = torch.tensor([[True, False]])
    label[:, 1] = 0
    assert GeneralisedDice()(logits, label, known).item() == pytest.approx(1 - 1.6 / 2.1, abs=1e-5)
    truth = torch.tensor([0, 1, 2, 2]).view(1, 1, 4, 1)
    assert GeneralisedDice()(confident(truth, 3), truth).item() == pytest.approx(0, abs=1e-5)


def test_deep_supervision_is_the_sum_of_losses_that_weigh_half_as_much_at_each_coarser_resolution():
    logits, label = regions(3, torch.int64)
    coarse, known = logits[..., ::5, ::3], torch.tensor([[True, True, True], [True, True, False]])
    label[1, 2] = 0
    seen = []

    def loss(given: torch.Tensor, truth: torch.Tensor, told: torch.Tensor | None = None) -> torch.Tensor:
        seen.append((truth.dtype, told))
        return DiceCrossEntropy()(given, truth, told)

    together = deep_supervision(loss, [logits, coarse], label, known)
    fine, rough = loss(logits, label, known), loss(coarse, label[..., 2::5, 1::3], known)
    torch.testing.assert_close(together, fine + rough / 2)
    assert {kind for kind, _ in seen} == {torch.int64} and all(told is known for _, told in seen)
    torch.testing.assert_close(deep_supervision(DiceCrossEntropy(), [logits], label), DiceCrossEntropy()(logits, label))


def test_l2sp_is_the_distance_to_the_start_and_pulls_what_is_new_to_zero():
    network = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 1))
    penalty = L2SP(alpha=0.4, beta=0.2, anew=["1"])
    penalty.start_from(network, network[1].parameters())
    assert penalty(network).item() == pytest.approx(0.1 * network[1].weight.square().sum().item())
    with torch.no_grad():
        network[0].weight += 0.5
        network[0].bias += 9
    expected = 0.2 * 4 * 0.25 + 0.1 * network[1].weight.square().sum().item()
    assert penalty(network).item() == pytest.approx(expected)
    resumed = L2SP(alpha=0.4, beta=0.2, anew=["1"])
    resumed.start_from(nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 1)))
    resumed.load_state_dict(penalty.state_dict())
    assert resumed(network).item() == pytest.approx(expected), "the start travels in the checkpoint"
    with pytest.raises(ValueError, match="the factors of L2SP are not negative"):
        L2SP(alpha=-1)
