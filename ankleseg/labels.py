"""What a network is asked for: images, and structures that exclude each other or are regions inside each other.

`Labels` alone says how many outputs a network has, what makes probabilities of them, what they are compared with, how
masks are made of them and in which colours they are drawn.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Bool, Float, Shaped, UInt8

from ankleseg.errors import ConfigError

if TYPE_CHECKING:
    from torch import Tensor

Masks = Bool[np.ndarray, "structures *spatial"]

MOST = 255  # structures in a label map of one byte
STRUCTURE_COLOURS = (  # told apart by colour-blind readers too (Okabe and Ito 2008)
    "#E69F00",
    "#56B4E9",
    "#00C08B",
    "#F0E442",
    "#CC79A7",
    "#D55E00",
    "#4C8DFF",
    "#BBBBBB",
)


@dataclass(frozen=True, kw_only=True)
class Labels:
    """The outputs of a network, by name: images first, then structures.

    A *label* is how references travel in a batch. Of exclusive structures it is a label map (B, 1, *spatial), 0 the
    background and k the k-th structure; of regions it is a mask for each (B, K, *spatial), since a voxel may lie in
    several.

    Args:
        structures: K names, in the order of the labels.
        regions: False: a voxel belongs to one structure at most, or to the background (a softmax; a sigmoid where
            there is one structure). True: structures may lie inside each other, such as a tumour's core in the whole
            tumour (a sigmoid each); give the larger one first.
        images: names of the leading outputs that are intensities, such as ``sharp``.
        pairs: structures that change places in a left–right flip. Empty: every structure is its own mirror image.
            None: not known, so that such flips are refused.
        label_values: of regions, the value of each in the label maps that are written, where no region named after it
            lies; each region then lies inside those named before it. None: 1, 2, 3 in their order.

    Raises:
        ConfigError: a name is given twice, there are more than 255 structures, a pair names another structure or one
            that is in a pair already, or there is not one label value of its own for each region.
    """

    structures: tuple[str, ...] = ()
    regions: bool = False
    images: tuple[str, ...] = ()
    pairs: tuple[tuple[str, str], ...] | None = None
    label_values: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        for name in ("structures", "images"):
            given = getattr(self, name) or ()
            object.__setattr__(self, name, (given,) if isinstance(given, str) else tuple(map(str, given)))
        names = self.images + self.structures
        if len(set(names)) < len(names):
            twice = next(name for name in names if names.count(name) > 1)
            raise ConfigError(f"invalid structures: {twice} is given twice", mend="give every structure once")
        if len(self.structures) > MOST:
            raise ConfigError(
                f"invalid structures: {len(self.structures)}, expected at most {MOST}", mend="leave some out"
            )
        if self.label_values is not None:
            object.__setattr__(self, "label_values", _checked_values(self.label_values, self))
        if self.pairs is not None:
            object.__setattr__(self, "pairs", tuple(map(_pair, self.pairs)))
            paired = [name for pair in self.pairs for name in pair]
            for name in paired:
                if paired.count(name) > 1:
                    raise ConfigError(
                        f"invalid left-right pairs: {name} is in {paired.count(name)} places",
                        mend="give every structure one partner, and leave out those that have none",
                    )
                if name not in self.structures:
                    raise ConfigError(
                        f"invalid left-right pair: {name} is not among the structures",
                        mend=f"choose among {', '.join(self.structures) or 'none'}",
                    )

    def __len__(self) -> int:
        """Number of structures."""
        return len(self.structures)

    @property
    def outputs(self) -> int:
        """Output channels of a network: its images, then those of the structures, with background in a softmax."""
        return len(self.images) + len(self) + (len(self) > 1 and not self.regions)

    @property
    def values(self) -> int:
        """Channels of `activate`: images and a probability for each structure."""
        return len(self.images) + len(self)

    @property
    def channels(self) -> int:
        """Channels of a label: one label map, or a mask for each region."""
        return len(self) if self.regions else 1

    @property
    def colours(self) -> dict[str, str]:
        """Colour of each structure, as ``#RRGGBB``; the ninth has that of the first again."""
        return {name: STRUCTURE_COLOURS[k % len(STRUCTURE_COLOURS)] for k, name in enumerate(self.structures)}

    def activate(self, outputs: Float[Tensor, "b outputs *spatial"]) -> Float[Tensor, "b values *spatial"]:
        """Images as they are, then the probability of each structure."""
        from torch import cat

        images = len(self.images)
        logits = outputs[:, images:]
        if not len(self):
            return outputs
        single = self.regions or len(self) == 1
        probabilities = logits.sigmoid() if single else logits.softmax(dim=1)[:, 1:]
        return cat([outputs[:, :images], probabilities], dim=1) if images else probabilities

    def targets(self, label: Tensor) -> Float[Tensor, "b structures *spatial"]:
        """What probabilities are compared with: 1 inside each structure, 0 outside.

        Args:
            label: (B, 1, *spatial) label map, or (B, K, *spatial) masks of regions.
        """
        from torch import arange

        if self.regions:
            return label.float()
        values = arange(1, len(self) + 1, device=label.device).view(-1, *[1] * (label.ndim - 2))
        return (label == values).float()

    def masks(self, label: Shaped[np.ndarray, "channels *spatial"]) -> Masks:
        """Mask of each structure in the label of one case."""
        if self.regions:
            return np.asarray(label, dtype=bool)
        values = np.arange(1, len(self) + 1, dtype=np.uint8).reshape(-1, *[1] * (label.ndim - 1))
        return label[:1] == values

    def label(
        self, masks: Mapping[str, Shaped[np.ndarray, "*spatial"]], shape: Sequence[int] | None = None
    ) -> UInt8[np.ndarray, "channels *spatial"]:
        """The label of one case from masks by name; of a structure without one nothing is drawn.

        Where masks of exclusive structures share voxels, these go to the structure that is named first.

        Args:
            masks: of any structures; those that are not among these are left out.
            shape: of the case; None takes that of the masks, of which there is one then.
        """
        spatial = next(iter(masks.values())).shape if shape is None else tuple(shape)
        label = np.zeros((self.channels, *spatial), dtype=np.uint8)
        for value, name in reversed(list(enumerate(self.structures, start=1))):
            if name in masks and self.regions:
                label[value - 1] = np.asarray(masks[name], dtype=bool)
            elif name in masks:
                np.copyto(label[0], np.uint8(value), where=np.asarray(masks[name], dtype=bool))
        return label

    def decode(self, probabilities: Float[np.ndarray, "structures *spatial"]) -> Masks:
        """Mask of each structure, from the probabilities of one case.

        Of exclusive structures a voxel gets the most probable one where that is more probable than background,
        1 − Σp. A single structure and regions are where their probability exceeds one half, and where a region inside
        them is (see `label_values`).
        """
        if self.regions or len(self) < 2:
            found = probabilities > 0.5
            return found if self.label_values is None else np.logical_or.accumulate(found[::-1])[::-1]
        masks = np.zeros(probabilities.shape, dtype=bool)
        for x in range(probabilities.shape[1]):  # plane by plane: whole numbers of eight bytes take twice as much
            plane = probabilities[:, x]
            best = plane.argmax(axis=0)
            top = np.take_along_axis(plane, best[None], axis=0)[0]
            chosen = np.where(top > 1 - plane.sum(axis=0), best, len(self))
            for k in range(len(self)):
                masks[k, x] = chosen == k
        return masks

    def label_map(self, masks: Masks) -> UInt8[np.ndarray, "*spatial"]:
        """Masks as one label map, k the k-th structure: of regions the last one named that holds a voxel, of exclusive
        structures the first."""
        drawn = np.zeros(masks.shape[1:], dtype=np.uint8)
        numbers = range(len(self)) if self.regions else reversed(range(len(self)))
        for k in numbers:
            np.copyto(drawn, np.uint8(k + 1), where=masks[k])
        return drawn

    def written(self, label_map: UInt8[np.ndarray, "*spatial"]) -> UInt8[np.ndarray, "*spatial"]:
        """A label map in the values that are written, see `label_values`."""
        if self.label_values is None:
            return label_map
        return np.array([0, *self.label_values], dtype=np.uint8)[label_map]

    def mirrored_order(self) -> list[int]:
        """For each structure the number of the one it becomes in a left–right flip.

        Raises:
            ConfigError: `pairs` is None.
        """
        if self.pairs is None:
            raise ConfigError(
                "a left-right flip turns a right foot into a left one",
                mend="leave it out, or say in left_right_pairs which structures change places ([] for none)",
            )
        order = list(range(len(self)))
        for a, b in ((self.structures.index(a), self.structures.index(b)) for a, b in self.pairs):
            order[a], order[b] = b, a
        return order

    def named(self, values: Iterable[Any]) -> Iterator[tuple[str, Any]]:
        """Each structure with its value."""
        return zip(self.structures, values, strict=True)

    def to_plain(self) -> dict[str, Any]:
        """Plain types that travel in a checkpoint; ``Labels(**plain)`` rebuilds them."""
        return {
            name: [list(v) if isinstance(v, tuple) else v for v in value] if isinstance(value, tuple) else value
            for name, value in asdict(self).items()
        }


def _checked_values(values: Sequence[int], labels: Labels) -> tuple[int, ...]:
    checked = tuple(map(int, values))
    own = len(set(checked)) == len(checked) == len(labels) and all(0 < value <= MOST for value in checked)
    if not own or not labels.regions:
        raise ConfigError(
            f"invalid label values {list(checked)}: expected one of 1 to {MOST} for each of {len(labels)} regions",
            mend="correct label_values, or set it to null",
        )
    return checked


def _pair(pair: Sequence[str]) -> tuple[str, str]:
    if isinstance(pair, str) or len(pair) != 2:
        raise ConfigError(f"invalid left-right pair {pair!r}: expected two structures", mend="e.g. [[left, right]]")
    return str(pair[0]), str(pair[1])
