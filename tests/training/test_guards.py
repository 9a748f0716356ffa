"""NaNs, infinities and explosions: nothing is learnt from them, they're written down, a policy is kept."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import pytest
import torch

import launch
from modules.core.checks import ConfigurationError, DivergenceError
from modules.data.points import Checkerboard
from modules.data.stream import TrainingStream
from modules.energies.mlp import MLPEnergy
from modules.initializers.mlp import MLPInitializer
from modules.losses.likelihood import RecoveryLikelihoodLoss
from modules.methods.recovery import RecoveryLikelihood
from modules.runtime.runtime import Runtime
from modules.samplers.base import Sampler
from modules.samplers.langevin import Langevin
from modules.sampling.generation import Generation
from modules.schedules.cosine import CosineSchedule
from modules.storage import checkpoints
from modules.training.divergence import Divergence
from modules.training.guards import Guard, RaiseOnDivergence, Rollback, SkipStep
from modules.training.optimizers import AdamW
from modules.training.state import Training
from modules.training.trainer import Trainer
from tests.faulty import FaultyLoss, FaultySampler

torch.set_num_threads(1)

LR = 1e-2


def trainer_of(
    sampler: Sampler | None = None,
    guard: Guard | None = None,
    loss: RecoveryLikelihoodLoss | None = None,
    num_steps: int = 6,
    save_every: int = 10,
    sample_every: int = 0,
) -> Trainer:
    """Small networks on points: six steps of two micro-batches."""
    torch.manual_seed(0)
    method = RecoveryLikelihood(
        MLPEnergy((2,), width=8, depth=1, spectral_norm=True),
        MLPInitializer((2,), width=8, depth=1),
        CosineSchedule(),
        sampler or Langevin(2),
        shared_noise=True,
        energy_loss=loss,
    )
    return Trainer(
        method,
        Checkerboard(length=40),
        {"energy": AdamW(LR, clip_norm=1.0), "initializer": AdamW(LR)},
        Generation(Langevin(2)),
        num_steps,
        batch_size=8,
        per_device_batch_size=4,
        runtime=Runtime(trackers=()),
        log_every=1,
        sample_every=sample_every,
        save_every=save_every,
        num_samples=4,
        keep=10,
        guard=guard,
    )


def _rows(folder: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def _diagnostics(folder: Path) -> dict[str, dict]:
    return {p.stem: json.loads(p.read_text()) for p in sorted((folder / "diagnostics").iterdir())}


def _final(folder: Path) -> tuple[dict, dict]:
    return checkpoints.load(checkpoints.latest(folder))


def assert_same(one: dict, other: dict) -> None:
    """Tensors by group and name, to the bit."""
    assert one.keys() == other.keys()
    for group, tensors in one.items():
        assert tensors.keys() == other[group].keys()
        for name, value in tensors.items():
            assert torch.equal(value, other[group][name]), f"{group}/{name}"


FAULTS = {
    "a chain": (lambda: {"sampler": FaultySampler("nan", 2)}, "a loss, an energy or a chain isn't finite"),
    "an endless chain": (lambda: {"sampler": FaultySampler("inf", 2)}, "isn't finite"),
    # two micro-batches a step: the fault is in the second one of step 2
    "a loss": (lambda: {"loss": FaultyLoss(5, gradient=False)}, "a loss, an energy or a chain isn't finite"),
    "a gradient": (lambda: {"loss": FaultyLoss(5, gradient=True)}, "the gradient of the energy isn't finite"),
    "an explosion": (lambda: {"sampler": FaultySampler("explode", 2)}, "is above max_energy = 10000"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_step_that_diverges_changes_nothing(fault):
    """Weights, averages and optimizers are as before to the bit; power-iteration vectors may move on."""
    make, reason = FAULTS[fault]
    trainer = trainer_of(**make())
    parts = (trainer.method, trainer.optimizers, trainer.ema, trainer.runtime)
    training = Training(*parts, seed=0, max_energy=trainer.guard.max_energy)
    rows = trainer.micro_rows()
    data = TrainingStream(trainer.data.open(), 8, seed=0).iterate(0, rows)
    for _ in range(2):
        training.step(next(data), rows)
    before, numbers = copy.deepcopy(training.tensors()), copy.deepcopy(training.numbers())
    with pytest.raises(Divergence) as caught:
        training.step(next(data), rows)
    assert reason in caught.value.reason
    assert training.numbers() == numbers
    after = training.tensors()
    for group in before:
        kept = {name: v for name, v in before[group].items() if not name.endswith((".u", ".v"))}
        assert_same({group: kept}, {group: {name: after[group][name] for name in kept}})
    assert all(p.grad is None for network in training.networks.values() for p in network.parameters())
    # and the next step is well
    training.skip()
    training.step(next(data), rows)
    assert all(v.isfinite().all() for group in training.tensors().values() for v in group.values())
    assert training.numbers()["updates"] == {"energy": 3, "initializer": 3}


def test_without_a_policy_the_run_stops_in_one_line_and_says_where(tmp_path):
    with pytest.raises(DivergenceError) as caught:
        trainer_of(FaultySampler("nan", 3), save_every=2).train(tmp_path)
    message = str(caught.value)
    assert "\n" not in message and caught.value.exit_code == 3
    assert "training diverged at step 4" in message and "@Rollback()" in message
    assert checkpoints.latest(tmp_path).name == "step_00000002"
    assert [row["step"] for row in _rows(tmp_path)] == [1, 2, 3]

    found = _diagnostics(tmp_path)["step_00000004"]
    assert str(tmp_path / "diagnostics" / "step_00000004.json") in message
    assert (found["step"], found["action"]) == (4, "stopped")
    assert found["losses"]["energy"] == ["nan", "nan"] and found["grad_norms"]["energy"] == "nan"
    rows = found["rows"]
    assert [row["row"] for row in rows] == list(range(8))
    # the fault is in the first row of each micro-batch
    assert [row["row"] for row in rows if row["energy_negative"] == "nan"] == [0, 4]
    assert all(isinstance(row["energy_positive"], float) and 1 <= row["t"] <= 6 for row in rows)
    stream = TrainingStream(Checkerboard(length=40).open(), 8, seed=0)
    assert [row["index"] for row in rows] == stream.indices(3, range(8)).tolist()


def test_a_skipped_step_is_counted_and_the_run_goes_on(tmp_path):
    """At the last step too, which is saved all the same."""
    training = trainer_of(FaultySampler("nan", 5), SkipStep()).train(tmp_path)
    assert (training.num_steps_done, training.num_skips) == (6, 1)
    _, state = _final(tmp_path)
    assert (state["step"], state["skips"], state["updates"]["energy"]) == (6, 1, 5)
    assert _diagnostics(tmp_path)["step_00000006"]["action"] == "skipped, number 1 of at most 10"
    assert [row["skips"] for row in _rows(tmp_path)] == [0, 0, 0, 0, 0, 1]
    # the weights are those of five steps of a run without the fault
    trainer_of(num_steps=5).train(tmp_path / "plain")
    tensors, plain = _final(tmp_path)[0], _final(tmp_path / "plain")[0]
    for group in ("energy_ema", "initializer", "initializer_optimizer", "energy_optimizer"):
        assert_same({group: tensors[group]}, {group: plain[group]})


class AlwaysFaulty(FaultySampler):
    """At every step from `step` on."""

    def sample(self, potential, y, step_size, noise, free=None):
        self.step, first = max(self.step, noise.step), self.step
        try:
            return super().sample(potential, y, step_size, noise, free)
        finally:
            self.step = first


def test_skips_are_bounded(tmp_path):
    with pytest.raises(DivergenceError, match=r"diverged at step 5.*2 steps were skipped before"):
        trainer_of(AlwaysFaulty("nan", 2), SkipStep(max_skips=2)).train(tmp_path)
    assert list(_diagnostics(tmp_path)) == ["step_00000003", "step_00000004", "step_00000005"]


def test_a_rollback_goes_on_from_the_checkpoint_with_other_noise_and_lower_rates(tmp_path):
    sampler = FaultySampler("nan", 3)
    training = trainer_of(sampler, Rollback(), save_every=2).train(tmp_path)
    assert (training.num_steps_done, training.num_rollbacks, training.lr_factor) == (6, 1, 0.5)
    again = "train/rollback 1"
    expected = [("train", 0), ("train", 1), ("train", 2), ("train", 3)] + [(again, n) for n in (2, 3, 4, 5)]
    assert sampler.seen[::2] == expected
    found = _diagnostics(tmp_path)["step_00000004"]
    assert found["action"] == "back to step 2, learning rates x 0.5, number 1 of at most 10"
    rows = _rows(tmp_path)
    assert [row["step"] for row in rows] == [1, 2, 3, 4, 5, 6]
    assert [row["lr/energy"] for row in rows] == [LR, LR, *4 * [LR / 2]]
    assert [row["rollbacks"] for row in rows] == [0, 0, 1, 1, 1, 1]
    # steps 1 and 2 are those of a run without the fault, what follows isn't
    trainer_of().train(tmp_path / "plain")
    plain = _rows(tmp_path / "plain")
    assert [a["loss/energy"] == b["loss/energy"] for a, b in zip(rows, plain, strict=True)] == [True] * 2 + [
        False
    ] * 4


def test_a_rollback_changes_the_noise_without_lower_rates_too(tmp_path):
    """A step again from the same weights, at the same rates: another loss."""
    trainer_of(FaultySampler("nan", 1), Rollback(lr_factor=1.0), num_steps=2).train(tmp_path)
    trainer_of(num_steps=2).train(tmp_path / "plain")
    ours, plain = _rows(tmp_path), _rows(tmp_path / "plain")
    assert [row["lr/energy"] for row in ours] == [row["lr/energy"] for row in plain] == [LR, LR]
    assert all(a["displacement"] != b["displacement"] for a, b in zip(ours, plain, strict=True))


def test_a_divergence_right_after_a_save_goes_back_to_it(tmp_path):
    trainer_of(FaultySampler("nan", 2), Rollback(), num_steps=3, save_every=1).train(tmp_path)
    assert _diagnostics(tmp_path)["step_00000003"]["action"].startswith("back to step 2,")


def test_a_rollback_before_the_first_checkpoint_goes_to_the_start(tmp_path):
    training = trainer_of(FaultySampler("nan", 1), Rollback()).train(tmp_path)
    assert (training.num_steps_done, training.num_rollbacks) == (6, 1)
    assert [p.name for p in checkpoints.of_run(tmp_path)] == ["step_00000000", "step_00000006"]


def test_rollbacks_are_bounded_and_each_has_its_file(tmp_path):
    guard = Rollback(max_rollbacks=2, lr_factor=0.1)
    with pytest.raises(DivergenceError, match=r"diverged at step 4.*2 rollbacks were made before"):
        trainer_of(FaultySampler("explode", 3, stream="train*"), guard, save_every=2).train(tmp_path)
    found = _diagnostics(tmp_path)
    assert list(found) == [f"step_00000004{end}" for end in ("", "_rollback_1", "_rollback_2")]
    actions = [f["action"].split(",")[0] for f in found.values()]
    assert actions == ["back to step 2", "back to step 0", "stopped"]
    assert "rates x 0.01," in found["step_00000004_rollback_1"]["action"]


def test_resuming_after_a_rollback_and_a_skip_is_exact(tmp_path):
    """Six steps straight with the fault, and the same resumed from the checkpoint that follows it."""
    for name, guard in (("back", Rollback()), ("skip", SkipStep())):
        folder = tmp_path / name
        trainer_of(FaultySampler("nan", 3), guard, save_every=2).train(folder / "straight")
        first = checkpoints.path_of(folder / "straight", 4)
        training = trainer_of(FaultySampler("nan", 3), guard).train(folder / "resumed", first)
        assert (training.num_rollbacks, training.num_skips) == ((1, 0) if name == "back" else (0, 1))
        (ours, state), (theirs, other) = _final(folder / "straight"), _final(folder / "resumed")
        assert state == other
        assert_same(ours, theirs)


def test_guards_change_nothing_of_a_healthy_run(tmp_path):
    """And states that were saved before there were guards load."""
    guards = (RaiseOnDivergence(), SkipStep(max_energy=1e9), Rollback())
    finals = []
    for n, guard in enumerate(guards):
        trainer_of(guard=guard).train(tmp_path / str(n))
        finals.append(_final(tmp_path / str(n)))
    for tensors, state in finals[1:]:
        assert state == finals[0][1]
        assert_same(tensors, finals[0][0])
    tensors, state = finals[0]
    old = {k: v for k, v in state.items() if k not in ("skips", "rollbacks", "lr_factor")}
    trainer = trainer_of()
    training = Training(trainer.method, trainer.optimizers, trainer.ema, trainer.runtime, 0)
    training.restore(tensors, old)
    assert (training.num_skips, training.num_rollbacks, training.lr_factor) == (0, 0, 1.0)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: RaiseOnDivergence(max_energy=0), ["RaiseOnDivergence.max_energy", "above 0"]),
        (lambda: SkipStep(0), ["SkipStep.max_skips", "at least 1"]),
        (lambda: Rollback(1.5), ["Rollback.max_rollbacks", "integer"]),
        (lambda: Rollback(lr_factor=0), ["Rollback.lr_factor", "above 0"]),
        (lambda: Rollback(lr_factor=1.5), ["Rollback.lr_factor", "at most 1"]),
        (lambda: trainer_of(guard=Rollback), ["Trainer.guard", "write @Rollback()"]),
        (lambda: trainer_of(guard="rollback"), ["Trainer.guard must be Guard"]),
    ],
)
def test_faults_are_named(make, words):
    with pytest.raises(ConfigurationError) as caught:
        make()
    assert "\n" not in str(caught.value)
    assert all(word in str(caught.value) for word in words), str(caught.value)


def test_a_second_rollback_to_the_same_checkpoint_goes_to_the_one_before(tmp_path):
    """Step 6 diverges in each attempt: after step 4's checkpoint comes step 2's, then 4's, written anew."""
    sampler = FaultySampler("nan", 5, stream="train*")
    trainer = trainer_of(sampler, Rollback(max_rollbacks=3), save_every=2)
    with pytest.raises(DivergenceError):
        trainer.train(tmp_path)
    actions = [found["action"].split(",")[0] for found in _diagnostics(tmp_path).values()]
    assert actions == ["back to step 4", "back to step 2", "back to step 4", "stopped"]
    assert [path.name[-1] for path in checkpoints.of_run(tmp_path)] == ["0", "2", "4"]


