"""A run of one's own networks, without a folder or gin."""

from __future__ import annotations

import pytest
import torch

from modules.core.checks import ConfigurationError, DataError
from modules.data.digits import Digits
from modules.data.points import Checkerboard
from modules.energies.mlp import MLPEnergy
from modules.evaluation.evaluation import Evaluation
from modules.features.pixels import RawPixels
from modules.initializers.copy import CopyInitializer
from modules.methods.recovery import RecoveryLikelihood
from modules.metrics.sliced_wasserstein import SlicedWasserstein
from modules.runs.run import Run
from modules.runtime.runtime import Runtime
from modules.samplers.langevin import Langevin
from modules.sampling.generation import Generation
from modules.schedules.cosine import CosineSchedule

torch.set_num_threads(1)

SHAPE = (1, 4, 4)


def _run(seed: int = 0, shape=SHAPE, num_classes=3, **more) -> Run:
    torch.manual_seed(seed)
    energy = MLPEnergy(shape, num_classes, width=8, depth=1)
    method = RecoveryLikelihood(
        energy, CopyInitializer(shape), CosineSchedule(), Langevin(2), shared_noise=False
    )
    return Run(method, Generation(Langevin(2)), runtime=Runtime(trackers=()), **more)


def test_it_generates_completes_goes_between_and_composes():
    run = _run()
    assert not any(p.requires_grad for p in run.method.parameters())
    drawn = run.generate(4, label=1, seed=3).x
    assert drawn.shape == (4, *SHAPE)
    torch.testing.assert_close(run.generate(2, label=1, seed=3).x, drawn[:2], rtol=1e-3, atol=1e-3)
    mask = torch.zeros(4, 4)
    mask[:2] = 1
    completed = run.inpaint(drawn[:2].clamp(-1, 1), mask, completions=2)
    assert torch.equal(completed[:, 1, :, :2], drawn[:2].clamp(-1, 1)[:, :, :2])
    assert run.interpolate(1, frames=3).shape == (1, 3, *SHAPE)
    both = run.composed_with([_run(1)], [1.0, 1.0]).generate(2, label=1, seed=3).x
    assert both.isfinite().all() and not torch.equal(both, drawn[:2])
    assert run.with_conditions([0, 2], [1.0, -0.5]).generate(2).x.isfinite().all()


def test_known_pixels_go_the_way_that_the_method_trained():
    """Independent noises here: the way of a Generation that nobody told otherwise is the method's."""
    run = _run()
    assert run.generation.inpainting.shared_noise is False
    shared = RecoveryLikelihood(run.energy, run.initializer, CosineSchedule(), Langevin(2), shared_noise=True)
    assert Run(shared, Generation(Langevin(2))).generation.inpainting.shared_noise is True


def test_it_measures_what_it_draws(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    evaluation = Evaluation([SlicedWasserstein()], RawPixels(), 20, num_references=30)
    run = _run(shape=(2,), num_classes=0, data=Checkerboard(), evaluation=evaluation, name="mine")
    measured = run.evaluate(seed=1)
    assert measured.protocol["run"] == "mine" and measured.protocol["weights"] == "live"
    opened = run.evaluator()
    assert run.evaluate(opened, seed=1).values == measured.values != run.evaluate(opened, seed=2).values


FAULTS = {
    "a network for a method": (lambda: Run(MLPEnergy((2,)), Generation(Langevin(1))), "Run.method"),
    "data of another shape": (lambda: _run(data=Digits()), "the data has shape .1, 8, 8., the energy"),
    "nothing to measure by": (lambda: _run().evaluate(), "these networks has no evaluation"),
    "nothing to measure beside": (
        lambda: _run().evaluate(Evaluation([SlicedWasserstein()], RawPixels(), 4)),
        "made without data",
    ),
}


@pytest.mark.parametrize("case", FAULTS)
def test_what_it_cannot_do_is_told(case):
    ask, line = FAULTS[case]
    with pytest.raises((ConfigurationError, DataError), match=line):
        ask()
