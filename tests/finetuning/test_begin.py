"""What training starts from: copied tensor by tensor, begun anew where asked for, told in a table, or refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from laws import for_all
from small_models import prepared_by
from small_training import NETWORKS, moved, network_of
from torch import nn

from ankleseg.errors import CheckpointError, ConfigError
from ankleseg.finetuning import begin, fit_of
from ankleseg.inference import description
from ankleseg.labels import Labels
from ankleseg.networks import ResNet, UNet
from ankleseg.networks.parts import part_of_each, parts_of

UNET = "ankleseg.networks.UNet"
LAYOUT = {"convolutions": "conv3d*", "norms": "batch_normalization*", "epsilon": 1e-3, "scaling": "0 to 255"}


def write_checkpoint(path: Path, network: nn.Module, target: str = UNET, *overrides: str) -> Path:
    """What `ankleseg.train` leaves of a network, with statistics that are not those of a new one."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.uniform_(-1, 1)  # type: ignore[union-attr, operator]
    about = description(
        network={"_target_": target, "in_channels": 1},
        preparation=prepared_by("prepare=ankle", *overrides),
        labels=Labels(structures=("talus",)),
        channels=["image"],
        window=[16, 16],
    )
    state = {f"network.{name}": value for name, value in network.state_dict().items()}
    torch.save({"ankleseg": about, "state_dict": state}, path)
    return path


def state_of(network: nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in network.state_dict().items()}


@for_all("name", NETWORKS)
def test_each_part_is_begun_anew_alone(name: str, tmp_path: Path):
    source = network_of(name)
    path = write_checkpoint(tmp_path / "source.ckpt", source)
    for surgery in (["bottleneck"], ["contraction,expansion"], ["*"]):
        network = network_of(name, seed=1)
        parts, fresh = part_of_each(network), state_of(network)
        if surgery == ["*"]:
            with pytest.raises(CheckpointError, match="has no weights that fit the network"):
                begin(network, path, surgery=surgery)
            continue
        fit = begin(network, path, surgery=surgery)
        assert fit is not None
        anew = set(surgery[0].split(","))
        for key, value in network.state_dict().items():
            if parts.get(key) in anew:
                assert key in fit.named("begun anew")
                kept = key.endswith(("running_mean", "running_var", "tracked")) or "adn.A" in key
                bias = key.endswith("bias") or value.ndim == 1
                assert kept or bias or not torch.equal(value, fresh[key]), f"{key} is not drawn"
                assert not key.endswith("bias") or not value.any(), f"{key} is not 0"
            elif key in parts:
                assert torch.equal(value, source.state_dict()[key]), f"{key} is not copied"


def test_glorot_is_that_of_keras_and_own_is_what_the_network_began_with():
    torch.manual_seed(0)
    network = UNet(widths=[8, 64])
    begun = state_of(network)
    begin(network, surgery=["bottleneck"], initialisation="own")
    assert not moved(begun, network.state_dict())
    begin(network, surgery=["bottleneck"])
    assert {part_of_each(network)[name] for name in moved(begun, network.state_dict())} == {"bottleneck"}
    limit = (6 / (2 * 64 * 9)) ** 0.5
    weight = network.bottom[0].weight.detach()  # type: ignore[union-attr, index]
    assert 0.99 * limit < weight.abs().max() <= limit
    assert weight.std().item() == pytest.approx(limit / 3**0.5, rel=0.02)


def test_the_table_counts_tensors_and_values_of_each_part(tmp_path: Path):
    path = write_checkpoint(tmp_path / "source.ckpt", UNet(widths=[2, 4], out_channels=3))
    fit = begin(UNet(widths=[2, 4]), path, match="shape", surgery=["bottom"])
    assert fit is not None
    title, head, *rows = fit.describe().splitlines()
    assert title == "weights at the start, in tensors (and values):"
    assert head.split() == ["part", "copied", "begun", "anew", "missing", "unused"]
    assert [row.split()[0] for row in rows] == ["contraction", "bottleneck", "expansion", "all"]
    bottom = UNet(widths=[2, 4]).bottom.state_dict().values()
    assert rows[1].split() == ["bottleneck", "0", str(len(bottom)), f"({sum(v.numel() for v in bottom):,})", "0", "0"]
    assert sorted(fit.reshaped) == ["head.bias", "head.weight"]
    counted = sum(fit.sizes[name] for column in ("copied", "begun anew") for name in fit.named(column))
    assert counted == sum(value.numel() for value in UNet(widths=[2, 4]).state_dict().values())


