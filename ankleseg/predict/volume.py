"""From a network trained on patches to the probabilities of a whole volume, in the prepared space."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional

from ankleseg.errors import ConfigError
from ankleseg.networks import required_divisor
from ankleseg.predict.tiles import blending_weights, box_of, tile_corners

SLICE_MARGIN = 32  # voxels of surroundings kept around the foreground in whole slices

Job = tuple[int, tuple[int, ...], tuple[int, ...]]  # item of the stack, corner and sides of the tile


def probabilities_of(logits: Float[Tensor, "b k *spatial"]) -> Float[Tensor, "b structures *spatial"]:
    """Probability of each structure: a sigmoid for one, a softmax without its background channel for several."""
    return logits.sigmoid() if logits.shape[1] == 1 else logits.softmax(dim=1)[:, 1:]


@dataclass(frozen=True)
class Probe:
    """What a forward pass tells of a network: structures it gives, bytes that it holds at most for a voxel of input."""

    structures: int
    bytes_a_voxel: float


def probe(network: nn.Module, channels: int, dimensions: int) -> Probe:
    """Run a small input through a network; the outputs of all its layers are an upper bound of what a pass holds."""
    total = 0

    def count(_module: nn.Module, _inputs: object, output: object) -> None:
        nonlocal total
        if isinstance(output, Tensor):
            total += output.numel() * output.element_size()

    leaves = [module for module in network.modules() if not any(module.children())]
    handles = [leaf.register_forward_hook(count) for leaf in leaves]
    side = 2 * required_divisor(network)
    try:
        device = next(network.parameters()).device
        with torch.inference_mode():
            logits = network(torch.zeros((1, channels, *[side] * dimensions), device=device))
    finally:
        for handle in handles:
            handle.remove()
    return Probe(probabilities_of(logits).shape[1], total / side**dimensions)


@dataclass(frozen=True, kw_only=True)
class WholeVolume:
    """Predict a whole volume tile by tile, slice by slice, or patch by patch.

    Two-dimensional windows run over the slices along the last axis of the prepared volume. Tiles and slices without
    foreground are skipped: no structure lies in air.

    Args:
        window: sides of a tile in voxels, two for slices of the volume, three for blocks.
        mode: ``tiles``: overlapping and blended; ``slices``: every slice in one piece; ``patches``: side by side,
            each voxel decided by a single patch.
        overlap: fraction of a side shared by neighbouring tiles.
        blend: ``smooth`` or ``uniform`` weights of the tiles.
        batch: tiles in one forward pass; fewer where memory would not hold them.
        memory_gb: bound of the working memory in GB (10⁹ bytes).
        patch_foreground: in mode ``patches``, the least fraction of foreground in a patch that is scored on its own.
    """

    window: Sequence[int]
    mode: str = "tiles"
    overlap: float = 0.5
    blend: str = "smooth"
    batch: int = 8
    memory_gb: float = 3.0
    patch_foreground: float = 0.75

    def __post_init__(self) -> None:
        if self.mode not in ("tiles", "slices", "patches"):
            raise ConfigError(f"mode {self.mode!r} is unknown", mend="choose tiles, slices or patches")
        if self.blend not in ("smooth", "uniform"):
            raise ConfigError(f"blend {self.blend!r} is unknown", mend="choose smooth or uniform")
        if len(self.window) not in (2, 3):
            raise ConfigError(f"window {list(self.window)} has {len(self.window)} sides", mend="give two or three")
        if not 0 <= self.overlap < 1:
            raise ConfigError(f"overlap {self.overlap} is not a fraction", mend="choose 0 ≤ overlap < 1")

    def __call__(
        self,
        network: nn.Module,
        image: Float[Tensor, "c x y z"],
        foreground: Bool[np.ndarray, "x y z"],
        *,
        progress: Callable[[float], object] | None = None,
    ) -> Float[Tensor, "structures x y z"]:
        """Predict the probability of each structure.

        Args:
            network: gives logits; it is used as it is, in the mode it is in.
            image: prepared volume.
            foreground: where structures can lie.
            progress: called with the fraction done since the last call.

        Raises:
            ConfigError: even a single tile would not fit into the memory bound.
        """
        flat = len(self.window) == 2
        stack = image.movedim(3, 0) if flat else image[None]
        mask = np.moveaxis(foreground, 2, 0) if flat else foreground[None]
        divisor = required_divisor(network)
        jobs = list(self._jobs(mask, divisor))
        largest = max((job[2] for job in jobs), key=math.prod, default=tuple(self.window))
        found = probe(network, image.shape[0], len(self.window))
        batch = self.batch_that_fits(found, stack.shape, largest)
        with torch.inference_mode():
            result = self._run(network, stack, jobs, batch, found.structures, progress)
        return result.movedim(0, 3) if flat else result[0]

    def _jobs(self, mask: np.ndarray, divisor: int) -> Iterator[Job]:
        window = tuple(-(-side // divisor) * divisor for side in self.window)
        overlap = self.overlap if self.mode == "tiles" else 0.0
        for item in range(mask.shape[0]):
            if not mask[item].any():
                continue
            if self.mode == "slices":
                box = box_of(mask[item], SLICE_MARGIN, divisor)
                assert box is not None
                sides = tuple(-(-(cut.stop - cut.start) // divisor) * divisor for cut in box)
                yield item, tuple(cut.start for cut in box), sides
                continue
            for corner in tile_corners(mask.shape[1:], window, overlap):
                if mask[item][tuple(slice(c, c + w) for c, w in zip(corner, window, strict=True))].any():
                    yield item, corner, window

    def batch_that_fits(self, found: Probe, stack_shape: Sequence[int], window: Sequence[int]) -> int:
        """Tiles in one pass so that the working memory stays within ``memory_gb``.

        Raises:
            ConfigError: not even one tile fits.
        """
        items, channels, *spatial = stack_shape
        held = 4.0 * items * math.prod(spatial) * (channels + found.structures + 1)
        one = found.bytes_a_voxel * math.prod(window)
        fits = int((self.memory_gb * 1e9 - held) / one)
        if fits < 1:
            raise ConfigError(
                f"a window of {'×'.join(map(str, window))} needs about {(held + one) / 1e9:.1f} GB, "
                f"more than memory_gb={self.memory_gb:g}",
                mend="allow more memory, or choose mode=tiles with a smaller window",
            )
        return min(self.batch, fits)

    def _run(
        self,
        network: nn.Module,
        stack: Tensor,
        jobs: list[Job],
        batch: int,
        structures: int,
        progress: Callable[[float], object] | None,
    ) -> Tensor:
        device = next(network.parameters()).device
        blended = self.mode == "tiles"
        weights = blending_weights(jobs[0][2], self.blend) if blended and jobs else torch.ones(())
        result = torch.zeros(stack.shape[0], structures, *stack.shape[2:])
        coverage = torch.zeros(stack.shape[0], *stack.shape[2:]) if blended else None
        if not blended:  # tiles shifted back at the border come last in the grid; whole ones shall win
            jobs = jobs[::-1]
        for some in _batches(jobs, batch):
            tiles = torch.stack([_cut(stack[item], corner, window) for item, corner, window in some])
            probabilities = probabilities_of(network(tiles.to(device))).cpu()
            for (item, corner, window), values in zip(some, probabilities, strict=True):
                room = tuple(slice(c, min(c + w, n)) for c, w, n in zip(corner, window, stack.shape[2:], strict=True))
                inside = tuple(slice(0, r.stop - r.start) for r in room)
                here = result[item][(slice(None), *room)]
                if coverage is None:
                    here.copy_(values[(slice(None), *inside)])
                else:
                    here += (values * weights)[(slice(None), *inside)]
                    coverage[item][room] += weights[inside]
            if progress is not None:
                progress(len(some) / len(jobs))
        if coverage is not None:
            result /= coverage.clamp_min(1e-12)[:, None]
        return result


def _batches(jobs: Sequence[Job], size: int) -> Iterator[list[Job]]:
    """Neighbouring jobs of one window, at most ``size`` at once."""
    for _, group in itertools.groupby(jobs, key=lambda job: job[2]):
        alike = list(group)
        for first in range(0, len(alike), size):
            yield alike[first : first + size]


def _cut(item: Tensor, corner: Sequence[int], window: Sequence[int]) -> Tensor:
    """Cut a tile; beyond the border the edge value of the volume goes on."""
    room = tuple(slice(c, c + w) for c, w in zip(corner, window, strict=True))
    tile = item[(slice(None), *room)]
    missing = [w - n for w, n in zip(window, tile.shape[1:], strict=True)]
    if any(missing):
        padding = [side for m in reversed(missing) for side in (0, m)]
        tile = functional.pad(tile[None], padding, mode="replicate")[0]
    return tile
