"""Seconds of processor that MONAI's BasicUNet with instance norms takes as it is, and made ready by `for_inference`.

    python benchmarks/instance_norms.py

Of 8 tiles of 128×128 and of a slice of 576×576, by one core, the least of seven passes of each, in turn.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))


def main() -> None:
    """Print the times, and how far the outputs differ."""
    import torch
    from monai.networks.nets import BasicUNet

    from ankleseg.networks import for_inference

    torch.set_num_threads(1)
    torch.manual_seed(0)
    network = BasicUNet(2, 1, 4, features=(16, 32, 64, 128, 256, 16), norm="instance", dropout=0.0).eval()
    ways = {"as it is": network, "made ready": for_inference(network)}
    with torch.inference_mode():
        for shape in ((8, 1, 128, 128), (1, 1, 576, 576)):
            image, least = torch.rand(shape), dict.fromkeys(ways, float("inf"))
            for _ in range(7):
                for name, way in ways.items():
                    began = time.process_time()
                    way(image)
                    least[name] = min(least[name], time.process_time() - began)
            differ = (network(image) - ways["made ready"](image)).abs().max()
            print(
                f"{'×'.join(map(str, shape))}:", *(f"{name} {s:.3f} s," for name, s in least.items()), f"{differ:.1e}"
            )


if __name__ == "__main__":
    main()
