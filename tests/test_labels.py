"""What a network's outputs are: laws of `Labels`, over numbers of structures, kinds, images and dimensions."""

from __future__ import annotations

import itertools
import json

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf

from ankleseg.errors import ConfigError
from ankleseg.labels import STRUCTURE_COLOURS, Labels

NAMES = tuple("abcdefghij")
KINDS = [
    Labels(structures=NAMES[:count], regions=regions, images=("sharp", "soft")[:images])
    for count, regions, images in itertools.product((0, 1, 2, 5), (False, True), (0, 1, 2))
]


def drawn(labels: Labels, shape: tuple[int, ...], seed: int) -> np.ndarray:
    """Random masks (K, *shape) that labels of this kind can hold: disjoint ones of exclusive structures."""
    random = np.random.default_rng(seed)
    if labels.regions:
        return random.random((len(labels), *shape)) < 0.4
    numbers = random.integers(0, len(labels) + 1, shape)
    return np.stack([numbers == k + 1 for k in range(len(labels))]) if len(labels) else np.zeros((0, *shape), bool)


@pytest.mark.parametrize("labels", KINDS, ids=lambda labels: f"{len(labels)}-{labels.regions}-{len(labels.images)}")
def test_a_label_holds_what_it_is_compared_with_and_a_certain_network_gives_it_back(labels: Labels) -> None:
    for seed, shape in enumerate([(6, 7), (4, 5, 3)]):
        masks = drawn(labels, shape, seed)
        label = labels.label(dict(labels.named(masks)), shape)
        assert (label.shape, label.dtype) == ((labels.channels, *shape), np.uint8)
        assert (labels.masks(label) == masks).all()
        batch = torch.from_numpy(label)[None]
        assert labels.targets(batch).shape == (1, len(labels), *shape)
        assert (labels.targets(batch)[0].numpy() == masks).all()

        logits = torch.from_numpy(np.where(masks, 20.0, -20.0)).float()
        background = [torch.zeros(1, *shape)] * (labels.outputs - len(labels.images) - len(labels))
        images = torch.randn(len(labels.images), *shape)
        outputs = torch.cat([images, *background, logits])[None]
        assert outputs.shape[1] == labels.outputs
        values = labels.activate(outputs)
        assert values.shape[1] == labels.values
        assert torch.equal(values[0, : len(images)], images), "images are left as they are"
        assert (labels.decode(values[0, len(images) :].numpy()) == masks).all()


def test_exclusive_structures_are_the_argmax_of_a_softmax_and_regions_a_sigmoid_each() -> None:
    logits = torch.randn(2, 5, 6, 5, 4, generator=torch.Generator().manual_seed(0))
    exclusive, regions = Labels(structures=NAMES[:4]), Labels(structures=NAMES[:5], regions=True)
    probabilities = exclusive.activate(logits)
    torch.testing.assert_close(probabilities.sum(1), 1 - logits.softmax(1)[:, 0])
    for sample, truth in zip(probabilities.numpy(), logits.argmax(1).numpy(), strict=True):
        masks = exclusive.decode(sample)
        assert masks.sum(axis=0).max() == 1
        most = sample.max(0) > 1 - sample.sum(0)  # where float32 tells the best from background
        assert (exclusive.label_map(masks) == truth)[most == (truth > 0)].all() and (most == (truth > 0)).mean() > 0.99
    assert (regions.decode(regions.activate(logits)[0].numpy()) == (logits[0] > 0).numpy()).all()
    single = Labels(structures=["a"])
    torch.testing.assert_close(single.activate(logits[:, :1]), regions.activate(logits)[:, :1])  # a sigmoid too


def test_a_draw_goes_to_the_background_and_then_to_the_structure_named_first() -> None:
    labels = Labels(structures=["a", "b"])
    probabilities = np.array([[[0.25, 0.4, 0.3]], [[0.25, 0.4, 0.5]]])  # background has 0.5, 0.2, 0.2
    assert labels.label_map(labels.decode(probabilities)).tolist() == [[0, 1, 2]]
    assert not Labels(structures=["a"]).decode(np.array([[[0.5]]])).any()


def test_a_label_map_shows_the_innermost_region_and_shared_voxels_go_to_the_structure_named_first() -> None:
    whole, core = np.array([1, 1, 1, 0], bool), np.array([0, 1, 1, 0], bool)
    regions, exclusive = (Labels(structures=["whole", "core"], regions=kind) for kind in (True, False))
    given = {"core": core, "whole": whole, "other": ~core}
    assert regions.label_map(np.stack([whole, core])).tolist() == [1, 2, 2, 0]
    assert regions.label(given).tolist() == [[1, 1, 1, 0], [0, 1, 1, 0]]
    assert exclusive.label_map(np.stack([whole, core])).tolist() == [1, 1, 1, 0]
    assert exclusive.label(given).tolist() == [[1, 1, 1, 0]]
    assert exclusive.label({"core": core}).tolist() == [[0, 2, 2, 0]], "a structure without a mask is not drawn"


