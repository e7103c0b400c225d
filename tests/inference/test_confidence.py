"""What is right is ok, and each fault of a mask is told by its own reason; masks stay what they are."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from drawn_bones import bone_masks, grid_around
from small_models import model_of, tiles_of
from torch import nn

from ankleseg.cohorts import Case
from ankleseg.errors import ConfigError
from ankleseg.inference import ConfidenceRule, predict_case, predict_cases
from ankleseg.inference.confidence import StructureConfidence, of_sequence, summary
from ankleseg.inference.views import VIEWS
from ankleseg.labels import Labels
from ankleseg.measures import mask_shape, shape_ranges
from ankleseg.phantoms import draw_ankle
from ankleseg.volumes import write_volume
from ankleseg.volumes.geometry import reorient

LABELS = Labels(structures=["calcaneus", "talus", "tibia"])
CALCANEUS, TALUS, TIBIA = range(3)


@pytest.fixture(scope="module")
def drawn() -> list[tuple[np.ndarray, np.ndarray]]:
    """Masks of the three bones of three ankles, one in equinus, and their affines."""
    found = []
    for seed, group in enumerate(("equinus", "control", "control")):
        ankle = draw_ankle(np.random.default_rng(seed), group=group, side="right")
        grid = grid_around(ankle, (2.0, 2.0, 2.4))
        masks = bone_masks(ankle, grid)
        found.append((np.stack([masks[name] for name in LABELS.structures]), grid.affine))
    return found


def judged(masks: np.ndarray, affine: np.ndarray, sure: float = 1.0, **more) -> dict[str, StructureConfidence]:
    probabilities = np.where(masks, sure, 0.0).astype(np.float32)
    return ConfidenceRule().judge(probabilities, masks, masks, affine, LABELS, **more)


def statuses(found: dict[str, StructureConfidence]) -> list[str]:
    return [found[name].status for name in LABELS.structures]


def ranges_of(drawn):
    return shape_ranges({n: mask_shape(m, affine) for n, m in LABELS.named(masks)} for masks, affine in drawn)


def test_perfect_masks_are_ok_in_every_orientation(drawn):
    ranges = ranges_of(drawn)
    for (masks, affine), codes in zip(drawn, ("RAS", "PSR", "LPI"), strict=True):
        turned = [reorient(mask, affine, codes) for mask in masks]
        found = judged(np.stack([mask for mask, _ in turned]), turned[0][1], ranges=ranges, agreement=[0.9] * 3)
        assert statuses(found) == ["ok"] * 3 and not summary(found), summary(found)
        assert [one.score for one in found.values()] == [0.9] * 3
        assert found["tibia"].cut and not found["talus"].cut


def test_a_bone_that_is_not_found_failed(drawn):
    masks, affine = drawn[1]
    found = judged(masks * np.array([1, 0, 1], bool)[:, None, None, None], affine)
    assert (found["talus"].status, found["talus"].reason, found["talus"].score) == ("failed", "not found", 0.0)
    assert summary(found) == "talus failed (not found)"


@pytest.mark.parametrize("pair", [(CALCANEUS, TALUS), (TALUS, TIBIA)])
def test_swapped_bones_failed(drawn, pair: tuple[int, int]):
    for masks, affine in drawn:
        swapped = masks.copy()
        swapped[list(pair)] = masks[list(pair[::-1])]
        found = judged(swapped, affine)
        assert statuses(found) == ["failed"] * 3
        assert found["talus"].reason.startswith("talus does not lie between tibia and calcaneus")


def test_an_ankle_upside_down_is_suspect(drawn):
    masks, affine = drawn[1]
    found = judged(masks, np.diag([1, 1, -1, 1]) @ affine)
    assert statuses(found) == ["suspect", "ok", "suspect"]
    assert found["tibia"].reason == "tibia lies below calcaneus: confused, or the header is wrong"


def test_a_lost_piece_is_suspect_by_the_sizes_of_the_training(drawn):
    ranges = ranges_of(drawn)
    masks, affine = drawn[1][0].copy(), drawn[1][1]
    inside = np.argwhere(masks[CALCANEUS])
    far = inside @ affine[:3, :3].T @ [0, 1, 0]
    masks[CALCANEUS][tuple(inside[far < np.quantile(far, 0.5)].T)] = False
    found = judged(masks, affine, ranges=ranges)
    assert found["calcaneus"].status == "suspect" and "in training" in found["calcaneus"].reason
    assert found["tibia"].status == "ok"
    assert judged(masks, affine)["calcaneus"].status == "ok", "no range is made up for a model that has none"


def test_pieces_that_were_thrown_away_and_joints_that_are_wide_are_told(drawn):
    masks, affine = drawn[1]
    found = masks.copy()
    found[TALUS] |= np.roll(masks[TALUS], 17, axis=2)
    told = ConfidenceRule().judge(masks.astype(np.float32), found, masks, affine, LABELS)
    assert told["talus"].status == "suspect"
    assert told["talus"].reason == "in several pieces, of which the largest has 50%"
    apart = masks.copy()
    apart[TIBIA, :, :10], apart[TIBIA, :, 10:] = False, masks[TIBIA, :, :-10]  # 20 mm up
    told = judged(apart, affine)
    assert statuses(told) == ["ok", "suspect", "suspect"] and "tibia and talus lie" in told["tibia"].reason


def test_the_score_is_the_less_of_both_estimates(drawn):
    masks, affine = drawn[1]
    found = judged(masks, affine, sure=0.6, agreement=[0.7, 0.5, None])
    assert [round(found[name].score, 2) for name in LABELS.structures] == [0.7, 0.5, 0.75]
    assert statuses(found) == ["suspect", "failed", "suspect"]
    assert found["talus"].reason == "changes with resolution and contrast: estimated Dice 0.50"
    assert found["tibia"].reason == "the network is not sure: estimated Dice 0.75"
    found = judged(masks, affine, agreement=[0.95, 0.5, 0.7], by_planes=True)
    assert found["talus"].reason == "the planes disagree: estimated Dice 0.75"
    assert [found[name].score for name in LABELS.structures] == pytest.approx([0.975, 0.75, 0.85])
    assert statuses(found) == ["ok", "suspect", "ok"]


def test_of_a_sequence_the_worst_frame_is_told():
    def one(status, score):
        return {"talus": StructureConfidence(status, score, status, 1.0, False, score, None, None)}

    found = of_sequence([one("ok", 0.9), one("suspect", 0.7), one("failed", 0.3)])
    assert (found["talus"].frame, found["talus"].not_ok, found["talus"].score) == (2, 2, 0.3)
    assert summary(found) == "talus failed in 2 frames, worst frame 2 (failed)"
    assert {"frame", "not_ok"} <= found["talus"].to_plain().keys() and "frame" not in one("ok", 1)["talus"].to_plain()


def test_what_cannot_be_is_refused():
    with pytest.raises(ConfigError, match="invalid predict.confidence.views 9: expected 0 to 4"):
        ConfidenceRule(views=9)
    with pytest.raises(ConfigError, match="expected 0 ≤ failed ≤ suspect ≤ 1"):
        ConfidenceRule(suspect=0.5)


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("codes", ["RAS", "PSR", "LPI"])
def test_what_is_seen_in_a_view_comes_back_to_its_place(view, codes: str):
    both = Labels(structures=["left", "right"], pairs=[["left", "right"]])
    grid = np.stack(np.meshgrid(*map(np.arange, (40, 36, 30)), indexing="ij"), -1)
    balls = [(((grid - middle) / 7.0) ** 2).sum(-1) < 1 for middle in ([10, 14, 15], [28, 20, 13])]
    turned = [reorient(ball.astype(np.float32), np.eye(4), codes) for ball in balls]
    volume, affine = torch.from_numpy(np.stack([ball for ball, _ in turned]).copy()), turned[0][1]
    seen = view.image(volume, affine, both, 3)
    assert seen.shape[1:] == tuple(round(side * view.zoom) for side in volume.shape[1:])
    swapped = seen[[1, 0]] if view.mirrored else seen  # a network finds each on the other side
    back = view.back(swapped, volume.shape[1:], affine, both)
    for one, two in zip(back > back.amax((1, 2, 3), keepdim=True) / 2, volume > 0.5, strict=True):
        assert 2 * (one & two).sum() / (one.sum() + two.sum()) > 0.93
    thick = view.image(volume, affine @ np.diag([1.0, 1, 4, 1]), both, 3)
    assert thick.shape[3] == volume.shape[3], "slices are not made up"


class Levels(nn.Module):
    """Three structures by their brightness."""

    divisor = 4

    def __init__(self) -> None:
        super().__init__()
        self.levels = nn.Parameter(torch.tensor([-2.0, -0.5, 0.7, 1.9]))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return -12 * (x - self.levels.view(1, -1, 1, 1)) ** 2


def test_confidence_is_written_and_changes_no_mask(drawn, tmp_path: Path, capfd):
    masks, affine = drawn[1]
    image = 100 + 250 * masks[0] + 500 * masks[1] + 800 * masks[2]
    noise = np.random.default_rng(0).normal(0, 10, image.shape)
    path = write_volume(tmp_path / "a.nii.gz", (image + noise).astype(np.float32), affine)
    case = Case(name="a", subject="s", channels={"image": path}, side="right")
    model = model_of(Levels().eval(), "prepare=whole_image", structures=LABELS.structures)
    inferer = tiles_of(32, 32, tiling="slices")
    plain = predict_case(case, [model], inferer)
    found = predict_case(case, [model], inferer, confidence=ConfidenceRule())
    assert not plain.confidence and np.array_equal(plain.masks, found.masks)
    assert list(found.confidence) == list(LABELS.structures)
    assert all(one.agreement is not None for one in found.confidence.values())
    (row,) = predict_cases([case], [model], tmp_path / "out", inferer=inferer, confidence=ConfidenceRule(views=0))
    written = json.loads((tmp_path / "out/predictions.json").read_text())
    assert written["confidence"]["views"] == 0 and written["cases"][0]["confidence"] == row["confidence"]
    bad = [name for name, one in row["confidence"].items() if one["status"] != "ok"]
    said = "".join(capfd.readouterr())
    assert all(f"{name} {row['confidence'][name]['status']} (" in said for name in bad)
    regions = model_of(Levels().eval(), "prepare=whole_image", structures=["a", "b"])
    assert not ConfidenceRule.applies_to(Labels(structures=["a", "b"], regions=True))
    assert regions.shapes is None
