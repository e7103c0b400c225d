"""``python -m ankleseg.phantoms cohort=ankle|brain|tumour|cord size=demo seed=0 out=DIR``."""

from __future__ import annotations

import inspect
from typing import Any

from ankleseg.config import build, resolve_target, run_command, to_plain
from ankleseg.errors import ConfigError

WORDS = (
    "out", "size", "subjects", "seed", "contrast", "workers", "side", "dynamic", "age", "thick", "echoes",
    "domain", "spacing",
)  # fmt: skip


def main(config: Any) -> None:
    """Write the cohort that the configuration's ``cohort.phantom`` node describes; what is null is as it says there.

    Raises:
        ConfigError: the cohort has no phantom of its own.
    """
    target = "" if config.cohort.phantom is None else str(config.cohort.phantom["_target_"])
    if not target.startswith("ankleseg.phantoms."):
        raise ConfigError(
            "this cohort has no phantom to be written alone",
            mend="choose cohort=ankle, brain, tumour, cord, bones, feet or ankle_repeats; dynamic=true moves ankles",
        )
    if config.subjects is not None and not isinstance(config.subjects, int):
        raise ConfigError(f"subjects: expected a number, got {config.subjects!r}", mend="e.g. subjects=14")
    asked = {key: to_plain(config[key]) for key in WORDS if config[key] is not None}
    known = inspect.signature(resolve_target(target)).parameters
    if strange := [key for key in asked if key not in known]:
        raise ConfigError(
            f"{strange[0]} is not a setting of this cohort", mend="leave it out, or choose another cohort"
        )
    if config.dynamic:
        asked["motion"] = build(config.motion)
    print(build(config.cohort.phantom, **asked))


if __name__ == "__main__":
    run_command("phantoms", main)
