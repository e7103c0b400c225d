"""Laws of networks that register pairs: published size, order and units, any side, and an inverse at hand."""

from __future__ import annotations

import io
import re

import numpy as np
import pytest
import torch
from configured import CONF, OF_PAIRS, node_of
from hydra.utils import instantiate
from laws import for_all
from monai.networks.blocks import DVF2DDF, Warp
from monai.networks.nets import VoxelMorph as MonaiVoxelMorph
from scipy.ndimage import map_coordinates

from ankleseg.networks import VoxelMorph, composed, for_inference, integrated, resized, warped

SHAPE = (12, 9, 10)


def smooth(*shape: int, seed: int = 0, size: float = 1.0) -> torch.Tensor:
    """A smooth random field of this largest size, in voxels."""
    coarse = torch.randn(1, shape[0], *([4] * (len(shape) - 1)), generator=torch.Generator().manual_seed(seed))
    field = resized(coarse, shape[1:])
    return field * (size / field.abs().max())


def moved_by_hand(image: np.ndarray, displacement: np.ndarray) -> np.ndarray:
    """Published spatial transformer, without PyTorch: linear at index + displacement, zeros outside."""
    places = np.stack(np.meshgrid(*map(np.arange, image.shape[1:]), indexing="ij")) + displacement
    return np.stack([map_coordinates(channel, places, order=1, mode="grid-constant") for channel in image])


def integrated_by_hand(velocity: np.ndarray, steps: int = 7) -> np.ndarray:
    displacement = velocity / 2**steps
    for _ in range(steps):
        displacement = displacement + moved_by_hand(displacement, displacement)
    return displacement


