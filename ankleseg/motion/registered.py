"""Registrations of a sequence, kept beside it: another verdict, axis or picture does not ask for them again."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
from jaxtyping import Float

from ankleseg import __version__
from ankleseg.files import replace_file
from ankleseg.motion.cleaning import Cleaned
from ankleseg.motion.cleaning.case import CleanedSequence
from ankleseg.motion.plain import plain_settings
from ankleseg.motion.settings import MotionSettings
from ankleseg.rigid.profile import SliceProfile
from ankleseg.rigid.register import Registered, register_sequence

# what poses do not depend on
JUDGING = ("criteria", "highres", "spacing", "decay", "soft_tissue", "smoothing_frames", "landmarks")


Weights = Mapping[str, Float[np.ndarray, "x y z"]]


def register(
    cleaned: Cleaned, sequence: CleanedSequence, weights: Weights, settings: MotionSettings
) -> dict[str, Registered]:
    """Find the poses of the foot and of every bone of a cleaned case on every frame of one of its sequences."""
    static, volume = cleaned.static, sequence.volume
    assert static is not None and cleaned.foot is not None
    return register_sequence(
        static.data,
        static.affine,
        cleaned.masks,
        weights,
        cleaned.foot.astype(np.float32),
        volume.data,
        volume.affine,
        SliceProfile(settings.thickness or sequence.thickness_mm, settings.profile),
        order=settings.order,
        device=settings.device,
    )


def registered(
    cleaned: Cleaned, sequence: CleanedSequence, weights: Weights, settings: MotionSettings, folder: Path, inputs: str
) -> dict[str, Registered]:
    """Read the registrations of a sequence from ``folder``, where they are kept; else make and keep them.

    Args:
        cleaned, sequence, weights, settings: as in `register`.
        folder: of the subject's sequences.
        inputs: hash of the scans and masks they depend on.
    """
    file = folder / f".{sequence.name}_registered.json"
    key = _key(inputs, settings)
    try:
        kept = json.loads(file.read_text(encoding="utf-8"))
        if kept["inputs"] == key:
            return {name: _read(one) for name, one in kept["registered"].items()}
    except (OSError, ValueError, KeyError):
        pass
    found = register(cleaned, sequence, weights, settings)
    arrays = {name: {key: value.tolist() for key, value in asdict(one).items()} for name, one in found.items()}
    folder.mkdir(parents=True, exist_ok=True)
    with replace_file(file) as part:
        part.write_text(json.dumps({"inputs": key, "registered": arrays}), encoding="utf-8")
    return found


def _read(arrays: dict[str, list]) -> Registered:
    return Registered(**{name: np.array(values, np.float64) for name, values in arrays.items()})


def _key(inputs: str, settings: MotionSettings) -> str:
    defaults = MotionSettings()
    plain = plain_settings(replace(settings, **{name: getattr(defaults, name) for name in JUDGING}))
    return hashlib.sha256(json.dumps([__version__, inputs, plain]).encode()).hexdigest()
