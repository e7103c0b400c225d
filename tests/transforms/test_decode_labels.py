"""What a network says becomes what `ankleseg.predict` writes."""

from __future__ import annotations

import numpy as np
import torch
from monai.data import MetaTensor

from ankleseg.inference.postprocessing import Postprocessing
from ankleseg.labels import Labels
from ankleseg.transforms import DecodeLabelsd

EXAMPLES = {"DecodeLabelsd": {"labels": {"structures": ["bone"]}}}


def test_it_decodes_as_labels_do_and_gives_every_image_a_key():
    values = torch.rand(4, 9, 8, 7, generator=torch.Generator().manual_seed(0))
    pred = MetaTensor(values, affine=torch.diag(torch.tensor([2.0, 1, 1, 1])))
    for labels in (
        Labels(images=("sharp",), structures=("a", "b", "c")),
        Labels(images=("sharp",), structures=("whole", "core", "rim"), regions=True),
        Labels(structures=("a", "b", "c", "d")),
    ):
        found = DecodeLabelsd("pred", labels)({"pred": pred})
        probabilities = values[len(labels.images) :].numpy()
        assert np.array_equal(found["pred"][0], labels.label_map(labels.decode(probabilities)))
        assert torch.equal(found["pred"].affine, pred.affine)
        for name in labels.images:
            assert torch.equal(found[name].as_tensor(), values[:1])


def test_masks_are_mended_before_they_are_drawn():
    probabilities = torch.zeros(1, 9, 9, 9)
    probabilities[0, 1:6, 1:6, 1:6] = probabilities[0, 8, 8, 8] = 1
    probabilities[0, 3, 3, 3] = 0
    found = DecodeLabelsd("pred", {"structures": ["a"]}, Postprocessing())({"pred": probabilities})["pred"]
    assert found[0, 3, 3, 3] == 1 and found[0, 8, 8, 8] == 0 and found.sum() == 125


def test_a_cord_is_mended_along_the_axis_that_its_affine_tells():
    probabilities = torch.zeros(1, 30, 12, 12)
    probabilities[0, 2:26, 4:9, 4:9] = 1
    probabilities[0, 12:15] = 0  # a gap between slices along the first axis
    postprocessing = Postprocessing(largest_component=False, fill_holes=False, cord=True)
    upwards = torch.tensor([[0.0, 0, 1, 0], [0, 1, 0, 0], [1, 0, 0, 0], [0, 0, 0, 1]])
    for affine, filled in ((upwards, 25), (torch.eye(4), 0)):
        pred = MetaTensor(probabilities, affine=affine)
        found = DecodeLabelsd("pred", {"structures": ["cord"]}, postprocessing)({"pred": pred})["pred"]
        assert found[0, 13].sum() == filled
