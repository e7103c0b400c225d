"""What every transform promises, asked of the reader of references."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ankleseg.cohorts import Case, Reference
from ankleseg.labels import Labels
from ankleseg.volumes import write_volume


def _case(folder: Path) -> dict[str, Any]:
    drawn = np.eye(8, dtype=np.uint8)[:, :, None].repeat(3, 2)
    image, heel = (write_volume(folder / f"{name}.nii.gz", drawn, np.eye(4)) for name in ("image", "heel"))
    return {"case_of": Case(name="s1", subject="s1", channels={"image": image}, references={"heel": Reference(heel)})}


EXAMPLES = {"LoadReferencesd": {"keys": "case_of", "labels": Labels(structures=("heel",))}}
SAMPLES = {"LoadReferencesd": _case}