def test_the_way_that_was_left_is_never_resumed(tmp_path):
    """Back at step 2: steps 4 and 6 are gone, and 6 as the best step counts as older than the way back."""
    trainer = trainer_of(FaultySampler("nan", 99), Rollback(), save_every=2)
    training = trainer.train(tmp_path)
    assert [checkpoints.step_of(path) for path in checkpoints.of_run(tmp_path)] == [0, 2, 4, 6]
    checkpoints.save(checkpoints.best_path_of(tmp_path, 6), training.tensors(), training.numbers())
    training.num_steps_done, training.rolled_back_to = 3, None  # a divergence after step 3
    assert "back to step 2" in trainer.guard.remedy(training, tmp_path)
    assert [checkpoints.step_of(path) for path in checkpoints.of_run(tmp_path)] == [0, 2]
    found = checkpoints.latest(tmp_path)
    assert found == checkpoints.path_of(tmp_path, 2)
    state = checkpoints.load(found)[1]
    assert (state["rollbacks"], state["lr_factor"]) == (1, 0.5)


def _too_fast(guard: Guard) -> Trainer:
    """A learning rate of 0.3, where 0.01 would do."""
    torch.manual_seed(0)
    return Trainer(
        RecoveryLikelihood(
            MLPEnergy((2,), width=32, depth=1, zero_head=True),
            MLPInitializer((2,), width=16, depth=1),
            CosineSchedule(),
            Langevin(5),
            shared_noise=True,
        ),
        Checkerboard(length=1000),
        {"energy": AdamW(0.3, clip_norm=1.0), "initializer": AdamW(1e-3)},
        Generation(Langevin(5)),
        num_steps=60,
        batch_size=64,
        runtime=Runtime(trackers=()),
        log_every=10,
        sample_every=0,
        save_every=30,
        guard=guard,
    )


