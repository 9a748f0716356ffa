"""What the documents show works as it stands."""

from __future__ import annotations

import re
from pathlib import Path

import torch

from modules.energies.recovery import RecoveryPotential, energy_and_grad
from modules.schedules.cosine import CosineSchedule

DOCS = Path(__file__).resolve().parents[1] / "docs"


def test_the_energy_of_the_page_on_speed() -> None:
    """It gives parameters their gradients, and chains a snapshot without."""
    (block,) = re.findall(r"```python\n(.*?)```", (DOCS / "speed.md").read_text(encoding="utf-8"), re.S)
    names: dict = {}
    exec(block, names)
    torch.manual_seed(0)
    energy = names["Bumps"]()
    transition = CosineSchedule().transition(torch.tensor([1, 3, 6]))
    y = torch.randn(3, 2)
    energy(y, transition).sum().backward()
    assert all(p.grad is not None and (p.grad != 0).any() for p in energy.parameters())
    bound = energy.at(transition)
    before, _ = energy_and_grad(bound, y)
    with torch.no_grad():
        for p in energy.parameters():
            p.mul_(2.0)
    after, slope = energy_and_grad(bound, y)
    assert torch.equal(after, before) and slope.shape == y.shape
    assert not torch.allclose(energy(y, transition), before)
    assert RecoveryPotential(bound, transition, y).grad(y).isfinite().all()
