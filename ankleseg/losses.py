"""Named loss terms on the logits of a network, on restored images, and a penalty on weights.

Every loss of a segmentation is called with logits (B, K, *spatial) and labels (B, 1, *spatial) of integers. One output
(K = 1) is the sigmoid of a single structure, label 0 or 1; more outputs are a softmax over background and structures,
label 0 … K − 1.

Where the references of some structures are not to be believed, a loss is also called with known (B, structures). A
voxel labelled 0 is then background *or* one of the unknown structures, and its probability is the sum of theirs: the
marginal losses of Fang and Yan 2020 and Shi et al. 2021. So an unknown structure is neither taught nor taught to be
absent; what is known to be another structure is still taught not to be it. With one output, a sample whose structure
is unknown has loss 0.

Every loss of a restoration is called with output and target (B, C, *spatial) and, where it is known, the correlation
(B,) of image and target.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional

Logits = Float[Tensor, "batch outputs *spatial"]
Label = Int[Tensor, "..."]  # (batch, 1, *spatial), checked when called
Known = Bool[Tensor, "batch structures"]
Scalar = Float[Tensor, ""]
Images = Float[Tensor, "batch channels *spatial"]
Target = Float[Tensor, "..."]  # (batch, channels, *spatial), checked when called
Correlation = Float[Tensor, "batch"]

LEAST = 1e-6  # probability whose logarithm is taken
CHARBONNIER = 1e-3  # where the distance turns from square to absolute
NEVER = -1e4  # a logit whose exponential is 0; an infinite one has no gradient


class BinaryCrossEntropy(nn.Module):
    """Mean binary cross entropy of a single structure, the loss of the published ankle pipeline (Coupeau 2020).

    Args:
        structure_weight: factor on the term of voxels inside the structure; 1 is the plain loss.

    Raises (when called):
        ValueError: logits and label do not fit together, or there is more than one output.
    """

    structure_weight: Tensor

    def __init__(self, structure_weight: float = 1.0) -> None:
        super().__init__()
        self.register_buffer("structure_weight", torch.tensor(float(structure_weight)), persistent=False)

    def forward(self, logits: Logits, label: Label, known: Known | None = None) -> Scalar:
        logits = _marginal(logits, label, known)
        if logits.shape[1] != 1:
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
        if self.class_weights is not None and len(self.class_weights) != outputs:
            raise ValueError(f"{len(self.class_weights)} class weights do not fit {outputs} outputs, background first")
        return functional.cross_entropy(logits, label[:, 0].long(), weight=self.class_weights)


class DiceLoss(nn.Module):
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
        super().__init__()
        from monai.losses import DiceLoss as MonaiDiceLoss

        self._one_output = MonaiDiceLoss(sigmoid=True, batch=over_batch)
        self._softmax = MonaiDiceLoss(include_background=False, to_onehot_y=True, softmax=True, batch=over_batch)

    def forward(self, logits: Logits, label: Label, known: Known | None = None) -> Scalar:
        logits = _marginal(logits, label, known)
        loss = self._one_output if logits.shape[1] == 1 else self._softmax
        return loss(logits, label)


class DiceCrossEntropy(nn.Module):
    """Sum of the Dice loss and of the cross entropy that fits: binary for one output, else categorical.

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
        cross_entropy = self.binary_cross_entropy if logits.shape[1] == 1 else self.categorical_cross_entropy
        return self.dice(logits, label, known) + cross_entropy(logits, label, known)


class MeanSquaredError(nn.Module):
    """Mean squared difference of output and target: what Noise2Noise learns the mean of (Lehtinen 2018).

    Raises (when called):
        ValueError: output and target have different shapes.
    """

    def forward(self, output: Images, target: Target, correlation: Correlation | None = None) -> Scalar:
        _check_shapes(output, target)
        return (output.float() - target).square().mean()


