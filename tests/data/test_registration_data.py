"""Laws of registration data: two scans on one grid in every pair, one seed one draw, the true field with its scan."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from laws import for_all

from ankleseg import keys
from ankleseg.cohorts import ScanToScan, Split, ToAtlas, load_cohort
from ankleseg.config import compose, to_plain
from ankleseg.data import PatchSampler, RegistrationData
from ankleseg.errors import ConfigError, GeometryError
from ankleseg.labels import Labels
from ankleseg.networks import warped
from ankleseg.transforms import Preparation, RandSmoothFieldd
from ankleseg.volumes import write_volume

SIZE = (20, 24, 16)
FIELD = [RandSmoothFieldd(["moving", "moving_label"], largest=(4, 4), smoothness=(6, 6))]


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four skull-stripped heads with a ball, on grids of their own that are aligned in the world."""
    folder = tmp_path_factory.mktemp("heads")
    rows = ["subject,image,mask_ball"]
    for number in range(4):
        shape, shift = (24 + number, 26, 20), np.array([number, -number, 0.5 * number])
        affine = np.diag([2.0, 2.0, 2.0, 1.0])
        affine[:3, 3] = -2 * (np.array(shape) - 1) / 2 + shift
        places = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), -1) @ affine[:3, :3] + affine[:3, 3]
        head = (places / [16, 20, 14]) ** 2
        ball = ((places - [4, number, 0]) ** 2).sum(-1) < 36
        image = np.where(head.sum(-1) < 1, 100 + 3 * places[..., 0] + 80 * ball, 0)
        write_volume(folder / f"{number}.nii.gz", image.astype(np.float32), affine)
        write_volume(folder / f"{number}_ball.nii.gz", ball.astype(np.uint8), affine)
        rows.append(f"s{number},{number}.nii.gz,{number}_ball.nii.gz")
    (folder / "table.csv").write_text("\n".join(rows) + "\n")
    return folder / "table.csv"


def data_of(table: Path, *overrides: str, structures=("ball",), **settings) -> RegistrationData:
    size = f"prepare.size=[{','.join(map(str, SIZE))}]"
    nodes = to_plain(compose("train", ["prepare=registration", size, *overrides]).prepare.transforms)
    cohort = load_cohort(table, structures=structures)
    sampler = PatchSampler(size=SIZE, min_foreground=0.0)
    chosen = {"pairs": ScanToScan(), "sampler": sampler, "batch_size": 1, "steps_per_epoch": 12} | settings
    return RegistrationData(
        cohort=cohort, split=Split(train=("s0", "s1"), validation=("s2", "s3"), test=()),
        preparation=Preparation(nodes), labels=Labels(structures=structures), **chosen,
    )  # fmt: skip


def test_scans_of_their_own_grids_come_to_one_and_both_ways_are_drawn(cohort: Path) -> None:
    data = data_of(cohort)
    patches = data.patches()
    drawn = [patches[n] for n in range(12)]
    for patch in drawn:
        assert set(patch) == {keys.IMAGE, keys.LABEL, keys.MOVING, keys.MOVING_LABEL}
        assert patch[keys.IMAGE].shape == patch[keys.MOVING].shape == patch[keys.LABEL].shape == (1, *SIZE)
        assert patch[keys.MOVING_LABEL].dtype == torch.int64
        assert not torch.equal(patch[keys.IMAGE], patch[keys.MOVING]), "a scan met itself"
    first = {float(patch[keys.IMAGE].sum()) for patch in drawn}
    assert len(first) == 2 and first == {float(patch[keys.MOVING].sum()) for patch in drawn}
    again = data_of(cohort).patches()
    assert all(torch.equal(again[n][key], drawn[n][key]) for n in (3, 7) for key in drawn[n])


def test_a_whole_pair_tells_its_names_and_its_grid(cohort: Path) -> None:
    volumes = data_of(cohort).volumes()
    assert [volumes[n][keys.CASE] for n in range(len(volumes))] == ["s3_to_s2", "s2_to_s3"]
    assert volumes[0][keys.AFFINE].dtype == torch.float32 and volumes[0][keys.FOREGROUND].shape == (1, *SIZE)
    ball = (volumes[0][keys.LABEL] > 0).float()
    assert 0.5 < float((ball * volumes[0][keys.MOVING_LABEL]).sum() / ball.sum()) < 1, "aligned, but not alike"


