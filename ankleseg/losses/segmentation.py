"""Losses of a segmentation, on the logits of a network.

Each is called with logits and a label, whose channels tell what the outputs are:

- label (B, 1, *spatial), one output: the sigmoid of a single structure, label 0 or 1;
- label (B, 1, *spatial), more outputs: a softmax over background and structures, label 0 … outputs − 1;
- label (B, K, *spatial), K outputs: regions, which may overlap, a sigmoid and a mask of 0 and 1 each.

Where the references of some structures are not to be believed, a loss is also called with known (B, structures). In a
softmax, a voxel labelled 0 is then background *or* one of the unknown structures, and its probability is the sum of
theirs: the marginal losses of Fang and Yan 2020 and Shi et al. 2021. So an unknown structure is neither taught nor
taught to be absent; what is known to be another structure is still taught not to be it. With sigmoids, an unknown
structure adds nothing to the loss of its sample.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float, Integer
from torch import Tensor, nn
from torch.nn import functional

Logits = Float[Tensor, "batch outputs *spatial"]
Label = Integer[Tensor, "..."]  # (batch, 1 or outputs, *spatial), checked when called
Known = Bool[Tensor, "batch structures"]
Scalar = Float[Tensor, ""]

NEVER = -1e4  # a logit whose exponential is 0; an infinite one has no gradient


class BinaryCrossEntropy(nn.Module):
    """Mean binary cross entropy of a structure, the loss of the published ankle pipeline (Coupeau 2020), or of regions.

    Args:
        structure_weight: factor on the term of voxels inside the structure; 1 is the plain loss.

    Raises (when called):
        ValueError: logits and label do not fit together, or they are of a softmax.
    """

    structure_weight: Tensor

    def __init__(self, structure_weight: float = 1.0) -> None:
        super().__init__()
        self.register_buffer("structure_weight", torch.tensor(float(structure_weight)), persistent=False)

    def forward(self, logits: Logits, label: Label, known: Known | None = None) -> Scalar:
        logits = _marginal(logits, label, known)
        if _is_softmax(logits, label):
            raise ValueError(f"binary cross entropy takes 1 output, not {logits.shape[1]}: use CategoricalCrossEntropy")
        return functional.binary_cross_entropy_with_logits(logits, label.float(), pos_weight=self.structure_weight)


class CategoricalCrossEntropy(nn.Module):
    """Cross entropy of a softmax over background and structures, averaged over the N voxels of the batch.

    Some teaching material divides by the number of classes too; here, as is usual, only by N, or with class weights
    by the summed weight of the voxels.

    Args:
        class_weights: a weight for each of the K outputs, background first; none is 1 for each.

    Raises (when called):
        ValueError: logits and label do not fit together, there is only one output, or not one weight for each.
    """

    class_weights: Tensor | None

    def __init__(self, class_weights: Sequence[float] | None = None) -> None:
        super().__init__()
        weights = None if class_weights is None else torch.tensor([float(weight) for weight in class_weights])
        self.register_buffer("class_weights", weights, persistent=False)

    def forward(self, logits: Logits, label: Label, known: Known | None = None) -> Scalar:
        logits = _marginal(logits, label, known)
        outputs = logits.shape[1]
        if outputs == 1:
            raise ValueError("categorical cross entropy takes 2 outputs or more, not 1: use BinaryCrossEntropy")
        if not _is_softmax(logits, label):
            raise ValueError(
                "categorical cross entropy takes structures that exclude each other: use BinaryCrossEntropy"
            )
        if self.class_weights is not None and len(self.class_weights) != outputs:
            raise ValueError(f"{len(self.class_weights)} class weights do not fit {outputs} outputs, background first")
        return functional.cross_entropy(logits, label[:, 0].long(), weight=self.class_weights)


class _SigmoidsOrSoftmax(nn.Module):
    """A loss of MONAI's, one of sigmoids and one of a softmax: what the label is of is asked."""

    def __init__(self, sigmoids: nn.Module, softmax: nn.Module) -> None:
        super().__init__()
        self._sigmoids = sigmoids
        self._softmax = softmax

    def forward(self, logits: Logits, label: Label, known: Known | None = None) -> Scalar:
        logits = _marginal(logits, label, known)
        return (self._softmax if _is_softmax(logits, label) else self._sigmoids)(logits, label)


class DiceLoss(_SigmoidsOrSoftmax):
    """One minus the soft Dice of each structure, averaged over the structures (Milletari 2016), without background.

    A structure's Dice is the ratio of sums 2 Σ p·y / (Σ p + Σ y) with 1e-5 added to numerator and denominator: a
    structure that is not in the label has a loss near 1 and next to no gradient as soon as its probabilities add up to
    more than that, as in a large patch they always do. A cross entropy beside it (``DiceCrossEntropy``) teaches what is
    absent.

    Args:
        over_batch: sum over all samples of a batch, which steadies the loss where many patches lack a structure;
            False takes the Dice of each sample and averages.

    Raises (when called):
        ValueError: logits and label do not fit together.
    """

    def __init__(self, over_batch: bool = True) -> None:
        from monai.losses import DiceLoss as MonaiDiceLoss

        super().__init__(
            MonaiDiceLoss(sigmoid=True, batch=over_batch),
            MonaiDiceLoss(include_background=False, to_onehot_y=True, softmax=True, batch=over_batch),
        )


