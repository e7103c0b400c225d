"""Whole volumes from tiles, slices and patches: the same answer by every way where the network sees one voxel."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from ankleseg.errors import ConfigError
from ankleseg.inference import WholeVolume
from ankleseg.inference.volume import probabilities_of, probe
from ankleseg.networks import UNet, for_inference


class VoxelWise(nn.Module):
    """Logits that depend on one voxel only, so that every way of tiling must agree."""

    divisor = 4

    def __init__(self, dimensions: int, outputs: int) -> None:
        super().__init__()
        self.layer = (nn.Conv2d if dimensions == 2 else nn.Conv3d)(1, outputs, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer(x)


@pytest.fixture
def scan() -> tuple[torch.Tensor, np.ndarray]:
    image = torch.randn(1, 22, 19, 5, generator=torch.Generator().manual_seed(0))
    return image, np.ones((22, 19, 5), bool)


@pytest.mark.parametrize("mode", ["tiles", "slices", "patches"])
@pytest.mark.parametrize("blend", ["smooth", "uniform"])
@pytest.mark.parametrize("window", [(8, 8), (32, 8), (8, 8, 4)])
@pytest.mark.parametrize("outputs", [1, 4])
def test_every_way_gives_the_voxelwise_answer(scan, mode, blend, window, outputs):
    image, foreground = scan
    network = VoxelWise(len(window), outputs)
    found = WholeVolume(window=window, mode=mode, blend=blend, batch=3)(network, image, foreground)
    with torch.no_grad():
        every = image.movedim(3, 0) if len(window) == 2 else image[None]
        expected = probabilities_of(network(every))
        expected = expected.movedim(0, 3) if len(window) == 2 else expected[0]
    assert found.shape == (max(outputs - 1, 1), 22, 19, 5)
    assert torch.allclose(found, expected, atol=1e-6)


def test_tiles_without_foreground_are_skipped_and_zero(scan):
    image, foreground = scan
    foreground = np.zeros_like(foreground)
    foreground[:4, :4, 1] = True
    seen = []
    network = VoxelWise(2, 1)
    network.layer.register_forward_hook(lambda m, i, o: seen.append(len(o)))
    found = WholeVolume(window=(8, 8), overlap=0.0, memory_gb=1)(network, image, foreground)
    assert sum(seen) == 2  # one tile, and the one that measures memory
    assert (found[:, :8, :8, 1] > 0).all()
    assert (found[..., 0] == 0).all() and (found[:, 8:] == 0).all()


def test_an_empty_foreground_gives_an_empty_answer(scan):
    image, foreground = scan
    for mode in ("tiles", "slices", "patches"):
        found = WholeVolume(window=(8, 8), mode=mode)(VoxelWise(2, 1), image, np.zeros_like(foreground))
        assert found.shape == (1, 22, 19, 5) and (found == 0).all()


def test_progress_ends_at_one(scan):
    parts: list[float] = []
    WholeVolume(window=(8, 8), batch=3)(VoxelWise(2, 1), *scan, progress=parts.append)
    assert sum(parts) == pytest.approx(1) and len(parts) > 2


def test_memory_bound_lowers_the_batch_and_is_told_when_it_cannot_hold():
    network = nn.Sequential(nn.Conv2d(1, 64, 3, padding=1), nn.Conv2d(64, 1, 1))
    found = probe(network, 1, 2)
    assert found.values == 1 and found.bytes_a_voxel == 4 * 65
    one = found.bytes_a_voxel * 128 * 128
    settings = {"window": (128, 128), "batch": 16}
    shape = (1, 1, 128, 128)
    assert (
        WholeVolume(**settings, memory_gb=(3.5 * one + 3 * 4 * 128 * 128) / 1e9).batch_that_fits(
            found, shape, (128, 128)
        )
        == 3
    )
    with pytest.raises(ConfigError, match=r"window of 128×128 needs about .* GB, more than memory_gb=0\.001; allow"):
        WholeVolume(**settings, memory_gb=0.001)(network, torch.zeros(1, 128, 128, 2), np.ones((128, 128, 2), bool))


def test_what_an_activation_writes_over_its_input_is_counted_once():
    layers = [nn.Conv2d(1, 64, 3, padding=1), nn.Identity(), nn.ReLU(inplace=True), nn.Conv2d(64, 1, 1)]
    assert probe(nn.Sequential(*layers), 1, 2).bytes_a_voxel == 4 * 65
    layers[2] = nn.ReLU()
    assert probe(nn.Sequential(*layers), 1, 2).bytes_a_voxel == 4 * 129


def test_a_patch_of_128_of_the_sharpening_unet_fits_into_the_default_memory():
    network = for_inference(UNet(1, 2, spatial_dims=3, widths=[16, 32, 64, 64]))
    whole = WholeVolume(window=(128, 128, 128), images=1)
    assert whole.batch_that_fits(probe(network, 1, 3, images=1), (1, 1, 256, 256, 256), (128, 128, 128)) == 1


@pytest.mark.parametrize(
    "settings,message",
    [
        ({"window": (8,)}, "window .* has 1 sides"),
        ({"window": (8, 8), "mode": "all"}, "mode 'all' is unknown; choose tiles, slices or patches"),
        ({"window": (8, 8), "blend": "hard"}, "blend 'hard' is unknown; choose smooth or uniform"),
        ({"window": (8, 8), "overlap": 1.0}, "overlap 1.0 is not a fraction"),
    ],
)
def test_settings_are_checked(settings, message):
    with pytest.raises(ConfigError, match=message):
        WholeVolume(**settings)
