"""From a network trained on patches to the probabilities of a whole volume, in the prepared space."""

from __future__ import annotations

import itertools
import math
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional

from ankleseg.errors import ConfigError
from ankleseg.inference.tiles import blending_weights, box_of, tile_corners
from ankleseg.networks import required_divisor

LARGEST_SHARE = 0.5  # of the memory that may be used: larger sums are kept on disk
WORTH_SAYING = 10  # s
ACTIVATIONS = (nn.Identity, nn.ReLU, nn.LeakyReLU)
SLICE_MARGIN = 32  # voxels of surroundings kept around the foreground in whole slices

Job = tuple[int, tuple[int, ...], tuple[int, ...]]  # item of the stack, corner and sides of the tile


def probabilities_of(logits: Float[Tensor, "b k *spatial"]) -> Float[Tensor, "b structures *spatial"]:
    """Probability of each structure: a sigmoid for one, a softmax without its background channel for several."""
    return logits.sigmoid() if logits.shape[1] == 1 else logits.softmax(dim=1)[:, 1:]


def values_of(raw: Float[Tensor, "b k *spatial"], images: int) -> Float[Tensor, "b values *spatial"]:
    """What the outputs of a network say: the first ``images`` channels as they are, then probabilities."""
    if images == 0:
        return probabilities_of(raw)
    if images == raw.shape[1]:
        return raw
    return torch.cat([raw[:, :images], probabilities_of(raw[:, images:])], dim=1)


@dataclass(frozen=True)
class Probe:
    """What a forward pass tells of a network: values a voxel that it gives, bytes a voxel of input that it holds."""

    values: int
    bytes_a_voxel: float


