"""Laws of references read as a label on the grid of their scan."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ankleseg.cohorts import Case, Reference
from ankleseg.errors import CohortError, FileError, GeometryError
from ankleseg.labels import Labels
from ankleseg.transforms import LoadReferencesd
from ankleseg.volumes import write_volume

BONES = ("heel", "shin")


def loaded(case: Case, structures: tuple[str, ...] = BONES, regions: bool = False, **mends: Any) -> dict[str, Any]:
    labels = Labels(structures=structures, regions=regions)
    return LoadReferencesd("label", labels, **mends)({"label": case})


def label_of(case: Case, structures: tuple[str, ...] = BONES, **settings: Any) -> np.ndarray:
    return loaded(case, structures, **settings)["label"].numpy()


def test_the_order_of_the_structures_is_that_of_the_labels(write_case, foot, affine) -> None:
    sample = loaded(write_case())
    assert sample["label"].dtype == torch.uint8 and np.allclose(sample["label"].affine, affine)
    assert np.array_equal(sample["label"][0], foot["heel"] * 1 + foot["shin"] * 2) and "known" not in sample
    assert np.array_equal(label_of(write_case(), ("shin",))[0], foot["shin"])
    assert np.array_equal(label_of(write_case(), ("shin", "heel"))[0] == 2, foot["heel"])
    empty = write_case(heel=np.zeros_like(foot["heel"]))
    assert np.array_equal(label_of(empty)[0] == 2, foot["shin"]), "an empty mask is allowed"
    assert LoadReferencesd("label", Labels(structures=BONES), allow_missing_keys=True)({}) == {}


def test_structures_may_share_a_label_map_and_regions_their_voxels(write_case, foot, affine, tmp_path: Path) -> None:
    path = write_volume(tmp_path / "map.nii.gz", (foot["heel"] * 7 + foot["shin"] * 3).astype(np.int16), affine)
    case = replace(write_case(), references={"heel": Reference(path, 7), "shin": Reference(path, 3)})
    assert np.array_equal(label_of(case)[0], foot["heel"] * 1 + foot["shin"] * 2)
    case = replace(case, references={"foot": Reference(path, (7, 3)), "shin": Reference(path, 3)})
    masks = label_of(case, ("foot", "shin"), regions=True)
    assert np.array_equal(masks, np.stack([foot["heel"] | foot["shin"], foot["shin"]]))


def test_a_few_shared_voxels_go_to_the_structure_named_first_and_more_are_refused(write_case, foot) -> None:
    big = np.zeros_like(foot["heel"])
    big[:20] = True
    other = ~big
    other[19, 5, 5] = True
    for names in (BONES, BONES[::-1]):
        assert label_of(write_case(heel=big, shin=other), names)[0, 19, 5, 5] == 1
    case = write_case(heel=foot["heel"] | foot["shin"])
    with pytest.raises(CohortError, match=r"case s1: heel and shin share \d+ voxels, 100.0 % of the shin; correct the"):
        loaded(case)
    assert label_of(case, regions=True).sum() == foot["heel"].sum() + 2 * foot["shin"].sum()


def frames_of(write_case: Callable[..., Case], **masks: np.ndarray) -> Case:
    """A sequence of two frames that show the same."""
    whole = write_case("sequence", **{name: np.stack([mask, mask], -1) for name, mask in masks.items()})
    return replace(whole, frame=1)


def test_bones_that_collide_on_a_frame_are_unknown_both_and_so_is_what_the_case_says(write_case, foot, caplog) -> None:
    """More than a twentieth of one of them; less goes to the first, as thick voxels share it."""
    apart = frames_of(write_case, image=foot["image"], heel=foot["heel"], shin=foot["shin"])
    told = loaded(replace(apart, unknown=("heel",)))
    assert told["known"].tolist() == [False, True] and np.array_equal(told["label"][0], 2 * foot["shin"])
    nothing = loaded(replace(apart, unknown=BONES))
    assert nothing["known"].tolist() == [False, False] and nothing["label"].shape == (1, *foot["heel"].shape)
    assert not nothing["label"].any() and "known" not in loaded(apart)
    few, many = (foot["heel"].copy() for _ in range(2))
    shared = int(0.05 * foot["shin"].sum())
    few.ravel()[np.flatnonzero(foot["shin"])[:shared]] = True
    many[foot["shin"]] = True
    touching = loaded(frames_of(write_case, image=foot["image"], heel=few, shin=foot["shin"]))
    assert "known" not in touching and int((touching["label"] == 2).sum()) == foot["shin"].sum() - shared
    colliding = loaded(frames_of(write_case, image=foot["image"], heel=many, shin=foot["shin"]))
    assert colliding["known"].tolist() == [False, False] and not colliding["label"].any()
    assert "sequence: heel and shin share" in caplog.text and "% of the shin; neither is taught" in caplog.text


def test_a_mask_on_another_grid_needs_a_decision(write_case, foot, affine) -> None:
    moved = affine.copy()
    moved[:3, 3] += 30
    fine = affine @ np.diag([1 / 3, 1 / 3, 1 / 3, 1.0])
    fine[:3, 3] = (affine @ [-1 / 3, -1 / 3, -1 / 3, 1])[:3]
    finer = np.repeat(np.repeat(np.repeat(foot["heel"], 3, 0), 3, 1), 3, 2)
    for case, switch, verdict in [
        (write_case("moved", affines={"heel": moved}), "copy_headers", "fixable by header copy"),
        (write_case("fine", heel=finer, affines={"heel": fine}), "resample_masks", "needs resampling"),
    ]:
        with pytest.raises(GeometryError, match=rf"{case.name}_heel.nii.gz: {verdict}: .*; .*{switch}=true"):
            loaded(case)
        assert np.array_equal(label_of(case, **{switch: True})[0] == 1, foot["heel"])


def test_what_is_no_mask_or_is_missing_is_told(write_case, foot) -> None:
    case = write_case(heel=(foot["heel"] * 1 + foot["shin"] * 2).astype(np.uint8))
    with pytest.raises(FileError, match=r"s1_heel.nii.gz: is not a mask of 0 and 1: it holds the values 0, 1, 2"):
        loaded(case)
    with pytest.raises(CohortError, match="case s1 has no mask of talus; add it, or choose among heel, shin"):
        loaded(write_case(), ("heel", "talus"))


def _case(folder: Path) -> dict[str, Any]:
    drawn = np.eye(8, dtype=np.uint8)[:, :, None].repeat(3, 2)
    image, heel = (write_volume(folder / f"{name}.nii.gz", drawn, np.eye(4)) for name in ("image", "heel"))
    return {"case_of": Case(name="s1", subject="s1", channels={"image": image}, references={"heel": Reference(heel)})}


EXAMPLES = {"LoadReferencesd": {"keys": "case_of", "labels": Labels(structures=("heel",))}}
SAMPLES = {"LoadReferencesd": _case}
