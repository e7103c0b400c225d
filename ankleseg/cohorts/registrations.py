"""Poses of the bones on the frames of a sequence, as ``*_poses.json`` tells them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from ankleseg.errors import FileError
from ankleseg.volumes.poses import is_rigid

STATUSES = ("ok", "suspect", "failed")
GLOBAL = "global"  # the whole foot, beside the bones
SUFFIX = "_poses.json"


@dataclass(frozen=True, eq=False)
class Registration:
    """One bone on one frame.

    Attributes:
        frame: from 0.
        bone: its name, or ``global`` for the whole foot.
        status: ``ok``, ``suspect`` or ``failed``.
        correlation: of frame and posed static scan, None where it was not measured.
        frame_from_static: pose that moves a point of the static scan's world to the frame's, RAS+ mm; None where a
            failed registration has none.
    """

    frame: int
    bone: str
    status: str
    correlation: float | None = None
    frame_from_static: Float[np.ndarray, "4 4"] | None = None


def read_registrations(file: Path) -> dict[tuple[int, str], Registration]:
    """Read the registrations of a sequence by frame and bone.

    Raises:
        FileError: the file is missing or broken, speaks twice of a bone on a frame, or a pose is not rigid.
    """
    try:
        rows = json.loads(file.read_text(encoding="utf-8"))
        found: dict[tuple[int, str], Registration] = {}
        for row in rows:
            registration = _registration(row)
            key = (registration.frame, registration.bone)
            if key in found:
                raise ValueError(f"{key[1]} on frame {key[0]} comes twice")
            found[key] = registration
    except FileNotFoundError:
        raise FileError("does not exist", file=file, mend="prepare the sequence") from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        problem = f"lacks {error}" if isinstance(error, KeyError) else f"cannot be understood ({error})"
        raise FileError(problem, file=file, mend="prepare the sequence again") from None
    return found


def _registration(row: dict[str, Any]) -> Registration:
    frame, bone, status = int(row["frame"]), str(row["bone"]), str(row["status"])
    where = f"{bone} on frame {frame}"
    if frame < 0:
        raise ValueError(f"{where}: frames are counted from 0")
    if status not in STATUSES:
        raise ValueError(f"{where} has the status {status!r}")
    correlation, pose = row.get("correlation"), row.get("frame_from_static")
    if pose is not None:
        pose = np.asarray(pose, float)
        if pose.shape != (4, 4) or not is_rigid(pose):
            raise ValueError(f"{where} has a pose that is not rigid")
    elif status != "failed":
        raise ValueError(f"{where} has no pose")
    return Registration(frame, bone, status, None if correlation is None else float(correlation), pose)
