"""What a preparation learns of the training cohort, before anything is trained."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from ankleseg import keys
from ankleseg.cohorts import Case
from ankleseg.data.reading import prepared
from ankleseg.labels import Labels
from ankleseg.transforms import NormalizeByCohortd, NyulStandardized, Preparation
from ankleseg.transforms.metadata import without_meta

Learner = NormalizeByCohortd | NyulStandardized


def learnt_from(preparation: Preparation, cases: Sequence[Case], labels: Labels, **mends: Any) -> Preparation:
    """Return the preparation with what its transforms learn of cases that are prepared up to them.

    Args:
        preparation: one whose transforms have learnt, or have nothing to learn, is returned as it is.
        cases: of training.
        labels: of their references, by which a preparation may crop.
        mends: ``copy_headers`` and ``resample_masks`` of `LoadReferencesd`.

    Raises:
        AnklesegError: a case cannot be prepared.
    """
    while (first := _not_learnt(preparation)) is not None:
        before = Preparation(preparation.nodes[:first])
        learner: Any = preparation.transforms[first]
        taught = learner.learn(_images(before, cases, labels, mends))
        nodes = list(preparation.nodes)
        nodes[first] = {**nodes[first], **taught}
        preparation = Preparation(nodes)
    return preparation


def learns(preparation: Preparation) -> bool:
    """Whether there is something that a preparation has yet to learn."""
    return _not_learnt(preparation) is not None


def as_learnt_before(preparation: Preparation, nodes: Sequence[Mapping[str, Any]]) -> Preparation:
    """Return the preparation with what transforms of the same kind, in the same order, had learnt in an earlier one.

    A network goes on with the scale that it was trained on: its first layers know no other.

    Args:
        preparation: one whose transforms have learnt is returned as it is.
        nodes: of the earlier preparation.
    """
    earlier = [
        (node, each) for node, each in zip(nodes, Preparation(nodes).transforms, strict=True) if _has_learnt(each)
    ]
    result = list(preparation.nodes)
    for number, transform in enumerate(preparation.transforms):
        if not isinstance(transform, Learner):
            continue
        same = next((pair for pair in earlier if type(pair[1]) is type(transform)), None)
        if same is not None:
            earlier.remove(same)
            if not transform.learnt:
                result[number] = dict(same[0])
    return Preparation(result)


def _has_learnt(transform: Any) -> bool:
    return isinstance(transform, Learner) and transform.learnt


def _not_learnt(preparation: Preparation) -> int | None:
    transforms = enumerate(preparation.transforms)
    return next((n for n, each in transforms if isinstance(each, Learner) and not each.learnt), None)


def _images(
    preparation: Preparation, cases: Sequence[Case], labels: Labels, mends: dict[str, Any]
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    for case in cases:
        sample = prepared(case, preparation, labels, **mends)
        image, mask = (without_meta(sample[key]).numpy() for key in (keys.IMAGE, keys.FOREGROUND))
        yield image, mask[0] != 0
