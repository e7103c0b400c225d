"""Whole volumes by our inferer: MONAI's answer, and the same by every way where the network sees one voxel."""

from __future__ import annotations

import itertools
from functools import partial

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.inferers import SliceInferer, SlidingWindowInferer
from torch import nn

from ankleseg.errors import ConfigError
from ankleseg.inference import VolumeInferer, volume
from ankleseg.inference.volume import probe
from ankleseg.labels import Labels
from ankleseg.networks import UNet, for_inference

CPU = torch.device("cpu")
LABELS = Labels(structures=["a", "b", "c"])


class VoxelWise(nn.Module):
    """Logits that depend on one voxel only, so that every way of tiling must agree."""

    divisor = 4

    def __init__(self, dimensions: int, outputs: int) -> None:
        super().__init__()
        self.layer = (nn.Conv2d if dimensions == 2 else nn.Conv3d)(1, outputs, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer(x)


class Neighbours(VoxelWise):
    """Logits that depend on the neighbourhood."""

    def __init__(self, dimensions: int, outputs: int) -> None:
        super().__init__(dimensions, outputs)
        self.layer = (nn.Conv2d if dimensions == 2 else nn.Conv3d)(1, outputs, 5, padding=2)


def random(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("dimensions", [2, 3])
@torch.no_grad()
def test_the_answer_is_monais(dimensions: int):
    """In blocks and in slices, of volumes smaller and larger than a tile, with every padding and weight."""
    network = Neighbours(dimensions, 3)
    shapes = ((2, 1, 22, 19, 9), (1, 1, 8, 3, 17))
    sizes: list[tuple[int, ...]] = [(8, 8, 8), (16, 8, -1)]
    modes = itertools.product(
        shapes, sizes, ("gaussian", "constant"), (0.25, (0.5, 0.6, 0.0)), ("constant", "replicate")
    )
    for shape, size, mode, overlap, padding in modes:
        size = tuple(-(-n // 4) * 4 if side < 0 else side for n, side in zip(shape[2:], size, strict=True))[:dimensions]
        overlap = overlap[:dimensions] if isinstance(overlap, tuple) else overlap
        settings = {"overlap": overlap, "mode": mode, "padding_mode": padding}
        settings |= {"cval": 0.3} if padding == "constant" else {}
        base = partial(SliceInferer, spatial_dim=2) if dimensions == 2 else SlidingWindowInferer
        image = random(*shape)
        if dimensions == 2 and isinstance(overlap, tuple):
            settings["overlap"] = 0.5
        expected = base(roi_size=size, sw_batch_size=3, **settings)(image, network)
        found = VolumeInferer(size, 3, **settings)(image, network)
        torch.testing.assert_close(found, expected, atol=1e-6, rtol=0)


def test_it_stands_in_a_script_of_monai():
    image = MetaTensor(random(1, 1, 8, 9, 4), affine=2 * torch.eye(4))
    network = VoxelWise(2, 2)
    inferer: SlidingWindowInferer = VolumeInferer(roi_size=(8, 8), sw_batch_size=2)
    found = inferer(image, lambda x, factor, offset: factor * network(x) + offset, 2, offset=1)
    assert isinstance(found, MetaTensor) and torch.equal(found.affine, image.affine)
    found += 1  # no inference tensor
    expected = 2 * network(image.as_tensor()[..., 0]) + 2
    torch.testing.assert_close(found.as_tensor()[..., 0], expected.detach())
    flat = VolumeInferer((8, 8))(image[..., 0], network)
    torch.testing.assert_close(flat.as_tensor(), network(image.as_tensor()[..., 0]).detach())
    assert VolumeInferer(8)(image, VoxelWise(3, 2)).shape == (1, 2, 8, 9, 4), "one side is that of all axes"


@pytest.mark.parametrize("tiling", ["tiles", "slices", "patches"])
def test_every_way_gives_the_voxelwise_answer(tiling: str):
    image = random(1, 1, 22, 19, 5)
    choices = itertools.product(("gaussian", "constant"), ((8, 8), (32, 8), (8, 8, 4)), (1, 4), (False, True))
    for mode, size, outputs, everywhere in choices:
        network, labels = VoxelWise(len(size), outputs), LABELS if outputs > 1 else Labels(structures=["a"])
        foreground = None if everywhere else np.ones((22, 19, 5), bool)
        inferer = VolumeInferer(size, 3, mode=mode, tiling=tiling)
        found = inferer(image, network, foreground=foreground, activate=labels.activate)
        with torch.no_grad():
            every = image[0].movedim(3, 0) if len(size) == 2 else image
            expected = labels.activate(network(every))
            expected = expected.movedim(0, 3)[None] if len(size) == 2 else expected
        assert torch.allclose(found, expected, atol=1e-6)


def test_tiles_without_foreground_are_skipped_and_zero_or_the_image():
    image, foreground = random(1, 1, 22, 19, 5), np.zeros((1, 1, 22, 19, 5), bool)
    foreground[0, 0, :4, :4, 1] = True
    seen: list[int] = []
    network = VoxelWise(2, 2)
    network.layer.register_forward_hook(lambda m, i, o: seen.append(len(o)))
    found = VolumeInferer((8, 8), overlap=0.0)(image, network, foreground=foreground, fill=1)
    assert sum(seen) == 2  # one tile, and the one that measures memory
    inside = torch.zeros(22, 19, 5, dtype=torch.bool)
    inside[:8, :8, 1] = True
    assert (found[0][:, inside] != 0).all() and not torch.equal(found[0, 0][inside], image[0, 0][inside])
    assert torch.equal(found[0, 0][~inside], image[0, 0][~inside]) and (found[0, 1][~inside] == 0).all()
    for tiling in ("tiles", "slices", "patches"):
        nothing = VolumeInferer((8, 8), tiling=tiling)(image, network, foreground=np.zeros_like(foreground))
        assert nothing.shape == (1, 2, 22, 19, 5) and (nothing == 0).all()


def test_whole_slices_see_the_surroundings_of_their_foreground():
    network, image, foreground = Neighbours(2, 1), random(1, 1, 160, 96, 2), np.zeros((160, 96, 2), bool)
    foreground[60:90, 70:90] = True
    found = VolumeInferer((8, 8), tiling="slices")(image, network, foreground=foreground)
    expected = network(image[0].movedim(3, 0)).movedim(0, 3).detach()
    torch.testing.assert_close(found[0, 0][foreground], expected[0][foreground])
    assert (found[0, 0, :8] == 0).all(), "far from it nothing is computed"


def test_sums_on_disk_are_those_in_memory():
    network, image = UNet(1, 2, spatial_dims=3, widths=(4, 8)), random(1, 1, 40, 33, 21)
    for mode in ("gaussian", "constant"):
        found = [
            VolumeInferer((16, 16, 16), 1, mode=mode, memory_gb=gb)(image, network, fill=1) for gb in (1.0, 0.0018)
        ]
        assert torch.equal(*found)


def test_progress_ends_at_one_and_the_time_is_announced_once(monkeypatch: pytest.MonkeyPatch):
    clock = iter(range(0, 10_000, 7))
    monkeypatch.setattr(volume.time, "perf_counter", lambda: next(clock))
    said: list[str] = []
    parts: list[float] = []
    tiles = VolumeInferer((16, 16, 16), overlap=0.0, sw_batch_size=1)
    tiles(random(1, 1, 64, 64, 64), VoxelWise(3, 2), announce=said.append, progress=parts.append)
    assert said == ["64 windows of 16×16×16 voxels, about 7 min to go"]
    assert len(parts) == 64 and sum(parts) == pytest.approx(1)


def test_memory_bound_lowers_the_batch_and_is_told_when_it_cannot_hold():
    network = nn.Sequential(nn.Conv2d(1, 64, 3, padding=1), nn.Conv2d(64, 1, 1))
    found = probe(network, network, 1, 2, CPU)
    assert found.values == 1 and found.bytes_a_voxel == 4 * 65
    shape, size = (1, 1, 128, 128), (128, 128)
    enough = (3.5 * found.bytes_a_voxel + 3 * 4) * 128 * 128 / 1e9
    assert VolumeInferer(size, 16, memory_gb=enough).batch_that_fits(found, shape, size, CPU) == 3
    blocks = volume.Probe(1, 1000.0), (1, 1, 200, 200, 200)
    assert VolumeInferer((32, 32, 32), 8).batch_that_fits(*blocks, (32, 32, 32), CPU) == 8
    assert VolumeInferer((80, 80, 48), 8).batch_that_fits(*blocks, (80, 80, 48), CPU) == 1, "large blocks go one by one"
    with pytest.raises(ConfigError, match=r"window of 128×128 needs about .* GB, more than memory_gb=0\.001; allow"):
        VolumeInferer(size, memory_gb=0.001)(torch.zeros(1, 1, 128, 128, 2), network)


def test_the_bound_follows_the_device(monkeypatch: pytest.MonkeyPatch):
    """A GPU holds the tiles, what of it is free is the bound; volume and sums stay in main memory."""
    for name, value in (("mem_get_info", (int(1e9), int(8e9))), ("memory_reserved", 2e8), ("memory_allocated", 1e8)):
        monkeypatch.setattr(torch.cuda, name, lambda device, value=value: value)
    found, gpu = volume.Probe(1, 1000.0), torch.device("cuda", 0)
    shape, size = (1, 1, 2000, 2000, 2000), (64, 64, 64)
    assert VolumeInferer(size, 9).batch_that_fits(found, shape, size, gpu) == 3
    assert VolumeInferer(size, 9, memory_gb=0.6).batch_that_fits(found, shape, size, gpu) == 2
    with pytest.raises(ConfigError, match="needs about 2.1 GB, more than the 1.1 GB that are free on cuda:0"):
        VolumeInferer((128, 128, 128)).batch_that_fits(found, shape, (128, 128, 128), gpu)


def test_what_an_activation_writes_over_its_input_is_counted_once():
    layers = [nn.Conv2d(1, 64, 3, padding=1), nn.Identity(), nn.ReLU(inplace=True), nn.Conv2d(64, 1, 1)]
    plain = nn.Sequential(*layers)
    for network in (plain, for_inference(plain)):
        assert probe(network, network, 1, 2, CPU).bytes_a_voxel == 4 * 65
    layers[2] = nn.ReLU()
    assert probe(nn.Sequential(*layers), nn.Sequential(*layers), 1, 2, CPU).bytes_a_voxel == 4 * 129


def test_a_patch_of_128_of_the_sharpening_unet_fits_into_the_default_memory():
    network = for_inference(UNet(1, 2, spatial_dims=3, widths=[16, 32, 64, 64]))
    shape, size = (1, 1, 256, 256, 256), (128, 128, 128)
    assert VolumeInferer(size).batch_that_fits(probe(network, network, 1, 3, CPU), shape, size, CPU) == 1


def test_when_memory_ran_out_one_small_tile_is_tried():
    smaller = VolumeInferer((96, 48), 8, mode="constant", tiling="slices").smaller((64, 64))
    assert (smaller.roi_size, smaller.sw_batch_size, smaller.tiling, smaller.mode) == ((64, 48), 1, "tiles", "constant")


def test_blocks_are_predicted_tile_by_tile_unless_asked():
    assert VolumeInferer((8, 8), tiling="auto").tiling == "slices"
    assert VolumeInferer((8, 8, 8), tiling="auto").tiling == VolumeInferer(8, tiling="auto").tiling == "tiles"


@pytest.mark.parametrize(
    "settings,message",
    [
        ({"roi_size": (8,)}, r"invalid window \[8\]: expected 2 or 3 sides"),
        ({"tiling": "all"}, "invalid tiling 'all'; choose tiles, slices or patches"),
        ({"mode": "hard"}, "invalid mode 'hard'; choose gaussian or constant"),
        ({"overlap": 1.0}, "invalid overlap 1.0: expected a fraction"),
        ({"sw_batch_size": 0}, "invalid batch of 0 tiles"),
    ],
)
def test_settings_are_checked(settings: dict, message: str):
    with pytest.raises(ConfigError, match=message):
        VolumeInferer(**{"roi_size": (8, 8)} | settings)