def test_a_moved_copy_comes_with_the_field_that_moves_it_back(cohort: Path) -> None:
    data = data_of(cohort, pairs=None, augment=FIELD)
    for sample in (data.patches()[5], data.volumes()[1]):
        field = sample[keys.DISPLACEMENT]
        assert field.shape == (3, *SIZE) and 0.5 < field.norm(dim=0).max() <= 2.1
        inner = (..., slice(4, -4), slice(4, -4), slice(4, -4))
        there, still, away = (
            float((warped(sample[keys.MOVING][None], sign * field[None])[0] - sample[keys.IMAGE])[inner].abs().mean())
            for sign in (1, 0, -1)
        )
        assert there < 0.75 * still < 0.75 * away
    one, other = data.volumes()[0], data_of(cohort, pairs=None, augment=FIELD).volumes()[0]
    names = ["s2_field-1", "s2_field-2", "s2_field-3", "s3_field-1", "s3_field-2", "s3_field-3"]
    assert [data.volumes()[n][keys.CASE] for n in range(6)] == names
    assert torch.equal(one[keys.DISPLACEMENT], other[keys.DISPLACEMENT]), "validated by the same fields every time"
    assert not torch.equal(one[keys.DISPLACEMENT], data.volumes()[1][keys.DISPLACEMENT])


def test_an_atlas_needs_no_masks_and_takes_its_place_in_every_pair(cohort: Path) -> None:
    atlas = cohort.parent / "3.nii.gz"
    data = data_of(cohort, pairs=ToAtlas(atlas=str(atlas)))
    volumes = data.volumes()
    assert [volumes[n][keys.CASE] for n in range(len(volumes))] == ["s2_to_3"], "the atlas itself is left out"
    assert volumes[0][keys.KNOWN].tolist() == [False]
    assert {data.patches()[n][keys.IMAGE].sum().item() for n in range(4)} == {volumes[0][keys.IMAGE].sum().item()}


def test_blocks_are_cut_alike(cohort: Path) -> None:
    data = data_of(cohort, pairs=None, augment=FIELD, sampler=PatchSampler(size=(8, 12, 8), min_foreground=0.9))
    patch = data.patches()[0]
    assert all(patch[key].shape[1:] == (8, 12, 8) for key in (keys.IMAGE, keys.MOVING, keys.DISPLACEMENT))


def test_grids_that_differ_are_refused_by_both_names_and_a_mend(cohort: Path, tmp_path: Path) -> None:
    told = (
        "3.nii.gz: is not on the grid of .*2.nii.gz once both are prepared: 27 × 26 × 20 instead of 26 × 26 × 20 voxels"
    )
    mend = "if they are aligned in the world, set prepare.spacing and prepare.size; .*ankleseg.register .*moving="
    with pytest.raises(GeometryError, match=f"{told}; {mend}"):
        data_of(cohort, "prepare.size=null").volumes()


def test_grids_that_agree_in_shape_only_are_refused(tmp_path: Path) -> None:
    rows = ["subject,image"]
    for number, shift in enumerate((0.0, 3.0, 0.0, 3.0)):
        affine = np.diag([2.0, 2.0, 2.0, 1.0])
        affine[0, 3] = shift
        write_volume(tmp_path / f"{number}.nii.gz", np.random.default_rng(number).random((8, 8, 8), np.float32), affine)
        rows.append(f"s{number},{number}.nii.gz")
    (tmp_path / "table.csv").write_text("\n".join(rows) + "\n")
    with pytest.raises(GeometryError, match="once both are prepared: at another place or angle"):
        data_of(tmp_path / "table.csv", "prepare.size=null", structures=()).patches()


@for_all("augment", [[], [RandSmoothFieldd("image")]])
def test_a_scan_is_never_registered_with_itself(cohort: Path, augment: list) -> None:
    message = "each scan would be registered with itself; choose patches.pairs, or augment=synthetic_fields"
    with pytest.raises(ConfigError, match=message):
        data_of(cohort, pairs=None, augment=augment)
