"""Laws of samples kept in a folder: keyed by what they are made of, whole or made again, shared by processes."""

from __future__ import annotations

import hashlib
import importlib
import shutil
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from monai.transforms import Compose, CropForegroundd, Lambda
from preparations import preparation
from small_foot import foot, write_foot

from ankleseg.cohorts import Case, Reference
from ankleseg.data.reading import WithoutMetadata, preparing
from ankleseg.data.volumes import FolderCache, prepared_samples
from ankleseg.errors import ConfigError
from ankleseg.labels import Labels
from ankleseg.transforms import Preparation
from ankleseg.volumes import read_volume, write_volume

LABELS = Labels(structures=("heel", "shin"))
PREPARATION = preparation(side="right")


def transform(whole: Preparation = PREPARATION) -> Compose:
    return Compose([*preparing(whole, LABELS).transforms, WithoutMetadata()])


def cache_of(folder: Path, *cases: Case, whole: Preparation = PREPARATION) -> FolderCache:
    return FolderCache(cases, transform(whole), {"preparation": whole.nodes}, folder)


def equal(one: dict[Any, Any], other: dict[Any, Any]) -> bool:
    return set(one) == set(other) and all(
        torch.equal(value, other[key]) and value.dtype == other[key].dtype
        if isinstance(value, torch.Tensor)
        else value == other[key]
        for key, value in one.items()
    )


@pytest.fixture
def case(tmp_path: Path) -> Case:
    return write_foot(tmp_path, side="left")


def test_what_is_kept_is_what_is_prepared_and_only_once(case: Case, tmp_path: Path, monkeypatch) -> None:
    """In memory or in a folder; there it is mapped, and the slices lie together for fast patches."""
    (expected,) = prepared_samples([case], transform(), configuration={})
    assert expected["image"][..., 0].is_contiguous()
    (made,) = prepared_samples([case], transform(), configuration={}, cache=tmp_path / "kept")
    assert equal(made, expected)
    monkeypatch.setattr("ankleseg.data.volumes.FolderCache._pre_transform", lambda *_: pytest.fail("prepared again"))
    (found,) = prepared_samples([case], transform(), configuration={}, cache=tmp_path / "kept")
    assert equal(found, expected) and found["image"].stride() == expected["image"].stride()


def test_it_is_memory_mapped_and_writing_to_it_does_not_reach_the_file(case: Case, tmp_path: Path) -> None:
    sample = cache_of(tmp_path / "kept", case)[0]
    (entry,) = (tmp_path / "kept").glob("*.pt")
    before = hashlib.sha256(entry.read_bytes()).digest()
    assert str(entry.resolve()) in Path("/proc/self/maps").read_text()
    sample["image"].fill_(0)
    assert cache_of(tmp_path / "kept", case)[0]["image"].std() > 0
    assert hashlib.sha256(entry.read_bytes()).digest() == before


def test_a_damaged_entry_is_made_again(case: Case, tmp_path: Path) -> None:
    expected = cache_of(tmp_path / "kept", case)[0]
    (entry,) = (tmp_path / "kept").glob("*.pt")
    content = entry.read_bytes()
    middle = len(content) // 2
    for damaged in (content[:-40], content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :], b""):
        entry.unlink()
        entry.write_bytes(damaged)
        assert equal(cache_of(tmp_path / "kept", case)[0], expected)
        assert entry.stat().st_size == len(content) and list((tmp_path / "kept").iterdir()) == [entry]


