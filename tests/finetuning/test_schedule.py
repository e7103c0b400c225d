"""What is trained moves, what is frozen does not; a resumed run ends as an uninterrupted one."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from laws import for_all
from pytorch_lightning import Callback
from pytorch_lightning.callbacks import EarlyStopping
from small_training import NETWORKS, OPTIMIZERS, Killed, Training, fit, moved, network_of

from ankleseg.errors import ConfigError
from ankleseg.finetuning import FreezeSchedule
from ankleseg.networks.parts import part_of_each

HERE = Path(__file__).parent
# what is trained is frozen later, and then trained again
THAW = [
    {"epoch": 0, "train": ["bottleneck"]},
    {"epoch": 1, "train": ["expansion"], "rate": 3e-3},
    {"epoch": 2, "train": ["bottleneck", "expansion"]},
]
TRAINED = [{"bottleneck"}, {"expansion"}, {"bottleneck", "expansion"}, {"bottleneck", "expansion"}]
STATISTICS = ("running_mean", "running_var", "num_batches_tracked")


@for_all(("name", "optimizer"), [(name, "SGD" if n % 2 else "Adam") for n, name in enumerate(NETWORKS)])
def test_in_each_epoch_exactly_what_it_trains_moves(name: str, optimizer: str):
    network = network_of(name)
    parts = part_of_each(network)
    states = fit(Training(network, optimizer), THAW).states
    for epoch, trained in enumerate(TRAINED):
        found = {parts[tensor] for tensor in moved(states[epoch], states[epoch + 1])}
        assert found == trained, f"epoch {epoch}"
    assert all(
        parameter.requires_grad == (parts[key] != "contraction") for key, parameter in network.named_parameters()
    )


def test_norm_statistics_of_frozen_parts_are_updated_where_asked_for():
    schedule = [{"epoch": 0, "train": ["expansion"]}]
    for setting, expected in (("frozen", {"expansion"}), ("updated", {"contraction", "bottleneck", "expansion"})):
        network = network_of()
        parts = part_of_each(network)
        states = fit(Training(network), schedule, epochs=1, norm_statistics=setting).states
        changed = moved(states[0], states[1])
        assert {parts[name] for name in changed if name.endswith(STATISTICS)} == expected
        assert {parts[name] for name in changed if not name.endswith(STATISTICS)} == {"expansion"}


def test_before_the_first_step_all_is_trained():
    network = network_of()
    parts = part_of_each(network)
    states = fit(Training(network), [{"epoch": 1, "train": ["expansion"]}], epochs=2).states
    assert {parts[name] for name in moved(states[0], states[1])} == set(parts.values())
    assert {parts[name] for name in moved(states[1], states[2])} == {"expansion"}


def test_the_whole_network_trained_is_a_training_without_a_schedule():
    whole = [{"epoch": 0, "train": ["*"]}]
    assert not moved(*(fit(Training(network_of()), schedule).states[-1] for schedule in (None, whole)))


def test_a_rate_is_absolute_and_the_schedule_of_the_rate_goes_on_from_it():
    plain = fit(Training(network_of()), None).rates
    changed = fit(Training(network_of()), THAW).rates
    assert changed[:3] == plain[:3]
    assert changed[3:] == pytest.approx([0.3 * rate for rate in plain[3:]])


@for_all(("optimizer", "steps"), [(optimizer, steps) for optimizer in OPTIMIZERS for steps in (4, 6, 8, 11)])
def test_a_killed_and_resumed_run_ends_as_an_uninterrupted_one(optimizer: str, steps: int, tmp_path: Path):
    whole = fit(Training(network_of(), optimizer), THAW).states[-1]
    with pytest.raises(RuntimeError, match="killed"):
        fit(Training(network_of(), optimizer), THAW, Killed(steps), folder=tmp_path)
    resumed = fit(Training(network_of(seed=5), optimizer), THAW, folder=tmp_path, resume=tmp_path / "last.ckpt")
    assert len(resumed.states) == 1 + 4 - (steps - 1) // 3, "the epochs that were done are not done again"
    assert not moved(whole, resumed.states[-1])


def test_two_processes_and_accumulated_gradients_end_as_one_process(tmp_path: Path):
    alone = network_of("FCN")  # has no batch statistics, which would differ between processes
    fit(Training(alone, "SGD"), THAW, accumulate_grad_batches=2, batches=4)
    done = subprocess.run(
        [sys.executable, str(HERE / "two_processes.py"), str(tmp_path)],
        capture_output=True, text=True, env=environment(),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    together = torch.load(tmp_path / "network.pt", weights_only=True)
    begun = network_of("FCN").state_dict()
    parts = part_of_each(alone)
    for name, value in alone.state_dict().items():
        torch.testing.assert_close(together[name], value, rtol=1e-4, atol=1e-6)
        assert torch.equal(together[name], begun[name]) == (parts[name] == "contraction")


def environment() -> dict[str, str]:
    import os

    paths = [str(HERE.parents[1]), str(HERE), str(HERE.parent)]
    return os.environ | {"PYTHONPATH": ":".join(paths), "OMP_NUM_THREADS": "1"}


class Averaging(Callback):
    """Moves what it may not."""

    def on_train_batch_end(self, trainer: Any, pl_module: Any, *others: Any) -> None:
        with torch.no_grad():
            next(iter(pl_module.network.parameters())).mul_(0.9)


def test_frozen_weights_that_move_stop_the_training():
    with pytest.raises(
        ConfigError, match=r"frozen weights have moved: descending\.0\.0\.weight; take out what changes"
    ):
        fit(Training(network_of()), THAW, Averaging())


def test_a_part_that_does_not_move_stops_the_training():
    with pytest.raises(
        ConfigError, match="nothing of 'bottleneck' has moved in the first steps of its training; check"
    ):
        fit(Training(network_of(), "SGD", rate=0.0), THAW)


def test_early_stopping_counts_from_the_last_step_on():
    class Never(Training):
        def on_train_epoch_end(self) -> None:
            self.log("val", 1.0)

    stopping = EarlyStopping("val", patience=2, check_on_train_epoch_end=True)
    states = fit(
        Never(network_of()), [{"epoch": 0, "train": ["*"]}, {"epoch": 5, "train": ["head"]}], stopping, epochs=20
    ).states
    assert len(states) == 1 + 5 + 2


REFUSED: dict[str, tuple[Any, str]] = {
    "no parts": ([{"epoch": 0}], r"invalid freeze step \{'epoch': 0\}: expected epoch, train and perhaps rate"),
    "a word too many": ([{"epoch": 0, "train": ["a"], "lr": 1}], "invalid freeze step .*: expected epoch, train"),
    "nothing": ([{"epoch": 0, "train": []}], "expected an epoch from 0, at least one part, and a rate above 0"),
    "no rate": ([{"epoch": 0, "train": ["a"], "rate": 0}], "a rate above 0; name what is trained"),
    "order": ([{"epoch": 2, "train": ["a"]}, {"epoch": 2, "train": ["b"]}], "invalid freeze: the epochs do not rise"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_schedule_that_is_none_is_refused(case: str):
    schedule, said = REFUSED[case]
    with pytest.raises(ConfigError, match=said):
        FreezeSchedule(schedule)


def test_settings_that_are_none_are_refused(caplog: pytest.LogCaptureFixture):
    with pytest.raises(ConfigError, match="invalid norm_statistics 'eval': expected one of frozen, updated"):
        FreezeSchedule([], "eval")
    schedule = FreezeSchedule([{"epoch": 5, "train": ["bottleneck"]}])
    schedule.check(network_of(), 5)
    assert "freeze: the step at epoch 5 is not reached in 5 epochs" in caplog.text
    with pytest.raises(ConfigError, match=r"invalid freeze.train 'encoder': .* its parts are contraction"):
        FreezeSchedule([{"epoch": 0, "train": ["encoder"]}]).check(network_of(), 5)