def parameter_count(network: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def test_published_parameter_counts() -> None:
    assert parameter_count(VoxelMorph()) == 327_331
    assert parameter_count(VoxelMorph(spatial_dims=2)) == 109_170
    said = re.search(r"([\d,]+) parameters", (CONF / "voxelmorph.yaml").read_text())
    assert said is not None and said[1] == "327,331"


@for_all(("channels", "shape"), [(2, SHAPE), (1, (11, 14))])
def test_images_move_as_published_and_velocities_integrate_as_published(channels: int, shape: tuple[int, ...]) -> None:
    image = torch.randn(1, channels, *shape)
    field = smooth(len(shape), *shape, size=3.0)
    by_hand = moved_by_hand(image[0].numpy(), field[0].numpy())
    np.testing.assert_allclose(warped(image, field)[0].numpy(), by_hand, atol=2e-5)
    np.testing.assert_allclose(integrated(field)[0].numpy(), integrated_by_hand(field[0].double().numpy()), atol=2e-3)


@pytest.mark.filterwarnings("ignore:monai.networks.blocks.Warp")
def test_monai_agrees_in_single_precision_but_rounds_positions_in_half() -> None:
    image, field = torch.randn(1, 2, *SHAPE), smooth(3, *SHAPE, size=3.0)
    torch.testing.assert_close(Warp(padding_mode="zeros")(image, field), warped(image, field), atol=1e-5, rtol=0)
    torch.testing.assert_close(DVF2DDF(7)(field), integrated(field), atol=1e-5, rtol=0)
    long, still = torch.arange(600.0).reshape(1, 1, 600, 1, 1).repeat(1, 1, 1, 2, 2), torch.zeros(1, 3, 600, 2, 2)
    places = Warp(padding_mode="zeros").get_reference_grid(still.bfloat16())[:, :1].float()
    assert (places - long).abs().max() >= 1
    torch.testing.assert_close(warped(long, still.bfloat16()), long, atol=1e-3, rtol=0)


def test_the_flow_is_halved_integrated_and_doubled_as_published() -> None:
    """Resized to half, times a half; integrated; doubled, resized back."""
    network = VoxelMorph(integration_steps=7).eval()
    full = smooth(3, 16, 32, 16, size=4.0)
    network.backbone.forward = lambda pair: full
    flow = network(torch.zeros(1, 2, 16, 32, 16))
    half = torch.nn.functional.interpolate(full, scale_factor=0.5, mode="trilinear", align_corners=True) / 2
    torch.testing.assert_close(flow, half)
    expected = torch.from_numpy(2 * integrated_by_hand(half[0].double().numpy()))[None].float()
    torch.testing.assert_close(
        network.displacement(flow, (16, 32, 16)), resized(expected, (16, 32, 16)), atol=4e-3, rtol=0
    )


@pytest.mark.filterwarnings("ignore:monai.networks.blocks.Warp")
def test_the_negative_velocity_leads_back_which_it_does_not_in_monai() -> None:
    def missed(there: torch.Tensor, back: torch.Tensor) -> float:
        inner = (..., slice(10, 30), slice(10, 30), slice(10, 30))
        return float(composed(there, back)[inner].norm(dim=1).max())

    full = smooth(3, 40, 40, 40, size=5.0)
    network = VoxelMorph(integration_steps=7)
    fields = []
    for flow in (full, -full):
        network.backbone.forward = lambda pair, flow=flow: flow
        fields.append(network.displacement(network(torch.zeros(1, 2, 40, 40, 40)), (40, 40, 40)))
    assert fields[0].norm(dim=1).max() > 3
    assert missed(*fields) < 0.2
    image = torch.zeros(1, 1, 40, 40, 40)
    theirs = []
    for flow in (full, -full):
        backbone = torch.nn.Module()
        backbone.forward = lambda pair, flow=flow: flow  # type: ignore[method-assign]
        net = MonaiVoxelMorph(backbone=backbone, integration_steps=7, half_res=True, spatial_dims=3)
        theirs.append(net(image, image)[1])
    assert missed(*theirs) > 1


@for_all("name", OF_PAIRS)
@for_all("steps", [0, 7])
def test_any_side_and_a_start_that_leaves_images_as_they_are(name: str, steps: int) -> None:
    network = built(name, integration_steps=steps)
    for size in ((16, 16, 16), (17, 22, 19)):
        pair = torch.rand(2, 2, *size)
        with torch.inference_mode():
            flow = network(pair)
            field = network.displacement(flow, size)
        half = tuple(-(-side // 2) for side in size)
        assert flow.shape == (2, 3, *(half if steps else size)) and field.shape == (2, 3, *size)
        if name == "voxelmorph":
            assert 0 < field.abs().max() < 1e-3


def built(name: str, seed: int = 0, **settings: object) -> torch.nn.Module:
    """A network of ``conf/network`` as it is configured, in eval mode."""
    torch.manual_seed(seed)
    return instantiate(node_of(name), **settings).eval()


@for_all("name", OF_PAIRS)
def test_it_learns_survives_a_file_and_predicts_alike_made_ready(name: str) -> None:
    network = built(name, integration_steps=7).train()
    pair = torch.rand(1, 2, 16, 16, 16)
    flow = network(pair)
    (network.displacement(flow, (16, 16, 16)) - 1).square().sum().backward()
    # the last layer begins near 0, and so do the gradients of those before it
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in network.parameters())
    file = io.BytesIO()
    torch.save(network.state_dict(), file)
    file.seek(0)
    again = built(name, seed=1, integration_steps=7)
    again.load_state_dict(torch.load(file, weights_only=True))
    with torch.inference_mode():
        torch.testing.assert_close(for_inference(again)(pair), again(pair), atol=1e-6, rtol=1e-4)
        torch.testing.assert_close(again(pair), network.eval()(pair))


@for_all(
    ("settings", "message"),
    [
        ({"spatial_dims": 4}, "spatial_dims is 4, but a network has 2 or 3"),
        ({"ascending": (32, 32)}, r"ascending are \[32, 32\], but each of the 4 levels needs one"),
        ({"integration_steps": -1}, "integration_steps is -1, but is 0 or more"),
    ],
)
def test_a_wrong_setting_is_named(settings: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        VoxelMorph(**settings)


def test_an_image_without_its_partner_is_refused() -> None:
    with pytest.raises(ValueError, match="a pair of 1 channels does not fit: expected 1 of the moving image, then 1"):
        VoxelMorph()(torch.zeros(1, 1, 16, 16, 16))