def test_what_transforms_of_monai_add_is_kept_and_what_is_no_plain_type_is_told(case: Case, tmp_path: Path) -> None:
    crop = CropForegroundd(["image", "label", "foreground"], "foreground", margin=1)
    cropped = Compose([*preparing(PREPARATION, LABELS).transforms, crop, WithoutMetadata()])
    (expected,), (kept,) = (
        prepared_samples([case], cropped, configuration={}, cache=c) for c in (None, tmp_path / "kept")
    )
    assert equal(kept, expected) and len(kept["foreground_start_coord"]) == 3
    assert kept["image"].shape[1:] < foot()["heel"].shape
    strange = Compose([*transform().transforms, Lambda(lambda sample: sample | {"note": LABELS})])
    with pytest.raises(ConfigError, match="more than tensors and plain types; leave that out of prepare.transforms"):
        prepared_samples([case], strange, configuration={"strange": True}, cache=tmp_path / "kept")
    assert len(list((tmp_path / "kept").iterdir())) == 1


def test_what_changes_the_sample_makes_a_new_entry_and_nothing_else_does(case: Case, tmp_path: Path) -> None:
    def entries(*arguments: Case, whole: Preparation = PREPARATION) -> int:
        for number in range(len(arguments)):
            cache_of(tmp_path / "kept", *arguments, whole=whole)[number]
        return len(list((tmp_path / "kept").glob("*.pt")))

    assert entries(case) == entries(case) == 1
    (tmp_path / "elsewhere").mkdir()
    moved = {name: Path(shutil.copy(path, tmp_path / "elsewhere")) for name, path in case.channels.items()}
    assert entries(replace(case, channels=moved)) == 1, "the name of a file is nothing to it"
    assert entries(case, whole=preparation(side="right", axcodes="RAS")) == 2
    assert entries(replace(case, side="right")) == 3
    assert entries(replace(case, unknown=("heel",))) == 4
    image = read_volume(case.images[0])
    write_volume(case.images[0], image.data + 1, image.affine)
    assert entries(case) == 5
    write_volume(case.references["heel"].path, np.zeros_like(foot()["heel"]).astype(np.uint8), image.affine)
    assert entries(case) == 6
    shared = write_volume(tmp_path / "map.nii.gz", (foot()["heel"] + 2 * foot()["shin"]).astype(np.uint8), image.affine)
    for values in ((1, 2), (2, 1)):
        references = {name: Reference(shared, value) for name, value in zip(LABELS.structures, values, strict=True)}
        count = entries(replace(case, references=references))
    assert count == 8


def first_image(folder: Path, case: Case) -> float:
    return float(cache_of(folder, case)[0]["image"].sum())


def test_processes_that_begin_together_share_a_folder(case: Case, tmp_path: Path) -> None:
    with ProcessPoolExecutor(3, get_context("fork")) as pool:
        found = list(pool.map(first_image, [tmp_path / "kept"] * 6, [case] * 6))
    assert len(set(found)) == 1 and len(list((tmp_path / "kept").iterdir())) == 1


MINE = """
class Brighter:
    def __call__(self, data):
        return data | {"image": data["image"] + 1}
"""


def test_the_code_of_a_transform_of_ones_own_is_part_of_the_key(case: Case, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "mine_of_a_cache.py").write_text(MINE)
    mine = importlib.import_module("mine_of_a_cache")
    node = {"_target_": "mine_of_a_cache.Brighter"}
    for configuration, count in (({"preparation": [node]}, 2), ({"preparation": PREPARATION.nodes}, 3)):
        for code in (MINE, MINE, MINE.replace("+ 1", "+ 2")):  # as another process would find it
            (tmp_path / "mine_of_a_cache.py").write_text(code)
            steps = Compose([*transform().transforms, mine.Brighter()])
            FolderCache([case], steps, configuration, tmp_path / "kept")[0]
        assert len(list((tmp_path / "kept").iterdir())) == count


def test_a_file_of_many_frames_is_hashed_once(case: Case, tmp_path: Path, monkeypatch) -> None:
    hashed: list[Path] = []
    monkeypatch.setattr("ankleseg.data.volumes._content", lambda path: hashed.append(path) or "")
    frames = [replace(case, name=f"{frame}", frame=frame) for frame in range(5)]
    cache_of(tmp_path / "kept", *frames)
    assert sorted(hashed) == sorted([*case.images, *(reference.path for reference in case.references.values())])