class DiceCrossEntropy(nn.Module):
    """Sum of the Dice loss and of the cross entropy that fits: categorical for a softmax, else binary.

    Args:
        over_batch: as in ``DiceLoss``.

    Raises (when called):
        ValueError: logits and label do not fit together.
    """

    def __init__(self, over_batch: bool = True) -> None:
        super().__init__()
        self.dice = DiceLoss(over_batch)
        self.binary_cross_entropy = BinaryCrossEntropy()
        self.categorical_cross_entropy = CategoricalCrossEntropy()

    def forward(self, logits: Logits, label: Label, known: Known | None = None) -> Scalar:
        cross_entropy = self.categorical_cross_entropy if _is_softmax(logits, label) else self.binary_cross_entropy
        return self.dice(logits, label, known) + cross_entropy(logits, label, known)


class GeneralisedDice(_SigmoidsOrSoftmax):
    """One minus the generalised Dice of all structures together (Sudre 2017), by MONAI, without background.

    Each structure weighs one over the square of its volume in the batch, so that small ones count; one without a voxel
    weighs as much as the smallest that is there. A batch without any structure teaches nothing.

    Args:
        over_batch: as in ``DiceLoss``.

    Raises (when called):
        ValueError: logits and label do not fit together.
    """

    def __init__(self, over_batch: bool = True) -> None:
        from monai.losses import GeneralizedDiceLoss

        super().__init__(
            GeneralizedDiceLoss(sigmoid=True, batch=over_batch),
            GeneralizedDiceLoss(include_background=False, to_onehot_y=True, softmax=True, batch=over_batch),
        )


class Focal(_SigmoidsOrSoftmax):
    """Focal loss (Lin 2017), by MONAI: a cross entropy in which voxels that are right already weigh less.

    Args:
        gamma: the more, the less they weigh; 0 is the plain cross entropy.

    Raises (when called):
        ValueError: logits and label do not fit together.
    """

    def __init__(self, gamma: float = 2.0) -> None:
        from monai.losses import FocalLoss

        super().__init__(FocalLoss(gamma=gamma), FocalLoss(gamma=gamma, to_onehot_y=True, use_softmax=True))


def _is_softmax(logits: Tensor, label: Tensor) -> bool:
    return logits.shape[1] > 1 and label.shape[1] == 1


def _marginal(logits: Tensor, label: Tensor, known: Tensor | None) -> Tensor:
    """Float logits whose background is background or an unknown structure; unknown structures themselves get 0.

    The softmax of the result is that of the logits, with the probabilities of the unknown structures moved to the
    background. So a usual loss of it is the marginal one, and the Dice of an unknown structure, empty in both, is 1.
    """
    _check_fit(logits, label)
    logits = logits.float()
    if known is None:
        return logits
    softmax = _is_softmax(logits, label)
    structures = logits.shape[1] - softmax
    if tuple(known.shape) != (len(logits), structures):
        raise ValueError(f"known of shape {tuple(known.shape)} does not fit {len(logits)} samples of {structures}")
    for sample, k in (~known).nonzero().tolist():
        drawn = label[sample, 0] == k + 1 if softmax else label[sample, k]
        if drawn.any():
            raise ValueError(f"the label holds {k + 1}, which is said to be unknown in sample {sample}")
    unknown = (~known).reshape(*known.shape, *[1] * (logits.ndim - 2))
    if not softmax:
        return logits.masked_fill(unknown, NEVER)
    background, rest = logits[:, :1], logits[:, 1:]
    merged = torch.cat([background, rest.masked_fill(~unknown, NEVER)], dim=1).logsumexp(dim=1, keepdim=True)
    return torch.cat([merged, rest.masked_fill(unknown, NEVER)], dim=1)


def _check_fit(logits: Tensor, label: Tensor) -> None:
    outputs = logits.shape[1]
    if tuple(label.shape) not in {(logits.shape[0], channels, *logits.shape[2:]) for channels in (1, outputs)}:
        raise ValueError(f"a label of shape {tuple(label.shape)} does not fit logits of shape {tuple(logits.shape)}")
    greatest = outputs - 1 if _is_softmax(logits, label) else 1
    lowest, highest = (int(value) for value in torch.aminmax(label))
    if lowest < 0 or highest > greatest:
        wrong = lowest if lowest < 0 else highest
        raise ValueError(f"the label holds {wrong}, but with {outputs} output(s) it is 0 to {greatest}")
