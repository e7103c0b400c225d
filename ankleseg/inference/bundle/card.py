"""``docs/README.md`` of a bundle: what its network sees, gives, was trained on, and may be used for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from ankleseg.inference.bundle.exchange import taken
from ankleseg.inference.bundle.metadata import USE, output_channels
from ankleseg.inference.bundle.run_facts import RunFacts
from ankleseg.labels import Labels
from ankleseg.transforms import Preparation

LICENSE = """The weights in models/ belong to those who trained them. This file grants no rights to them:
replace it by a licence before the bundle is passed on.

The configuration in configs/ was written by ankleseg, which is under the Apache License, Version 2.0
(http://www.apache.org/licenses/LICENSE-2.0).
"""

USE_AND_RUN = f"""## Use and limits

- Intended use: {USE}.
- Scans of another contrast, spacing, orientation of slices or part of the body than those of the training
  may give wrong results. `python -m ankleseg.predict` warns of slices that differ, MONAI's does not.
- The side of a foot is not told by a folder of scans; give it in a table where training had it.

## Run

```
python -m monai.bundle run --config_file BUNDLE/configs/inference.json --bundle_root BUNDLE \\
  --dataset_dir SCANS --output_dir OUT
python -m ankleseg.predict checkpoint=BUNDLE input=SCANS out=OUT
```""".splitlines()


def card(
    name: str,
    described: Mapping[str, Any],
    preparation: Preparation,
    labels: Labels,
    facts: RunFacts,
    checks: Mapping[str, Mapping[str, Any]],
) -> str:
    """The card in Markdown; arguments are what the bundle is made of."""
    return "\n".join(_lines(name, described, preparation, labels, facts, checks)) + "\n"


def _lines(
    name: str,
    described: Mapping[str, Any],
    preparation: Preparation,
    labels: Labels,
    facts: RunFacts,
    checks: Mapping[str, Mapping[str, Any]],
) -> Iterator[str]:
    network = described["network"]["_target_"]
    yield f"# {name}"
    yield ""
    yield f"A network for MRI (`{network}`), exported by ankleseg as a MONAI bundle."
    yield ""
    yield "## Input"
    yield ""
    yield "| channel | image |"
    yield "|---|---|"
    yield from (f"| {number} | {channel} |" for number, channel in enumerate(described["channels"]))
    yield ""
    yield f"- Spacing: {_spacing(preparation)}."
    if described.get("planes"):
        yield f"- Slices: {', '.join(described['planes'])}; a scan is seen in each of these planes."
    else:
        yield f"- Distance of slices in training: {_slices(described)}."
    yield f"- Tile: {'×'.join(map(str, described['window']))} voxels."
    steps = ", ".join(f"`{str(node['_target_']).rsplit('.', 1)[-1]}`" for node in preparation.nodes)
    yield f"- Preparation: {steps or 'none'}."
    yield ""
    yield "## Output"
    yield ""
    yield "| channel | meaning |"
    yield "|---|---|"
    yield from (f"| {number} | {channel} |" for number, channel in enumerate(output_channels(labels)))
    yield ""
    yield from _meaning(labels)
    yield ""
    yield "## Training data"
    yield ""
    yield f"{facts.describe()}."
    yield ""
    yield "## Measured on the test subjects"
    yield ""
    yield from _figures(facts)
    yield ""
    yield from _formats(checks)
    yield from USE_AND_RUN


def _formats(checks: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    if not checks:
        return
    yield "## Other formats"
    yield ""
    for file, check in checks.items():
        yield (
            f"- `models/{file}` takes {taken(check)}; largest difference from PyTorch {check['difference']:.1e} "
            f"of a range of {check['range']:.3g}."
        )
    yield ""


def _spacing(preparation: Preparation) -> str:
    spacing = preparation.spacing
    if spacing is None or all(mm is None for mm in spacing):
        return "as scanned"
    return " × ".join("as scanned" if mm is None else f"{mm:g}" for mm in spacing) + " mm"


def _slices(described: Mapping[str, Any]) -> str:
    mm = described["slice_spacing"]
    if mm is None:
        return "not noted"
    return f"{mm[0]:.3g} mm" if mm[0] == mm[1] else f"{mm[0]:.3g} to {mm[1]:.3g} mm"


def _meaning(labels: Labels) -> Iterator[str]:
    if labels.images:
        yield f"Images ({', '.join(labels.images)}) are in the intensities of the input, at the spacing of the network."
    if labels.regions:
        yield "Structures are regions that may lie inside each other: a sigmoid each, above one half."
    elif len(labels) == 1:
        yield f"{labels.structures[0]}: a sigmoid, above one half."
    elif len(labels):
        yield "Structures exclude each other: a softmax over background and structures."
    if len(labels):
        written = labels.written(np.arange(len(labels) + 1, dtype=np.uint8)).tolist()
        names = ["background", *labels.structures]
        values = ", ".join(f"{value} {name}" for value, name in zip(written, names, strict=True))
        yield f"Values of the label map: {values}."


def _figures(facts: RunFacts) -> Iterator[str]:
    if not facts.figures:
        yield "None: the run was not tested."
        return
    measures = list(dict.fromkeys(name for row in facts.figures.values() for name in row))
    yield f"| | {' | '.join(measures)} | n |"
    yield f"|---|{'---|' * len(measures)}---|"
    for title, row in facts.figures.items():
        cells = [_cell(*row[name]) if name in row else "–" for name in measures]
        yield f"| {title} | {' | '.join(cells)} | {max(n for *_, n in row.values())} |"
    yield ""
    yield "Mean ± standard deviation over cases; a structure that was missed counts."


def _cell(mean: float, deviation: float | None, _: int) -> str:
    return f"{mean:.3f}" if deviation is None else f"{mean:.3f} ± {deviation:.3f}"