def probe(
    network: nn.Module, channels: int, dimensions: int, images: int = 0, slice_thickness: float | None = None
) -> Probe:
    """Run a small input through a network; the outputs of all its layers are an upper bound of what a pass holds.

    What an activation writes over its input is not counted again.
    """
    total = 0

    def count(module: nn.Module, inputs: tuple[object, ...], output: object) -> None:
        nonlocal total
        held = {given.data_ptr() for given in inputs if isinstance(given, Tensor)}
        if isinstance(output, Tensor) and not (isinstance(module, ACTIVATIONS) and output.data_ptr() in held):
            total += output.numel() * output.element_size()

    leaves = [module for module in network.modules() if not any(module.children())]
    handles = [leaf.register_forward_hook(count) for leaf in leaves]
    side = 2 * required_divisor(network)
    try:
        device = next(network.parameters()).device
        with torch.inference_mode():
            raw = _pass(network, slice_thickness, torch.zeros((1, channels, *[side] * dimensions), device=device))
    finally:
        for handle in handles:
            handle.remove()
    return Probe(values_of(raw, images).shape[1], total / side**dimensions)


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
        images: how many of the first outputs are intensities, which stay as they are; the others become probabilities.
    """

    window: Sequence[int]
    mode: str = "tiles"
    overlap: float = 0.5
    blend: str = "smooth"
    batch: int = 8
    memory_gb: float = 3.0
    patch_foreground: float = 0.75
    images: int = 0

    def __post_init__(self) -> None:
        if self.mode not in ("tiles", "slices", "patches"):
            raise ConfigError(f"mode {self.mode!r} is unknown", mend="choose tiles, slices or patches")
        if self.blend not in ("smooth", "uniform"):
            raise ConfigError(f"blend {self.blend!r} is unknown", mend="choose smooth or uniform")
        if len(self.window) not in (2, 3):
            raise ConfigError(f"window {list(self.window)} has {len(self.window)} sides", mend="give two or three")
        if not 0 <= self.overlap < 1:
            raise ConfigError(f"overlap {self.overlap} is not a fraction", mend="choose 0 ≤ overlap < 1")
        if self.batch < 1:
            raise ConfigError(f"batch {self.batch} is too small", mend="choose 1 or more tiles in one pass")

    def __call__(
        self,
        network: nn.Module,
        image: Float[Tensor, "c x y z"],
        foreground: Bool[np.ndarray, "x y z"],
        *,
        slice_thickness: float | None = None,
        progress: Callable[[float], object] | None = None,
        announce: Callable[[str], object] | None = None,
    ) -> Float[Tensor, "values x y z"]:
        """Predict images and the probability of each structure.

        Where no tile was run, in air, an image is that of the first channel, and the probabilities are 0.

        Args:
            network: gives images and logits; it is used as it is, in the mode it is in.
            image: prepared volume.
            foreground: where structures can lie.
            slice_thickness: of the scan in mm, for a network that is conditional on it.
            progress: called with the fraction done since the last call.
            announce: called once, after the first tiles, with a line that says how long the rest will take.

        Raises:
            ConfigError: even a single tile would not fit into the memory bound.
        """
        flat = len(self.window) == 2
        stack = image.movedim(3, 0) if flat else image[None]
        mask = np.moveaxis(foreground, 2, 0) if flat else foreground[None]
        divisor = required_divisor(network)
        jobs = list(self._jobs(mask, divisor))
        largest = max((job[2] for job in jobs), key=math.prod, default=tuple(self.window))
        found = probe(network, image.shape[0], len(self.window), self.images, slice_thickness)
        batch = self.batch_that_fits(found, stack.shape, largest)
        watch = _Watch(jobs, progress, announce)
        with torch.inference_mode():
            result = self._run(partial(_pass, network, slice_thickness), stack, jobs, batch, found.values, watch)
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
        held = 4.0 * math.prod(stack_shape)
        sums = 4.0 * math.prod(stack_shape) / stack_shape[1] * (found.values + 1)
        if not self._on_disk(sums):
            held += sums
        one = found.bytes_a_voxel * math.prod(window)
        fits = int((self.memory_gb * 1e9 - held) / one)
        if fits < 1:
            raise ConfigError(
                f"a window of {'×'.join(map(str, window))} needs about {(held + one) / 1e9:.1f} GB, "
                f"more than memory_gb={self.memory_gb:g}",
                mend="allow more memory, or choose mode=tiles with a smaller window",
            )
        return min(self.batch, fits)

    def _on_disk(self, needed: float) -> bool:
        """Whether sums of so many bytes are kept in a file: they would take most of the memory that may be used."""
        return needed > LARGEST_SHARE * self.memory_gb * 1e9

    def _sums(self, shape: Sequence[int], on_disk: bool) -> Tensor:
        if not on_disk:
            return torch.zeros(*shape)
        with tempfile.TemporaryFile() as file:  # vanishes with the array
            return torch.from_numpy(np.memmap(file, np.float32, "w+", shape=tuple(shape)))

    def _run(
        self,
        network: Callable[[Tensor], Tensor],
        stack: Tensor,
        jobs: list[Job],
        batch: int,
        values: int,
        watch: _Watch,
    ) -> Tensor:
        blended = self.mode == "tiles"
        weights = blending_weights(jobs[0][2], self.blend) if blended and jobs else torch.ones(())
        spatial, images = (stack.shape[0], *stack.shape[2:]), self.images
        on_disk = self._on_disk(4.0 * math.prod(spatial) * (values + 1))
        result = self._sums((spatial[0], values, *spatial[1:]), on_disk)
        coverage = self._sums(spatial, on_disk)
        if not blended:  # tiles shifted back at the border come last in the grid; whole ones shall win
            jobs = jobs[::-1]
        for some in _batches(jobs, batch):
            tiles = torch.stack([_cut(stack[item], corner, window) for item, corner, window in some])
            found = values_of(network(tiles), images).cpu()
            for (item, corner, window), tile in zip(some, found, strict=True):
                room = tuple(slice(c, min(c + w, n)) for c, w, n in zip(corner, window, stack.shape[2:], strict=True))
                inside = tuple(slice(0, r.stop - r.start) for r in room)
                here = result[item][(slice(None), *room)]
                if blended:
                    here += (tile * weights)[(slice(None), *inside)]
                    coverage[item][room] += weights[inside]
                else:
                    here.copy_(tile[(slice(None), *inside)])
                    coverage[item][room] = 1
            watch.done(some)
        for item in range(spatial[0]):  # one after the other: the sums may lie on disk
            result[item] /= coverage[item].clamp_min(1e-12)
            if images:
                result[item, :images] = torch.where(coverage[item] > 0, result[item, :images], stack[item, :1])
        return result


class _Watch:
    """Tells how far a prediction is and, once, how long it will take."""

    def __init__(
        self, jobs: Sequence[Job], progress: Callable[[float], object] | None, announce: Callable[[str], object] | None
    ) -> None:
        self._total = max(1, sum(math.prod(window) for *_, window in jobs))
        self._jobs, self._progress, self._announce = jobs, progress, announce
        self._began, self._voxels = time.perf_counter(), 0

    def done(self, some: Sequence[Job]) -> None:
        self._voxels += (now := sum(math.prod(window) for *_, window in some))
        left = (time.perf_counter() - self._began) * (self._total / self._voxels - 1)
        if self._announce is not None and left > WORTH_SAYING:
            size = "×".join(map(str, some[0][2]))
            self._announce(f"{len(self._jobs)} windows of {size} voxels, {readable_time(left)} to go")
        self._announce = None
        if self._progress is not None:
            self._progress(now / self._total)


def readable_time(seconds: float) -> str:
    """Return a duration as a person says it."""
    return f"about {max(1, round(seconds))} s" if seconds < 90 else f"about {round(seconds / 60)} min"


def _pass(network: nn.Module, slice_thickness: float | None, tiles: Tensor) -> Tensor:
    """Run tiles through a network, on its device."""
    tiles = tiles.to(next(network.parameters()).device)
    if slice_thickness is None:
        return network(tiles)
    return network(tiles, slice_thickness=tiles.new_full((len(tiles),), slice_thickness))


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
