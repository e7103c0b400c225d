"""From what a network says of a scan to its label map and its images."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform

from ankleseg.labels import Labels, Masks
from ankleseg.transforms.metadata import affine_of, with_meta_of, without_meta


class DecodeLabelsd(MapTransform):
    """Make a label map of the probabilities of structures, in the values in which `Labels` writes it.

    MONAI's ``AsDiscreted`` takes the maximum over channels that include the background, and knows neither a single
    structure beside regions nor what is done to masks. Images among the outputs get a key each, their name.

    Args:
        keys: (images and structures, X, Y, Z) as `Labels.activate` gives them; becomes (1, X, Y, Z), of the same type
            as ``AsDiscreted`` keeps it too. Without structures it is left as it is.
        labels: what the outputs are, or the arguments of `Labels`.
        postprocessing: applied to the masks (K, X, Y, Z), with ``regions`` and ``affine`` by name, such as
            `ankleseg.inference.Postprocessing`; None leaves them.
        allow_missing_keys: pass over keys that a sample lacks.
    """

    def __init__(
        self,
        keys: KeysCollection,
        labels: Labels | Mapping[str, Any],
        postprocessing: Callable[..., Masks] | None = None,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.labels = labels if isinstance(labels, Labels) else Labels(**labels)
        self.postprocessing = postprocessing

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        d = dict(data)
        images = len(self.labels.images)
        for key in self.key_iterator(d):
            values = d[key]
            for number, name in enumerate(self.labels.images):
                d[name] = with_meta_of(values, without_meta(values[number : number + 1]).contiguous())
            if len(self.labels):
                masks = self.labels.decode(np.asarray(values[images:].cpu()))
                if self.postprocessing is not None:
                    affine = affine_of(values) if isinstance(values, MetaTensor) else None
                    masks = self.postprocessing(masks, regions=self.labels.regions, affine=affine)
                label_map = torch.from_numpy(self.labels.written(self.labels.label_map(masks)))[None]
                d[key] = with_meta_of(values, label_map.to(without_meta(values)))
        return d
