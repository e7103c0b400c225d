"""The contract of every MONAI transform of ours, found by name.

A transform is built by ``keys="image"``, or without arguments where its keys have defaults. One that needs more has it
in the tests of its module, ``tests/transforms/test_<module>.py``: arguments in ``EXAMPLES = {"Class": {…}}``, and
what a sample must hold besides in ``SAMPLES = {"Class": function}``, where the function gets a folder for files.
"""

from __future__ import annotations

import importlib.util
import inspect
import pickle
import tempfile
from copy import deepcopy
from functools import lru_cache
from itertools import permutations, product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from monai.data import DataLoader, Dataset, MetaTensor
from monai.transforms import Compose, InvertibleTransform, MapTransform, Randomizable, RandShiftIntensityd, SpatialPadd
from monai.utils import set_determinism

import ankleseg.transforms as room
from ankleseg import keys
from ankleseg.errors import AnklesegError, ConfigError
from ankleseg.volumes.geometry import reorient

HERE = Path(__file__).parent
SHAPE = (22, 20, 16)
SPACING = (0.6, 0.9, 1.1)
CLASSES = {name: thing for name, thing in vars(room).items() if name in room.__all__ and inspect.isclass(thing)}
TRANSFORMS = sorted(n for n, c in CLASSES.items() if issubclass(c, MapTransform) and not inspect.isabstract(c))
ORIENTATIONS = ["".join(codes) for order in permutations(("LR", "PA", "IS")) for codes in product(*order)]