def test_strict_names_what_does_not_fit_and_shape_copies_the_rest(tmp_path: Path):
    source = UNet(widths=[2, 4], out_channels=3)
    path = write_checkpoint(tmp_path / "source.ckpt", source)
    with pytest.raises(CheckpointError) as caught:
        begin(UNet(widths=[2, 4]), path, name=UNET)
    assert str(caught.value) == (
        f"{path}: does not fit the network: of another shape are head.weight, head.bias; "
        "add init.match=shape to copy what fits"
    )
    for settings in ({"match": "shape"}, {"surgery": ["head"]}):
        network = UNet(widths=[2, 4])
        begin(network, path, **settings)
        copied = {name: value for name, value in network.state_dict().items() if not name.startswith("head")}
        assert not moved(copied, source.state_dict())


def test_more_input_channels_begin_with_the_mean_of_those_of_the_source(tmp_path: Path):
    source = UNet(in_channels=2, widths=[2, 4]).eval()
    path = write_checkpoint(tmp_path / "source.ckpt", source)
    image = torch.rand(1, 1, 8, 8)
    expected = source.eval()(image.expand(-1, 2, -1, -1))
    for channels in (1, 3):
        network = UNet(in_channels=channels, widths=[2, 4])
        with pytest.raises(CheckpointError, match="of another shape is descending.0.0.weight"):
            begin(network, path)
        begin(network, path, match="channels")
        torch.testing.assert_close(network.eval()(image.expand(-1, channels, -1, -1)), expected)


def test_another_network_is_refused_by_its_name(tmp_path: Path):
    path = write_checkpoint(tmp_path / "source.ckpt", ResNet(widths=[2, 4], depths=[1, 1]), "ankleseg.networks.ResNet")
    with pytest.raises(CheckpointError) as caught:
        begin(UNet(widths=[3, 4]), path, match="shape", name=UNET)
    assert str(caught.value) == (
        f"{path}: has no weights that fit the network (a ResNet to a UNet); "
        "choose the network that it was trained with, by network=…"
    )


