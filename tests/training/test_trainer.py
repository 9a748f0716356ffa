"""A whole run: what it writes, what it may not depend on, where it goes on, what it refuses."""

from __future__ import annotations

import inspect
import json
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from modules.core.checks import ConfigurationError, DataError
from modules.data.base import Data, Examples, MemoryExamples
from modules.data.points import Checkerboard
from modules.energies.mlp import MLPEnergy
from modules.initializers.mlp import MLPInitializer
from modules.methods.recovery import RecoveryLikelihood
from modules.runtime import runtime
from modules.runtime.runtime import Runtime
from modules.samplers.langevin import Langevin
from modules.sampling.generation import Generation
from modules.schedules.cosine import CosineSchedule
from modules.storage import checkpoints
from modules.training.optimizers import AdamW
from modules.training.trainer import Trainer
from tests import light

torch.set_num_threads(1)


class Line(Data):
    """Points on a line, as few as wanted."""

    def __init__(self, length: int) -> None:
        super().__init__((1,))
        self.length = length

    def open(self) -> Examples:
        return MemoryExamples(torch.linspace(-1, 1, self.length)[:, None])


def _networks(shape=(2,), num_classes=0, initializer_shape=None, initializer_classes=None):
    torch.manual_seed(0)
    return {
        "energy": MLPEnergy(shape, num_classes, width=8, depth=1),
        "initializer": MLPInitializer(
            initializer_shape or shape,
            num_classes if initializer_classes is None else initializer_classes,
            width=8,
            depth=1,
        ),
    }


def _trainer(networks=None, data=None, **changes) -> Trainer:
    networks = networks or _networks()
    arguments = {
        "method": RecoveryLikelihood(
            schedule=CosineSchedule(), sampler=Langevin(2), shared_noise=True, **networks
        ),
        "data": data or Checkerboard(num_classes=networks["energy"].num_classes),
        "optimizers": {"energy": AdamW(1e-2), "initializer": AdamW(1e-2)},
        "generation": Generation(Langevin(2)),
        "num_steps": 4,
        "batch_size": 8,
        "runtime": Runtime(trackers=()),
        "log_every": 1,
        "sample_every": 0,
        "save_every": 10,
        "num_samples": 4,
    }
    return Trainer(**{**arguments, **changes})