def test_regions_are_written_in_values_of_their_own_and_each_lies_inside_those_named_before_it() -> None:
    labels = Labels(structures=["whole", "core", "enhancing"], regions=True, label_values=[2, 1, 3])
    assert Labels(**labels.to_plain()) == labels
    probabilities = np.array([[0.9, 0.9, 0.9, 0.1, 0.2], [0.1, 0.9, 0.9, 0.1, 0.2], [0.1, 0.1, 0.9, 0.9, 0.2]])
    masks = labels.decode(probabilities)
    assert labels.written(labels.label_map(masks)).tolist() == [2, 1, 3, 3, 0]
    assert masks.astype(int).tolist() == [[1, 1, 1, 1, 0], [0, 1, 1, 1, 0], [0, 0, 1, 1, 0]]
    plain = Labels(structures=["whole", "core", "enhancing"], regions=True)
    assert plain.written(plain.label_map(plain.decode(probabilities))).tolist() == [1, 2, 3, 3, 0]
    assert not plain.decode(probabilities)[0, 3], "without values each region is on its own"


def test_the_greatest_number_of_structures_fits_into_a_byte() -> None:
    labels = Labels(structures=[f"s{k}" for k in range(255)])
    masks = np.eye(255, dtype=bool)[:, :, None]
    assert labels.label_map(masks)[:, 0].tolist() == list(range(1, 256))
    assert (labels.masks(labels.label(dict(labels.named(masks)))) == masks).all()
    assert len(labels.colours) == 255 and list(labels.colours.values())[:9] == [*STRUCTURE_COLOURS, "#E69F00"]


def test_mirrored_twice_is_as_before_and_pairs_change_places() -> None:
    labels = Labels(structures=["spine", "left", "right", "l", "r"], pairs=[["left", "right"], ["r", "l"]])
    order = labels.mirrored_order()
    assert order == [0, 2, 1, 4, 3] and [order[k] for k in order] == list(range(5))
    assert Labels(structures=["a", "b"], pairs=[]).mirrored_order() == [0, 1]
    with pytest.raises(ConfigError, match=r"leave it out, or say in left_right_pairs which structures change places"):
        Labels(structures=["a"]).mirrored_order()


@pytest.mark.parametrize("labels", [*KINDS, Labels(structures=["l", "r"], pairs=(("l", "r"),)), Labels(pairs=())])
def test_labels_travel_as_plain_types(labels: Labels) -> None:
    plain = labels.to_plain()
    assert Labels(**json.loads(json.dumps(plain))) == labels == Labels(**OmegaConf.create(plain))
    assert hash(Labels(**plain)) == hash(labels)


def test_names_may_come_from_a_command_line() -> None:
    assert Labels(structures="talus", images=None).structures == ("talus",)
    assert Labels(structures=[1, 2]).structures == ("1", "2")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"structures": ["a", "b", "a"]}, "invalid structures: a is given twice"),
        ({"structures": ["sharp"], "images": ["sharp"]}, "invalid structures: sharp is given twice"),
        ({"structures": range(256)}, "invalid structures: 256, expected at most 255"),
        ({"structures": ["a"], "pairs": [["a", "b"]]}, "invalid left-right pair: b is not among the structures"),
        ({"structures": ["a"], "pairs": ["ab"]}, "invalid left-right pair 'ab': expected two structures"),
        ({"structures": ["a", "b", "c"], "pairs": [["a", "b"], ["a", "c"]]}, "left-right pairs: a is in 2 places"),
        ({"structures": ["a"], "pairs": [["a", "a"]]}, "left-right pairs: a is in 2 places"),
        (
            {"structures": ["a", "b"], "regions": True, "label_values": [1]},
            r"invalid label values \[1\]: expected one of 1 to 255 for each of 2 regions; correct label_values",
        ),
        ({"structures": ["a", "b"], "regions": True, "label_values": [2, 2]}, r"invalid label values \[2, 2\]"),
        ({"structures": ["a", "b"], "label_values": [2, 1]}, r"invalid label values \[2, 1\]"),
    ],
)
def test_what_contradicts_itself_is_refused(settings: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Labels(**settings)