class CorrelationWeighted(nn.Module):
    """Mean over the batch of g(c) · d, for patches of correlation c and distance d of output and target.

    Coupeau 2020 weighs by g(c) = 1 / (1 + exp(−10 (c − 0.5))), so that badly registered patches teach less. (The
    document sums over the batch; the published code, as here, divides by its size.)

    A learnt g has a trainable slope and centre in place of 10 and 0.5. Trained as it is, it would go to 0, where the
    loss is least. So the weights of a batch are divided by their geometric mean: with it fixed, g is best where the
    weight of a patch is inversely proportional to the distance that its correlation lets expect (the profile
    likelihood of a Laplace distribution, its scale a function of c, as in Kendall and Gal 2017). The arithmetic mean
    would not do: all weight on the easiest patch would be best.

    Args:
        distance: ``l1``, the sum of absolute differences in the patch, or ``l2``, the Euclidean norm.
        weight: ``published``, ``learnt``, or ``none``, which weighs all patches alike.
        gradient: factor of the same distance of the differences between neighbouring voxels, which is added.

    Raises:
        ValueError: another distance or weight, or a negative factor; when called: output and target have different
            shapes, or no correlation is given.
    """

    def __init__(self, distance: str = "l1", weight: str = "published", gradient: float = 0.0) -> None:
        super().__init__()
        for value, known in ((distance, ("l1", "l2")), (weight, ("published", "learnt", "none"))):
            if value not in known:
                raise ValueError(f"{value!r} is none of {', '.join(known)}")
        if gradient < 0:
            raise ValueError(f"the factor of the gradients is not negative, but is {gradient}")
        self.order = {"l1": 1, "l2": 2}[distance]
        self.weight = weight
        self.gradient = gradient
        # of about the same size, so that an optimiser moves both alike
        self.tenth_of_slope = nn.Parameter(torch.tensor(1.0), requires_grad=weight == "learnt")
        self.centre = nn.Parameter(torch.tensor(0.5), requires_grad=weight == "learnt")

    def forward(self, output: Images, target: Target, correlation: Correlation | None = None) -> Scalar:
        _check_shapes(output, target)
        difference = output.float() - target
        distance = self._norm(difference)
        if self.gradient:
            for axis in range(2, difference.ndim):
                distance = distance + self.gradient * self._norm(difference.diff(dim=axis))
        if self.weight == "none":
            return distance.mean()
        if correlation is None:
            raise ValueError("the weight of a patch needs the correlation of its image and target")
        return (self.weights(correlation) * distance).mean()

    def weights(self, correlation: Correlation) -> Correlation:
        """Weights of the patches of a batch."""
        exponent = functional.logsigmoid(10 * self.tenth_of_slope * (correlation - self.centre))
        if self.weight == "learnt":
            exponent = exponent - exponent.mean()
        return exponent.exp()

    def _norm(self, difference: Tensor) -> Tensor:
        return torch.linalg.vector_norm(difference.flatten(1), self.order, dim=1)


class SharpSegmentation(nn.Module):
    """How far a sharp image and its segmentation are from the true ones (Delannoy 2020, SegSRGAN).

    Called with values and target (B, 1 + K, *spatial): the image, then a probability, or 0 and 1, for each structure.

    The Charbonnier distance √(e² + 10⁻⁶) is averaged over all voxels and channels, so that image and probabilities
    weigh the same.

    Args:
        segmentation: ``charbonnier``, or ``dice``: the distance of the image alone, plus one minus the soft Dice
            (2 Σ p·y + 1) / (Σ p + Σ y + 1), sums over the batch, averaged over the structures. ``dice_cross_entropy``:
            the mean cross entropy of structures and background on top, which also tells of structures that are in none
            of the patches of a batch.
        image: factor on the distance of the image; published 1. One minus the Dice is some tenths where the distance is
            some hundredths: beside Dice, a larger factor sharpens sooner.

    Raises:
        ValueError: another word, or a factor that is not positive; when called: values and target have different
            shapes.
    """

    def __init__(self, segmentation: str = "charbonnier", image: float = 1.0) -> None:
        super().__init__()
        if segmentation not in (words := ("charbonnier", "dice", "dice_cross_entropy")):
            raise ValueError(f"{segmentation!r} is none of {', '.join(words)}")
        if not image > 0:
            raise ValueError(f"the factor on the distance of the image is positive, but is {image}")
        self.segmentation = segmentation
        self.image = image

    def forward(self, values: Images, target: Images) -> Scalar:
        _check_shapes(values, target)
        full = torch.promote_types(values.dtype, torch.float32)
        values, target = values.to(full), target.to(full)
        distance = ((values - target).square() + CHARBONNIER**2).sqrt()
        if self.segmentation == "charbonnier":
            return distance.mean() + (self.image - 1) * distance[:, 0].mean() / values.shape[1]
        if values.shape[1] == 1:  # no structures
            return self.image * distance.mean()
        others = [0, *range(2, values.ndim)]
        probabilities, structures = values[:, 1:], target[:, 1:]
        shared = (probabilities * structures).sum(others)
        dice = (2 * shared + 1) / (probabilities.sum(others) + structures.sum(others) + 1)
        loss = self.image * distance[:, 0].mean() + (1 - dice).mean()
        if self.segmentation == "dice":
            return loss
        found, true = (torch.cat([1 - each.sum(1, keepdim=True), each], dim=1) for each in (probabilities, structures))
        return loss - (true * found.clamp_min(LEAST).log()).sum(1).mean()


