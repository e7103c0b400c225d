"""``python -m ankleseg.export checkpoint=RUN out=BUNDLE``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ankleseg.config import run_command

if TYPE_CHECKING:
    from omegaconf import DictConfig


def main(config: DictConfig) -> None:
    """Write a trained network as a MONAI bundle, and say how far its other formats are from PyTorch."""
    from ankleseg.inference import export_bundle

    lines = export_bundle(
        config.checkpoint,
        config.out,
        onnx=config.onnx,
        torchscript=config.torchscript,
        half=config.half,
        authors=config.authors,
        license=config.license,
    )
    print("\n".join([*lines, f"bundle: {config.out}"]))


if __name__ == "__main__":
    run_command("export", main)
