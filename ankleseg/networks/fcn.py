"""The fully convolutional network of the published ankle pipeline."""

from __future__ import annotations

from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor, nn

from ankleseg.networks.blocks import channel_dropout, channels_last, check_settings, conv_norm_relu, convolution
from ankleseg.networks.parts import parts


class FCN(nn.Module):
    """Convolutions at constant resolution that widen to 128 channels and narrow again: 390,609 parameters in 2-D.

    Takes a batch (B, in_channels, *spatial) with sides of any length and gives logits (B, out_channels, *spatial);
    the sigmoid or softmax is part of the loss and of prediction.

    Layers, with the default widths 16, 32, 64, 128: each ascending level is a 3×3 convolution to its width, ReLU, a
    second one of the same width, batch norm and ReLU; then one 3×3 convolution and ReLU for each descending width
    64, 32, 16; last a 1×1 convolution. All convolutions have a bias. A voxel sees 23×23 voxels.

    Source: published ankle pipeline (Coupeau 2020), which names the layer types, the greatest width of 128 and the
    number of parameters, but has no code of this network (rousseau/dynMRI). With levels of equal structure that
    number leaves exactly these convolutions and 240 normalised channels; one norm in each ascending level is the
    natural place for them, not a proven one.

    Args:
        in_channels: image channels.
        out_channels: 1 for a single structure, else background and structures.
        spatial_dims: 2 or 3.
        widths: channels of the ascending levels.
        norm: ``batch``, ``instance`` or ``none``.
        dropout: probability of dropping a feature map, after each level.

    Raises:
        ValueError: a setting is outside its menu or range.
    """

    divisor = 1

    def __init__(
        self,
        in_channels: int = 1,
        out_channels: int = 1,
        spatial_dims: int = 2,
        widths: Sequence[int] = (16, 32, 64, 128),
        norm: str = "batch",
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        check_settings(spatial_dims, norm, dropout, widths)
        self.ascending = nn.ModuleList()
        width_before = in_channels
        for width in widths:
            self.ascending.append(
                nn.Sequential(
                    *conv_norm_relu(spatial_dims, width_before, width, norm="none"),
                    *conv_norm_relu(spatial_dims, width, width, norm=norm),
                    *channel_dropout(spatial_dims, dropout),
                )
            )
            width_before = width
        self.descending = nn.ModuleList()
        for width in list(widths)[-2::-1]:
            self.descending.append(
                nn.Sequential(
                    *conv_norm_relu(spatial_dims, width_before, width, norm="none"),
                    *channel_dropout(spatial_dims, dropout),
                )
            )
            width_before = width
        self.head = convolution(spatial_dims, width_before, out_channels, size=1)
        *upper, deepest = [f"ascending.{n}" for n in range(len(self.ascending))]
        self.parts = parts(upper, [deepest], [*(f"descending.{n}" for n in range(len(self.descending))), "head"])

    def forward(self, x: Float[Tensor, "batch channels *spatial"]) -> Float[Tensor, "batch outputs *spatial"]:
        x = channels_last(x)
        for level in (*self.ascending, *self.descending):
            x = level(x)
        return self.head(x)
