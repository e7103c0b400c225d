"""``python -m ankleseg.phantoms cohort=ankle size=demo subjects=14 seed=0 out=DIR``."""

from __future__ import annotations

from typing import Any

from ankleseg.config import build, run_command


def main(config: Any) -> None:
    """Write the cohort that the configuration's ``cohort.phantom`` node describes."""
    words = ("out", "size", "subjects", "seed", "contrast", "side", "dynamic", "workers")
    asked = {key: config[key] for key in words}
    print(build(config.cohort.phantom, **asked, motion=build(config.motion)))


if __name__ == "__main__":
    run_command("phantoms", main)