def test_rollback_saves_what_raise_stops(tmp_path):
    """Measured: it diverges at step 3; two rollbacks, and energies of about -1 with chains that move by 0.4.

    Other noise alone doesn't help, nor does leaving steps out.
    """
    for guard in (RaiseOnDivergence(), SkipStep(), Rollback(max_rollbacks=4, lr_factor=1.0)):
        with pytest.raises(DivergenceError):
            _too_fast(guard).train(tmp_path / type(guard).__name__)
    training = _too_fast(Rollback()).train(tmp_path / "saved")
    assert training.num_steps_done == 60 and 1 <= training.num_rollbacks <= 4
    last = _rows(tmp_path / "saved")[-1]
    assert abs(last["energy_negative"]) < 10 and abs(last["gap"]) < 0.5 and last["displacement"] < 1


DIGITS = """\
include "cdrl_digits.gin"
ENERGY_START = 100
NUM_STEPS = 500
ENERGY_LR = 0.03 # 1e-3 in cdrl_digits.gin
energy/AdamW.decay_steps = 0
Trainer.save_every = 50
Trainer.sample_every = 100
"""


@pytest.mark.slow
def test_on_the_digits_rollback_saves_what_raise_stops(tmp_path, capsys):
    """Measured: raise stops at step 131; rollback ends at samples 0.15 from data, whose own floor is 0.17."""
    (tmp_path / "fast.gin").write_text(DIGITS)
    words = ["--gin", str(tmp_path / "fast.gin"), "--output"]
    assert launch.main([*words, str(tmp_path / "raise")]) == 3
    assert "training diverged at step 1" in capsys.readouterr().err
    assert launch.main([*words, str(tmp_path / "back"), "--set", "Trainer.guard=@Rollback()"]) == 0
    training = checkpoints.load(checkpoints.path_of(tmp_path / "back", 500))[1]
    assert 1 <= training["rollbacks"] <= 8
    sampled = [row for row in _rows(tmp_path / "back") if "sample_distance" in row]
    assert sampled[-1]["step"] == 500
    assert sampled[-1]["sample_distance"] < 1.2 * sampled[-1]["sample_distance_floor"]
    assert sampled[-1]["sample_distance"] < sampled[0]["sample_distance"]
