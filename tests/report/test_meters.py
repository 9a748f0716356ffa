"""Means by level, over samples and processes."""

from __future__ import annotations

import json

import pytest
import torch

from modules.report.meters import LevelMeter


def test_means_are_over_samples_not_over_batches():
    meter = LevelMeter(3, torch.device("cpu"))
    meter.add(torch.tensor([1, 3, 3]), {"energy": torch.tensor([2.0, 4.0, 6.0])})
    meter.add(torch.tensor([1]), {"energy": torch.tensor([8.0]), "other": torch.tensor([1.0])})
    read = meter.read(lambda sums: sums)
    assert read == {"energy": 5.0, "energy/1": 5.0, "energy/3": 5.0, "other": 1.0, "other/1": 1.0}
    assert meter.read(lambda sums: sums) == {}


def test_processes_weigh_by_their_samples():
    """The other process has three samples of 0 at level 1, and one of 10 at level 2."""
    other = torch.tensor([[0.0, 10.0], [3.0, 1.0]])
    meter = LevelMeter(2, torch.device("cpu"))
    meter.add(torch.tensor([1]), {"energy": torch.tensor([4.0])})
    assert meter.read(lambda sums: sums + other) == {"energy": 2.8, "energy/1": 1.0, "energy/2": 10.0}


def test_sums_go_on_where_they_were_saved():
    """By JSON, to the last bit; those of other levels are left out."""
    straight, first, second = (LevelMeter(2, torch.device("cpu")) for _ in range(3))
    values = torch.rand(5, 8, generator=torch.Generator().manual_seed(0)) / 3
    for step, of_step in enumerate(values):
        for meter in (straight, first if step < 3 else second):
            if step == 3 and meter is second:
                second.load({**json.loads(json.dumps(first.state())), "other": [[1.0], [1.0]]})
            meter.add(torch.tensor([1, 2] * 4), {"energy": of_step})
    assert straight.state() == second.state() and list(second.state()) == ["energy"]
    both = LevelMeter(2, torch.device("cpu"))
    both.load(first.state())
    both.load(first.state())  # of two processes
    assert both.state()["energy"][1] == [24.0, 24.0]
    assert second.read(lambda sums: sums)["energy"] == pytest.approx(float(values.mean()), rel=1e-6)


def test_sums_keep_small_gaps_of_large_energies():
    meter = LevelMeter(1, torch.device("cpu"))
    for _ in range(100):
        meter.add(torch.ones(10_000, dtype=torch.int64), {"energy": torch.full((10_000,), 1e4 + 0.0625)})
    assert abs(meter.read(lambda sums: sums)["energy"] - 10_000.0625) < 1e-9


def test_a_thousand_levels_are_a_few_groups():
    """The groups hold every level once, and are named by their last."""
    meter = LevelMeter(1000, torch.device("cpu"))
    t = torch.arange(1, 1001)
    meter.add(t, {"energy": t.double()})
    read = meter.read(lambda sums: sums)
    assert list(read) == ["energy", *(f"energy/{last}" for last in range(50, 1001, 50))]
    assert read["energy"] == 500.5 and read["energy/50"] == 25.5 and read["energy/1000"] == 975.5
    uneven = LevelMeter(30, torch.device("cpu"))
    uneven.add(torch.arange(1, 31), {"n": torch.ones(30)})
    names = [name for name in uneven.read(lambda sums: sums) if "/" in name]
    assert len(names) == 20 and names[-1] == "n/30"
