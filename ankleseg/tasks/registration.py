"""Registration: a network gives the displacement that moves one scan onto another, learnt from how alike they get."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, final

import numpy as np
import torch
from jaxtyping import Float
from monai.losses import DiceLoss
from torch import Tensor

from ankleseg import keys
from ankleseg.errors import ConfigError
from ankleseg.losses import InverseConsistency, RegistrationLoss
from ankleseg.losses.registration import left_out
from ankleseg.measures.deformation import folded_share, jacobian_determinant, target_errors
from ankleseg.networks import warped
from ankleseg.tasks.base import Sample, Scores, Task, ValidatedCase
from ankleseg.volumes.geometry import spacing


@final
class Registration(Task):
    """Register a moving scan to a fixed one on its grid (Balakrishnan 2019; Dalca 2019).

    Logs ``train/loss``, and of whole pairs ``val/similarity``, the dissimilarity of the loss with the sign changed,
    ``val/folding``, the share of the foreground where space folds, and where they are known ``val/dice_<structure>`` of
    the moved labels (nearest), ``val/dice``, and ``val/target_error``, the mean distance in mm from the true field in
    the foreground; with ``_input`` behind their names also similarity, Dice (``val/input_dice``) and error before.

    Args:
        loss: of the moved image, the fixed one and the flow.
        dice_weight: of the Dice loss (MONAI's) of the moved labels, linear, and the fixed ones: semi-supervised
            training. Published is 0.01 beside a loss of weights 1 and 0.01; other papers weigh the loss instead.
        inverse_weight: of the mean squared distance in voxels by which there and back misses the start; the pair is
            then registered either way.
        leave_out: structures, such as a tumour that only one of the scans has, whose voxels do not count in the
            similarity, neither the fixed nor the moved ones.
        others: see `Task`.

    Raises:
        ConfigError: a weight is negative, or there are no structures for labels or to leave out.
    """

    headlines = ("similarity",)
    in_progress_bar = ("similarity", "dice", "target_error")

    def __init__(
        self,
        *,
        loss: RegistrationLoss,
        dice_weight: float = 0.0,
        inverse_weight: float = 0.0,
        leave_out: Sequence[str] = (),
        **others: Any,
    ) -> None:
        super().__init__(**others)
        self.loss = loss
        for name, weight in (("dice_weight", dice_weight), ("inverse_weight", inverse_weight)):
            if weight < 0:
                raise ConfigError(f"invalid task.{name} {weight}: expected 0 or more", mend="give 0 to leave it out")
        if dice_weight and not len(self.labels):
            raise ConfigError("the Dice of labels needs structures", mend="name them by structures=[…]")
        for name in leave_out:
            if name not in self.labels.structures:
                raise ConfigError(
                    f"invalid task.leave_out: {name} is not among the structures", mend="name it in structures too"
                )
        network: Any = self.network
        self._downsizing = int(network.downsizing)
        self.dice_weight = dice_weight
        self.inverse_weight = inverse_weight
        self._left_out = [self.labels.structures.index(name) for name in leave_out]
        self._dice = DiceLoss()
        self._inverse = InverseConsistency()

    def check_patches(self, sizes: Sequence[tuple[int, Sequence[int]]], epochs: float = np.inf) -> None:
        dimensions = getattr(self.network, "spatial_dims", 3)
        for _, size in sizes:
            if len(size) != 3 or dimensions != 3:
                raise ConfigError(
                    f"invalid patches of {len(size)} sides, network of {dimensions} dimensions: expected 3 of both",
                    mend="set patches.sampler.size and network.spatial_dims",
                )
        super().check_patches(sizes, epochs)

    def forward(self, pair: Tensor) -> Tensor:
        """The displacement (B, D, *spatial), in voxels, of a pair (B, 2C, *spatial), moving before fixed."""
        return self._displacement(self.network(pair), pair)

    def _displacement(self, flow: Tensor, like: Tensor) -> Tensor:
        network: Any = self.network
        return network.displacement(flow, like.shape[2:])

    def training_step(self, batch: Mapping[str, Any], batch_index: int) -> Tensor:
        moving, fixed = batch[keys.MOVING], batch[keys.IMAGE]
        flow = self.network(torch.cat([moving, fixed], dim=1))
        displacement = self._displacement(flow, fixed)
        structures = self._structures(batch, displacement)
        mask = left_out(torch.cat([s[:, self._left_out] for s in structures], dim=1)) if self._left_out else None
        loss = self.loss(warped(moving, displacement), fixed.float(), flow, mask, self._downsizing)
        if self.dice_weight:
            loss = loss + self.dice_weight * self._dice(*structures)
        if self.inverse_weight:
            loss = loss + self.inverse_weight * self._inverse(displacement, self(torch.cat([fixed, moving], dim=1)))
        self.log("train/loss", loss, on_step=False, on_epoch=True, sync_dist=True, batch_size=len(fixed))
        return loss

    def _structures(self, batch: Mapping[str, Any], displacement: Tensor) -> tuple[Tensor, ...]:
        """The structures (B, K, *spatial) of the moving scan as moved, and of the fixed one, where they are needed."""
        if not (self.dice_weight or self._left_out):
            return ()
        moving, fixed = (self.labels.targets(batch[key]) for key in (keys.MOVING_LABEL, keys.LABEL))
        if keys.KNOWN in batch:  # nothing is known of a structure in one of the two: it counts in neither
            known = batch[keys.KNOWN][(..., *[None] * (moving.ndim - 2))]
            moving, fixed = moving * known, fixed * known
        return warped(moving, displacement), fixed

    def predicted(self, batch: Mapping[str, Any], sample: Sample) -> Float[np.ndarray, "d x y z"]:
        """The displacement of a whole pair, in voxels."""
        network: Any = self._inference
        device = next(network.parameters()).device
        pair = torch.cat([batch[keys.MOVING][:1], batch[keys.IMAGE][:1]], dim=1).to(device)
        with torch.inference_mode():
            return network.displacement(network(pair), pair.shape[2:])[0].float().cpu().numpy()

    def scored(
        self, values: Float[np.ndarray, "values x y z"], sample: Sample, case: str
    ) -> tuple[Scores, ValidatedCase]:
        fixed, moving = sample[keys.IMAGE], sample[keys.MOVING]
        inside = sample[keys.FOREGROUND][0].astype(bool)
        moved = _moved(moving, values)
        scores: Scores = {
            "similarity": self._similarity(moved, fixed),
            "similarity_input": self._similarity(moving, fixed),
            "folding": folded_share(jacobian_determinant(values), inside),
        }
        if len(self.labels):
            before, after = (self.labels.masks(label) for label in self._labels(sample, values))
            reference = self.labels.masks(sample[keys.LABEL])
            scores |= self.dice_of(after, reference, sample)
            plain = [score for score in self.dice_of(before, reference, sample).values() if score is not None]
            scores["input_dice"] = float(np.mean(plain)) if plain else None
        if keys.DISPLACEMENT in sample:
            truth, mm = sample[keys.DISPLACEMENT], spacing(sample[keys.AFFINE].astype(float)).tolist()
            for name, field in (("target_error", values), ("target_error_input", 0 * truth)):
                errors = target_errors(field, truth, mm, inside)
                scores[name] = float(errors.mean()) if errors.size else None
        return scores, ValidatedCase(case, moving[0], moved[0], fixed[0], inside)

    def _similarity(self, moved: np.ndarray, fixed: np.ndarray) -> float:
        pair = (torch.from_numpy(np.ascontiguousarray(image))[None].float() for image in (moved, fixed))
        with torch.no_grad():
            return -float(self.loss.dissimilarity(*pair))

    def _labels(self, sample: Sample, displacement: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The label of the moving scan, before and after."""
        label = sample[keys.MOVING_LABEL]
        return label, _moved(label.astype(np.float32), displacement, "nearest").astype(np.uint8)


def _moved(image: np.ndarray, displacement: np.ndarray, mode: str = "bilinear") -> np.ndarray:
    one, field = (torch.from_numpy(np.ascontiguousarray(array))[None] for array in (image, displacement))
    return warped(one, field, mode)[0].numpy()
