"""The script of a MONAI user, as the documentation shows it: nothing of ours but transforms and networks."""

from __future__ import annotations

import ast
import runpy
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from ankleseg.measures import overlap

SCRIPT = Path(__file__).resolve().parents[1] / "docs" / "how-to" / "monai_script.py"
PAGE = SCRIPT.parents[1] / "monai.md"


def test_it_imports_transforms_and_networks_alone_and_is_shown():
    assert '\n--8<-- "docs/how-to/monai_script.py"\n' in PAGE.read_text(encoding="utf-8")
    nodes = list(ast.walk(ast.parse(SCRIPT.read_text(encoding="utf-8"))))
    names = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    names += [str(node.module) for node in nodes if isinstance(node, ast.ImportFrom)]
    ours = {name for name in names if name.startswith("ankleseg")}
    assert ours == {"ankleseg.transforms", "ankleseg.networks"}


@pytest.mark.slow
def test_it_trains_and_its_mask_lies_on_the_grid_of_the_scan(
    phantom_cohort: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("sys.argv", [SCRIPT.name, str(phantom_cohort), str(tmp_path)])
    end = runpy.run_path(str(SCRIPT))
    assert np.mean(end["losses"][-10:]) < 0.7 * np.mean(end["losses"][:10])
    [file] = tmp_path.rglob("*.nii.gz")
    mask, scan, truth = (nib.load(path) for path in (file, end["test"]["image"], end["test"]["label"]))
    assert mask.shape == scan.shape
    np.testing.assert_allclose(mask.affine, scan.affine, atol=1e-4)
    voxels = np.asarray(mask.dataobj)
    assert set(np.unique(voxels)) == {0, 1}
    assert overlap(voxels > 0, np.asarray(truth.dataobj) > 0).dice > 0.6
    probabilities = np.asarray(end["scan"]["pred"])
    assert probabilities.min() >= 0 and probabilities.max() <= 1