def _rows(folder: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def _assert_same_checkpoint(one: Path, other: Path) -> None:
    (ours, state), (theirs, other_state) = checkpoints.load(one), checkpoints.load(other)
    assert state == other_state and ours.keys() == theirs.keys()
    for group in ours:
        assert ours[group].keys() == theirs[group].keys()
        for name, value in ours[group].items():
            assert torch.equal(value, theirs[group][name]), f"{group}/{name}"


@pytest.fixture(scope="module")
def straight(tmp_path_factory) -> Path:
    """Four steps with all that happens beside them."""
    folder = tmp_path_factory.mktemp("straight")
    with light.drawn():
        _trainer(sample_every=2, save_every=2, runtime=Runtime()).train(folder)
    return folder


def test_a_run_leaves_pictures_curves_numbers_and_checkpoints(straight):
    names = [f"step_{step:08d}" for step in (2, 4)]
    assert sorted(p.name for p in (straight / "checkpoints").iterdir()) == names
    assert sorted(p.name for p in (straight / "samples").iterdir()) == [f"{name}.png" for name in names]
    assert (straight / "curves.png").stat().st_size > 10_000
    assert [p.name.split(".")[1] for p in (straight / "tensorboard").iterdir()] == ["out"]
    rows = _rows(straight)
    assert [row["step"] for row in rows] == [1, 2, 2, 3, 4, 4]
    numbers, samples = rows[1:3]
    assert numbers["gap"] == pytest.approx(numbers["energy_positive"] - numbers["energy_negative"], abs=1e-6)
    for name in ("loss/energy", "grad_norm/initializer", "lr/energy", "displacement", "images_per_second"):
        assert numbers[name] > 0 or name == "loss/energy"
    assert samples["sample_distance"] > samples["sample_distance_floor"] > 0
    seconds = [row["seconds"] for row in rows]
    assert seconds == sorted(seconds)


def test_sampling_and_logging_change_nothing(straight, tmp_path):
    _trainer(log_every=3, save_every=3, keep=1).train(tmp_path)
    last = checkpoints.path_of(Path(), 4)
    _assert_same_checkpoint(straight / last, tmp_path / last)
    assert (tmp_path / "curves.png").exists() and list((tmp_path / "samples").iterdir()) == []
    assert [row["step"] for row in _rows(tmp_path)] == [3, 4]
    assert [path.name for path in checkpoints.of_run(tmp_path)] == [last.name]  # the older one is pruned


def test_going_on_from_a_checkpoint_is_as_if_never_stopped(straight, tmp_path):
    changed = _networks()
    for network in changed.values():  # none of the initial weights may matter
        for parameter in network.parameters():
            torch.nn.init.constant_(parameter, 0.1)
    (tmp_path / "metrics.jsonl").write_bytes((straight / "metrics.jsonl").read_bytes())
    training = _trainer(changed, sample_every=2).train(tmp_path, checkpoints.path_of(straight, 2))
    assert training.num_steps_done == 4
    last = checkpoints.path_of(Path(), 4)
    _assert_same_checkpoint(straight / last, tmp_path / last)
    # rows of the steps that were done again stand once; the clock goes on
    rows = _rows(tmp_path)
    assert [row["step"] for row in rows] == [1, 2, 2, 3, 4, 4]
    assert rows[3]["seconds"] >= rows[2]["seconds"] == _rows(straight)[2]["seconds"]
    for name in ("loss/energy", "gap", "grad_norm/initializer"):
        assert rows[3][name] == _rows(straight)[3][name]


def test_a_finished_run_goes_no_further(straight, tmp_path):
    training = _trainer().train(tmp_path, checkpoints.path_of(straight, 4))
    assert training.num_steps_done == 4 and checkpoints.of_run(tmp_path) == []


@pytest.mark.parametrize("length", [1, 5])
def test_few_points_in_one_dimension(tmp_path, length):
    trainer = _trainer(_networks((1,)), Line(length), batch_size=1, num_steps=1, sample_every=1)
    trainer.train(tmp_path)
    assert (tmp_path / "samples" / "step_00000001.png").exists()


def test_a_batch_larger_than_the_set_is_refused_before_the_first_step(tmp_path):
    with pytest.raises(DataError, match="batch_size 8 is larger than the data set of 5 examples"):
        _trainer(_networks((1,)), Line(5)).train(tmp_path / "run")
    assert not (tmp_path / "run").exists()


REFUSED = {
    "shapes": (lambda: _trainer(_networks((3,))), "set SHAPE for both"),
    "the initializer's shape": (
        lambda: _trainer(_networks(initializer_shape=(3,))),
        "the initializer has shape (3,)",
    ),
    "classes": (lambda: _trainer(_networks(num_classes=3), Checkerboard(8)), "set NUM_CLASSES for both"),
    "the initializer's classes": (
        lambda: _trainer(_networks(num_classes=8, initializer_classes=0)),
        "the initializer has 0 classes, the energy 8",
    ),
    "steps": (lambda: _trainer(num_steps=0), "Trainer.num_steps must be at least 1"),
    "a class for an instance": (lambda: _trainer(runtime=Runtime), "write @Runtime()"),
    "keep": (lambda: _trainer(keep=0), "Trainer.keep must be at least 1"),
    "micro-batches": (
        lambda: _trainer(per_device_batch_size=3).micro_rows(),
        "Trainer.per_device_batch_size 3 doesn't divide the 8 samples",
    ),
    "precision": (lambda: Runtime("fp16"), "use 'bf16' or 'no'"),
    "a word for a precision": (lambda: Runtime("half"), "must be one of 'no', 'bf16', 'auto'"),
    "a tracker": (lambda: Runtime(trackers=("tensorbord",)), "Did you mean 'tensorboard'?"),
    "a tracker without brackets": (
        lambda: Runtime(trackers="tensorboard"),
        "Runtime.trackers must be tuple or list",
    ),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_cannot_work_is_refused_in_one_line(what):
    make, expected = REFUSED[what]
    with pytest.raises(ConfigurationError) as caught:
        make()
    assert expected in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("name", inspect.signature(Trainer).parameters)
def test_no_argument_is_unchecked(name):
    with pytest.raises(ConfigurationError, match=rf"^Trainer\.{name} must be "):
        _trainer(**{name: object()})


def test_the_launcher_chooses_the_precision_unless_the_configuration_does(monkeypatch):
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "bf16")
    assert Runtime().precision == "bf16" and Runtime("no").precision == "no"
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "fp16")
    with pytest.raises(ConfigurationError, match="'fp16' is not supported"):
        Runtime()


def test_a_tracker_whose_package_is_missing_is_named_before_the_first_step(tmp_path):
    from accelerate.tracking import get_available_trackers

    absent = sorted({"comet_ml", "aim", "clearml"} - {str(t) for t in get_available_trackers()})
    if not absent:
        pytest.skip("every tracker is installed")
    with pytest.raises(ConfigurationError, match=f"the package of '{absent[0]}' is missing"):
        _trainer(runtime=Runtime(trackers=absent[:1])).train(tmp_path)
    assert checkpoints.of_run(tmp_path) == []


def test_micro_batches_cover_the_batch():
    assert _trainer(per_device_batch_size=4).micro_rows() == [range(4), range(4, 8)]
    assert _trainer(per_device_batch_size=100).micro_rows() == [range(8)]


def test_processes_that_form_no_group_are_told_how_to(monkeypatch):
    """torchrun alone makes none of processes on a CPU: each would train for itself."""
    monkeypatch.setattr(runtime, "Accelerator", lambda **_: SimpleNamespace(num_processes=1))
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert Runtime(trackers=()).num_processes == 1  # a cluster's variable, not a launcher's
    monkeypatch.setenv("LOCAL_RANK", "0")
    with pytest.raises(ConfigurationError, match=r"2 processes were started.*ACCELERATE_USE_CPU=true"):
        _ = Runtime(trackers=()).num_processes
