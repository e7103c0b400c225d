"""Networks: one file a family, each from a batch (B, C, *spatial) to logits (B, K, *spatial).

Those of registration give a flow of the pair that they are given instead, see `VoxelMorph`.
"""

from __future__ import annotations

from ankleseg.networks.deeplab import DeepLab
from ankleseg.networks.deepseg import DeepSegUNet, DeepSegUNet3d
from ankleseg.networks.dynunet import DynUNet
from ankleseg.networks.fcn import FCN
from ankleseg.networks.global_skip import GlobalSkip
from ankleseg.networks.inference import for_inference
from ankleseg.networks.one_of_two import OneOfTwo
from ankleseg.networks.resnet import ResNet
from ankleseg.networks.segnet import SegNet
from ankleseg.networks.segsrgan import SegSRGANDiscriminator, SegSRGANGenerator
from ankleseg.networks.unet import UNet
from ankleseg.networks.voxelmorph import VoxelMorph, VoxelMorphUNet
from ankleseg.spatial_transform import composed, integrated, resized, warped

__all__ = [
    "FCN",
    "DeepLab",
    "DeepSegUNet",
    "DeepSegUNet3d",
    "DynUNet",
    "GlobalSkip",
    "OneOfTwo",
    "ResNet",
    "SegNet",
    "SegSRGANDiscriminator",
    "SegSRGANGenerator",
    "UNet",
    "VoxelMorph",
    "VoxelMorphUNet",
    "composed",
    "for_inference",
    "integrated",
    "required_divisor",
    "resized",
    "warped",
]

MONAI_DIVISOR = 16


def required_divisor(network: object) -> int:
    """The number that every side of the network's input must be a multiple of.

    A network of ours knows its ``divisor``; for any other, 16 is taken: the four halvings of MONAI's U-Nets as
    configured here, and enough for those that halve less often.
    """
    return int(getattr(network, "divisor", MONAI_DIVISOR))