def test_another_scaling_is_told_and_the_same_is_not(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    path = write_checkpoint(tmp_path / "source.ckpt", UNet(widths=[2, 4]))
    begin(UNet(widths=[2, 4]), path, preparation=prepared_by("prepare=ankle", "prepare.spacing=[1,1,null]"))
    assert not caplog.text
    begin(UNet(widths=[2, 4]), path, preparation=prepared_by("prepare=ankle", "prepare/scaling=percentile"))
    assert "was trained on intensities scaled otherwise (NormalizeInForegroundd) than those of this run" in caplog.text
    assert "(ScaleInForegroundd lower=0.5 upper=99.5 clip=True); choose the same preparation" in caplog.text


def test_settings_that_are_none_are_refused(tmp_path: Path):
    path = write_checkpoint(tmp_path / "source.ckpt", UNet(widths=[2, 4]))
    refused: list[tuple[dict[str, Any], str]] = [
        ({"match": "loose"}, "invalid init.match 'loose': expected one of strict, shape, channels"),
        ({"surgery": ["botleneck"]}, "invalid init.surgery 'botleneck': .* its parts are contraction, bottleneck"),
        ({"initialisation": "he"}, "invalid init.initialisation 'he': expected one of glorot, own"),
    ]
    for settings, said in refused:
        with pytest.raises(ConfigError, match=said):
            begin(UNet(widths=[2, 4]), path, **settings)
    with pytest.raises(CheckpointError, match="does not exist; give a checkpoint, a run folder or a folder of runs"):
        begin(UNet(widths=[2, 4]), tmp_path / "none.ckpt")


def test_a_file_that_runs_code_is_not_opened(tmp_path: Path):
    marker = tmp_path / "ran"

    class Harm:
        def __reduce__(self) -> Any:
            return Path.touch, (marker,)

    torch.save({"state_dict": {"network.head.weight": Harm()}}, tmp_path / "harm.ckpt")
    with pytest.raises(CheckpointError, match="holds more than tensors and plain types and was not opened"):
        begin(UNet(widths=[2, 4]), tmp_path / "harm.ckpt")
    assert not marker.exists()


def test_a_state_dictionary_of_pytorch_is_a_source(tmp_path: Path):
    source, network = network_of("MONAI's BasicUNet"), network_of("MONAI's BasicUNet", seed=1)
    torch.save({"model": {f"module.{name}": value for name, value in source.state_dict().items()}}, tmp_path / "net.pt")
    begin(network, tmp_path / "net.pt")
    assert not moved(source.state_dict(), network.state_dict())


def published(seed: int = 0) -> nn.Module:
    """A small network of the layers of a Keras file: convolution and norm twice, then a convolution."""
    torch.manual_seed(seed)
    layers = [
        nn.Conv3d(1, 2, 3),
        nn.BatchNorm3d(2),
        nn.ReLU(),
        nn.Conv3d(2, 3, 3),
        nn.BatchNorm3d(3),
        nn.Conv3d(3, 1, 1),
    ]
    network = nn.Sequential(*layers)
    for norm in (network[1], network[4]):
        norm.eps = 1e-3
        for tensor in (norm.weight, norm.bias, norm.running_mean, norm.running_var):
            tensor.data.uniform_(0.5, 1.5)
    return network.eval()


def write_keras(path: Path, network: nn.Module, first: int = 9) -> Path:
    """The layers of a network as Keras stores them, from some number on, with what its optimiser remembers."""
    h5py = pytest.importorskip("h5py", reason="h5py is not installed: pip install 'ankleseg[weights]'")
    of = {"gamma": "weight", "beta": "bias", "moving_mean": "running_mean", "moving_variance": "running_var"}
    counts = {"conv3d": first, "batch_normalization": first}
    with h5py.File(path, "w") as file:
        for module in network.children():
            if isinstance(module, nn.ReLU):
                continue
            is_norm = isinstance(module, nn.BatchNorm3d)
            kind = "batch_normalization" if is_norm else "conv3d"
            layer = f"{kind}_{counts[kind]}"
            counts[kind] += 1
            words = of if is_norm else {"kernel": "weight", "bias": "bias"}
            for word, name in words.items():
                value = getattr(module, name).detach().numpy()
                stored = np.moveaxis(value, (0, 1), (-1, -2)) if value.ndim > 1 else value
                file[f"model_weights/{layer}/{layer}/{word}:0"] = stored
                file[f"optimizer_weights/{layer}/{word}:0"] = stored + 1
    return path


def test_a_keras_file_gives_the_outputs_of_its_network(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    source, network = published(), published(seed=1)
    for norm in (network[1], network[4]):  # type: ignore[index]
        norm.eps = 1e-5
    path = write_keras(tmp_path / "deepseg_t2.h5", source)  # conv3d_9, _10, _11: in the order of numbers, not letters
    begin(network, path, layout=LAYOUT, preparation=prepared_by("prepare=ankle"))
    image = torch.rand(1, 1, 6, 6, 6)
    torch.testing.assert_close(network(image), source(image))
    assert "was trained on intensities scaled otherwise (0 to 255) than those of this run" in caplog.text


def test_an_onnx_file_gives_the_outputs_of_its_network(tmp_path: Path):
    onnx = pytest.importorskip("onnx", reason="onnx is not installed: pip install 'ankleseg[weights]'")
    source = published()
    nodes, constants, before = [], [], "image"
    for number, module in enumerate(source.children()):
        names = ["weight", "bias", "running_mean", "running_var"]
        tensors = {n: getattr(module, n) for n in names if getattr(module, n, None) is not None}
        kind = {nn.Conv3d: "Conv", nn.BatchNorm3d: "BatchNormalization", nn.ReLU: "Relu"}[type(module)]
        constants += [onnx.numpy_helper.from_array(t.detach().numpy(), f"{number}.{n}") for n, t in tensors.items()]
        nodes.append(onnx.helper.make_node(kind, [before, *(f"{number}.{n}" for n in tensors)], [f"out{number}"]))
        before = f"out{number}"
    value = onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph(nodes, "net", [value("image", 1, None)], [value(before, 1, None)], constants)
    onnx.save(onnx.helper.make_model(graph), tmp_path / "model.onnx")
    network = published(seed=1)
    begin(network, tmp_path / "model.onnx", layout=LAYOUT)
    image = torch.rand(1, 1, 6, 6, 6)
    torch.testing.assert_close(network(image), source(image))
    (tmp_path / "damaged.onnx").write_bytes(b"no file of ONNX")
    with pytest.raises(CheckpointError, match="damaged.onnx: is no ONNX file, or is damaged"):
        begin(network, tmp_path / "damaged.onnx", layout=LAYOUT)


def test_layers_of_another_network_are_refused(tmp_path: Path):
    path = write_keras(tmp_path / "deepseg_t2.h5", published())
    with pytest.raises(
        CheckpointError, match="holds 3 convolutions and 2 norms, the network 1 and 0; choose the network"
    ):
        begin(nn.Sequential(nn.Conv3d(1, 1, 1)), path, layout=LAYOUT, match="shape")
    (tmp_path / "damaged.h5").write_bytes(b"no file of Keras")
    with pytest.raises(CheckpointError, match=r"damaged\.h5: is no Keras file, or is damaged"):
        begin(published(), tmp_path / "damaged.h5", layout=LAYOUT)


def test_a_package_that_is_not_there_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    for package, name in (("h5py", "net.h5"), ("onnx", "net.onnx")):
        monkeypatch.setitem(__import__("sys").modules, package, None)
        (tmp_path / name).touch()
        with pytest.raises(CheckpointError) as caught:
            begin(published(), tmp_path / name, layout=LAYOUT)
        expected = f"{tmp_path / name}: needs {package}, which is not installed; pip install 'ankleseg[weights]'"
        assert str(caught.value) == expected


def test_nothing_is_changed_by_looking():
    network = network_of()
    before = state_of(network)
    fit = fit_of(network, network_of(seed=1).state_dict(), "strict")
    assert fit.values and not moved(before, network.state_dict())
    assert set(fit.parts.values()) == set(parts_of(network))