@lru_cache
def told(name: str, what: str) -> Any:
    """What the tests of its module tell of a class."""
    path = HERE / f"test_{CLASSES[name].__module__.rsplit('.', 1)[-1]}.py"
    if not path.exists():
        return None
    spec = importlib.util.spec_from_file_location(f"told_by_{path.stem}", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return getattr(module, what, {}).get(name)


@lru_cache
def besides(name: str) -> dict[str, Any]:
    """What a sample must hold for this class."""
    make = told(name, "SAMPLES")
    return make(Path(tempfile.mkdtemp())) if make else {}


def build(name: str, **more: Any) -> Any:
    kind = CLASSES[name]
    has_default = inspect.signature(kind).parameters["keys"].default is not inspect.Parameter.empty
    return kind(**({} if has_default else {"keys": "image"}) | (told(name, "EXAMPLES") or {}) | more)


def volume(name: str, codes: str = "RAS", seed: int = 0, meta: bool = True) -> dict[str, Any]:
    """A prepared case with all that travels in it: a body with two smooth structures, no two voxels alike."""
    x, y, z = np.meshgrid(*((np.arange(n) - n / 2) * mm for n, mm in zip(SHAPE, SPACING, strict=True)), indexing="ij")
    grain = np.random.default_rng(seed).random(SHAPE)
    first, second = (np.exp(-((x - a) ** 2 + (y - b) ** 2 + z**2 / 4) / 20) for a, b in ((2, -3), (-3, 3)))
    body = (x / 6) ** 2 + (y / 8) ** 2 + (z / 9) ** 2 < 1
    arrays = {
        keys.IMAGE: (100 * (body + first + second + 0.01 * grain) - 20).astype(np.float32),
        keys.LABEL: np.where(first > 0.4, 1, np.where(second > 0.4, 2, 0)).astype(np.uint8),
        keys.FOREGROUND: body,
    }
    affine = np.diag([*SPACING, 1.0])
    affine[:3, 3] = (-20, 10, 5)
    sample: dict[str, Any] = {}
    for key, array in arrays.items():
        turned, turned_affine = reorient(array, affine, codes)
        tensor = torch.from_numpy(np.ascontiguousarray(turned))[None]
        sample[key] = MetaTensor(tensor, affine=torch.from_numpy(turned_affine)) if meta else tensor
    image = arrays[keys.IMAGE]
    told_besides = {
        keys.AFFINE: turned_affine,
        keys.RANGE: torch.tensor([[image.min(), np.percentile(image[body], 99.5)]]),
        keys.CASE: "s1",
        keys.SIDE: "left",
        keys.KNOWN: torch.tensor([True, False]),
    }
    return sample | told_besides | besides(name)


def apply(transform: Any, sample: dict[str, Any], seed: int = 0) -> dict[str, Any]:
    if isinstance(transform, Randomizable):
        transform.set_random_state(seed)
    return transform(sample)


def plain(value: Any) -> Any:
    return value.as_tensor() if isinstance(value, MetaTensor) else value


def same(one: Any, other: Any) -> bool:
    one, other = plain(one), plain(other)
    if isinstance(one, torch.Tensor):
        return one.dtype == other.dtype and torch.equal(one, other)
    if isinstance(one, np.ndarray):
        return np.array_equal(one, other)
    return type(one) is type(other) if hasattr(one, "__len__") and not isinstance(one, str) else one == other


def equal(one: dict[str, Any], other: dict[str, Any]) -> bool:
    return set(one) == set(other) and all(same(one[key], other[key]) for key in one)


def every(kind: type = MapTransform) -> Any:
    """All transforms of a kind."""
    return pytest.mark.parametrize("name", [name for name in TRANSFORMS if issubclass(CLASSES[name], kind)])


@every()
def test_alone_it_changes_nothing_of_its_input_and_keeps_types(name: str) -> None:
    sample = volume(name)
    before, transform = deepcopy(sample), build(name)
    given = apply(transform, sample)
    assert equal(sample, before), "the input was changed"
    for key in transform.keys:
        assert isinstance(given[key], MetaTensor), "the geometry was lost"
        assert given[key].is_contiguous()
        assert given[key].dtype == getattr(sample[key], "dtype", given[key].dtype)
        assert given[key].as_tensor().isfinite().all()


@every()
def test_between_those_of_monai(name: str) -> None:
    transform = build(name)
    steps = [
        SpatialPadd(["image", "label", "foreground"], (24, 22, 16)),
        transform,
        RandShiftIntensityd("image", 0.1, prob=1.0),
    ]
    compose = Compose(steps).set_random_state(1)
    given = compose(volume(name))
    assert given["image"].as_tensor().isfinite().all()
    if isinstance(transform, InvertibleTransform) and "image" in transform.keys:
        back = compose.inverse(given)
        assert back["image"].shape[1:] == SHAPE
        assert np.allclose(back["image"].affine, volume(name)["image"].affine, atol=1e-6)


@every()
def test_one_seed_is_one_draw(name: str) -> None:
    """Whatever else draws numbers; and another seed is another draw, if it is random at all."""
    transform = build(name)
    compose = Compose([transform])
    results = []
    for state in (1, 2):
        set_determinism(state)
        compose.set_random_state(7)
        results.append([compose(volume(name)) for _ in range(2)])
    set_determinism(None)
    assert all(equal(one, other) for one, other in zip(*results, strict=True))
    if isinstance(transform, Randomizable):
        assert any(not equal(results[0][0], apply(transform, volume(name), seed)) for seed in range(8)), (
            "nothing is random"
        )


@every(InvertibleTransform)
def test_the_inverse_restores_voxels_and_affine_in_every_orientation(name: str) -> None:
    transform = build(name)
    for number, codes in enumerate(ORIENTATIONS):
        sample = volume(name, codes)
        changed = apply(transform, sample, number)
        back = transform.inverse(changed)
        for key in transform.keys:
            assert back[key].shape == sample[key].shape, codes
            assert back[key].dtype == sample[key].dtype
            assert np.allclose(back[key].affine, sample[key].affine, atol=1e-6), codes
            assert not back[key].applied_operations
            old, new, between = (array[key].as_tensor().double().numpy() for array in (sample, back, changed))
            empty = old.min() if key == keys.IMAGE else 0
            there = new != empty
            assert there.any(), codes
            if np.isin(between, old).all() and key == keys.IMAGE:
                assert np.array_equal(new[there], old[there]), f"{codes}: {key} was not resampled, but is not restored"
                assert there.sum() >= min(np.isin(old, between).sum() - 1, there.size - 1), codes
            else:
                body = there & sample[keys.FOREGROUND].as_tensor().numpy()  # what is clipped outside it is lost
                assert np.median(abs(new - old)[body]) <= 0.05 * np.ptp(old), codes


@every()
def test_it_pickles(name: str) -> None:
    transform = build(name)
    assert equal(apply(pickle.loads(pickle.dumps(transform)), volume(name), 3), apply(transform, volume(name), 3))


@every()
def test_missing_keys(name: str) -> None:
    transform = build(name)
    try:
        wanted, expected = (*transform.keys, "absent"), apply(transform, volume(name))
        build(name, keys=wanted)
    except ConfigError:  # it takes one key alone
        wanted, expected = ("absent",), volume(name)
    with pytest.raises((KeyError, AnklesegError), match="absent"):
        apply(build(name, keys=wanted), volume(name))
    assert equal(apply(build(name, keys=wanted, allow_missing_keys=True), volume(name)), expected)


@every()
def test_a_batch_of_two_is_two_of_one(name: str) -> None:
    def stacked(sample: dict[str, Any]) -> dict[str, Any]:
        return {key: value for key, value in sample.items() if isinstance(value, torch.Tensor | np.ndarray | str)}

    samples = [volume(name, seed=1), volume(name, seed=2)]
    batches: dict[int, list[Any]] = {}
    for size in (1, 2):
        torch.manual_seed(0)  # of which MONAI's loader seeds the transforms
        compose = Compose([build(name), stacked]).set_random_state(5)
        batches[size] = list(DataLoader(Dataset(samples, compose), batch_size=size, num_workers=0))
    (together,) = batches[2]
    for key, value in together.items():
        for number, alone in enumerate(batches[1]):
            assert same(value[number], alone[key][0]), key


@every(Randomizable)
def test_random_ones_need_no_metadata(name: str) -> None:
    """Behind a cache: plain tensors and an affine beside them give plain tensors of the same values."""
    transform = build(name)
    bare, full = apply(transform, volume(name, meta=False), 4), apply(transform, volume(name), 4)
    assert all(not isinstance(value, MetaTensor) for value in bare.values())
    assert equal(bare, full)
