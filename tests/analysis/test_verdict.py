"""The verdict on long-run chains: errors that are right on series of known law, and what must be caught."""

from __future__ import annotations

import pytest
import torch

from modules.analysis.verdict import drift, judge_chains
from modules.core.checks import ConfigurationError
from modules.core.noise import Noise


def _ar(length: int, chains: int, memory: float, seed: int = 0) -> torch.Tensor:
    """(length, chains) of stationary first-order autoregressions of variance 1."""
    noise = Noise(seed, torch.arange(chains), stream="ar", dtype=torch.float64)
    x = noise.normal("start", ())
    rows = []
    for z in noise.normals("step", (), length):
        rows.append(x)
        x = memory * x + (1 - memory**2) ** 0.5 * z
    return torch.stack(rows)


@pytest.mark.parametrize("memory", [0.0, 0.9, 0.999])
def test_the_error_is_the_spread_of_the_drift(memory):
    """Over 60 repetitions; a memory of 1,000 records is longer than a batch of 20, and chains tell it."""
    drifts, errors = zip(*(drift(_ar(400, 32, memory, seed)) for seed in range(60)), strict=True)
    spread = torch.tensor(drifts).std().item()
    assert 0.75 < torch.tensor(errors).mean().item() / spread < 1.35  # the spread itself is known to 9%
    assert sum(abs(d) > 2 * e for d, e in zip(drifts, errors, strict=True)) <= 8  # 5% of 60, and their noise


def test_a_single_chain_has_batches_in_time():
    drifts, errors = zip(*(drift(_ar(2000, 1, 0.8, seed)) for seed in range(60)), strict=True)
    assert 0.6 < torch.tensor(errors).mean().item() / torch.tensor(drifts).std().item() < 1.3


def _judged(energy, recognised=None):
    return judge_chains(energy, _ar(400, 32, 0.5, 9), 4000, recognised)


def test_a_stationary_series_is_stable():
    verdict = _judged(_ar(400, 32, 0.9), recognised=(0.9, 0.82))
    assert verdict.stable and verdict.word == "stable" and verdict.reasons == []
    assert verdict.figures["recognised_end"] == 0.82


@pytest.mark.parametrize("chains", [1, 32])
@pytest.mark.parametrize("flight", ["slow", "one chain", "explosion at the end"])
def test_what_runs_away_is_unstable(flight, chains):
    energy, time = _ar(400, chains, 0.9), torch.linspace(0, 1, 400).double()[:, None]
    if flight == "slow":
        energy = energy - 4 * time
    elif flight == "one chain":
        energy[:, :1] -= 300 * time
    else:
        energy = energy - (1000 * (time - 0.99)).exp()
    verdict = _judged(energy)
    assert not verdict.stable and verdict.word == "unstable"
    assert verdict.reasons[0].startswith("the energy drifts by -") and verdict.figures["energy_drift"] < 0


def test_a_displacement_that_grows_is_unstable_with_its_slope():
    growing = 0.01 * torch.arange(401).double()[:, None] + 0.001 * _ar(401, 32, 0.0)
    verdict = judge_chains(_ar(401, 32, 0.0), growing, 4000)
    assert [reason.split(" drifts")[0] for reason in verdict.reasons] == ["the displacement"]
    assert verdict.figures["displacement_slope"] == pytest.approx(0.001, rel=0.02)  # 10 steps a record


def test_what_is_not_finite_or_no_longer_recognised_is_unstable():
    broken = _ar(400, 32, 0.5)
    broken[-1, 3] = float("nan")
    assert _judged(broken).reasons == ["the energy is not finite"]
    assert _judged(_ar(400, 32, 0.9), recognised=(0.9, 0.8)).reasons == [
        "recognised falls from 90.0% to 80.0%"
    ]


def test_too_few_records_are_refused():
    with pytest.raises(ConfigurationError, match="19 records are left after the burn-in; a verdict needs 20"):
        judge_chains(torch.zeros(38, 4), torch.zeros(38, 4), 100)