def slope_of(critic: Callable[[Tensor], Tensor], points: Images) -> Images:
    """Gradient of each sample's score to the sample, (B, C, *spatial), to be differentiated by the critic's weights.

    Args:
        critic: from samples (B, C, *spatial) to scores (B,).
        points: the samples.
    """
    points = points.detach().requires_grad_()
    (slope,) = torch.autograd.grad(critic(points).sum(), points, create_graph=True)
    return slope


def gradient_penalty(slope: Images) -> Scalar:
    """Mean over the samples of (‖slope‖ − 1)² (Gulrajani 2017).

    Args:
        slope: gradient of a critic's score to each sample, between real and made-up ones.
    """
    return (torch.linalg.vector_norm(slope.flatten(1), dim=1) - 1).square().mean()


class WeightPenalty:
    """Elastic net l1 · Σ|w| + l2 · Σw² over the weights of a network (Zou and Hastie 2005).

    Weights are the parameters of two dimensions or more: those of convolutions and linear layers. Biases and the
    scales and shifts of norm layers go free.

    Args:
        l1: factor of the sum of absolute values; alone it is the lasso.
        l2: factor of the sum of squares; alone it is ridge, or weight decay by loss.

    Raises:
        ValueError: a factor is negative.
    """

    def __init__(self, l1: float = 0.0, l2: float = 0.0) -> None:
        if l1 < 0 or l2 < 0:
            raise ValueError(f"the factors of a weight penalty are not negative, but l1 is {l1} and l2 is {l2}")
        self.l1 = l1
        self.l2 = l2

    def __call__(self, network: nn.Module) -> Scalar:
        weights = [parameter for parameter in network.parameters() if parameter.ndim > 1]
        penalty = torch.zeros((), device=weights[0].device if weights else None)
        for weight in weights:
            if self.l1:
                penalty = penalty + self.l1 * weight.abs().sum()
            if self.l2:
                penalty = penalty + self.l2 * weight.square().sum()
        return penalty


def _marginal(logits: Tensor, label: Tensor, known: Tensor | None) -> Tensor:
    """Float logits whose background is background or an unknown structure; unknown structures themselves get 0.

    The softmax of the result is that of the logits, with the probabilities of the unknown structures moved to the
    background. So a usual loss of it is the marginal one, and the Dice of an unknown structure, empty in both, is 1.
    """
    _check_fit(logits, label)
    logits = logits.float()
    if known is None:
        return logits
    structures = max(logits.shape[1] - 1, 1)
    if tuple(known.shape) != (len(logits), structures):
        raise ValueError(f"known of shape {tuple(known.shape)} does not fit {len(logits)} samples of {structures}")
    for sample, k in (~known).nonzero().tolist():
        if (label[sample] == k + 1).any():
            raise ValueError(f"the label holds {k + 1}, which is said to be unknown in sample {sample}")
    unknown = (~known).reshape(*known.shape, *[1] * (logits.ndim - 2))
    if logits.shape[1] == 1:
        return logits.masked_fill(unknown, NEVER)
    background, rest = logits[:, :1], logits[:, 1:]
    merged = torch.cat([background, rest.masked_fill(~unknown, NEVER)], dim=1).logsumexp(dim=1, keepdim=True)
    return torch.cat([merged, rest.masked_fill(unknown, NEVER)], dim=1)


def _check_shapes(output: Tensor, target: Tensor) -> None:
    if output.shape != target.shape:
        raise ValueError(f"a target of shape {tuple(target.shape)} does not fit an output of {tuple(output.shape)}")


def _check_fit(logits: Tensor, label: Tensor) -> None:
    expected = (logits.shape[0], 1, *logits.shape[2:])
    if tuple(label.shape) != expected:
        raise ValueError(f"a label of shape {tuple(label.shape)} does not fit logits of shape {tuple(logits.shape)}")
    outputs = logits.shape[1]
    greatest = 1 if outputs == 1 else outputs - 1
    lowest, highest = (int(value) for value in torch.aminmax(label))
    if lowest < 0 or highest > greatest:
        wrong = lowest if lowest < 0 else highest
        raise ValueError(f"the label holds {wrong}, but with {outputs} output(s) it is 0 to {greatest}")
