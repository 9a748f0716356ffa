"""The plain reference computes the library's numbers: what it is slower at is the same work."""

from __future__ import annotations

import pytest
import torch

from benchmarks.bare import convolutions
from benchmarks.cases import CASES
from benchmarks.interleave import interleave, ratio
from benchmarks.plain import PlainTraining, plain, plain_chain, plain_samples
from modules.energies.recovery import RecoveryPotential
from modules.samplers.langevin import Langevin

torch.set_num_threads(1)


class _Global:
    """A NoiseSource that draws from torch's generator, as the plain chain does."""

    def normals(self, purpose: str, shape: tuple[int, ...], count: int):
        return (torch.randn(4, *shape) for _ in range(count))


@pytest.mark.parametrize("name", ["points", "digits", "small16"])
def test_energies_and_chains_agree(name: str) -> None:
    method = CASES[name].method()
    energy = method.energy
    with torch.no_grad():
        for p in energy.parameters():
            p.add_(0.02 * torch.randn_like(p))
    transition = method.schedule.transition(torch.tensor([1, 6, 3, 6]))
    x_t, y = torch.randn(2, 4, *energy.shape)
    reference = plain(energy)
    torch.testing.assert_close(reference(y, transition, None), energy(y, transition), rtol=1e-4, atol=1e-4)
    torch.manual_seed(1)
    wanted = plain_chain(reference, transition, x_t, y, None, 2)
    torch.manual_seed(1)
    potential = RecoveryPotential(energy.at(transition), transition, x_t)
    got = Langevin(2).sample(potential, y, transition.step_size, _Global()).y
    moved = (wanted - y).norm()
    assert (got - wanted).norm() < 1e-3 * moved


def test_a_plain_step_learns_and_samples() -> None:
    case = CASES["points"]
    reference = PlainTraining(case.method().train())
    before = [p.clone() for p in reference.method.parameters()]
    reference.step(torch.rand(8, 2) * 2 - 1)
    moved = [not torch.equal(p, old) for p, old in zip(reference.method.parameters(), before, strict=True)]
    assert sum(moved) > len(moved) / 2
    assert plain_samples(reference.method, 3, 2, torch.device("cpu")).shape == (3, 2)


def test_bare_convolutions_are_all_of_them() -> None:
    """Operations: those of torch's own counter for E and its gradient, convolutions alone."""
    method = CASES["small16"].method()
    transition = method.schedule.transition(torch.tensor([1, 2]))
    _, operations = convolutions(method.energy.at(transition), torch.randn(2, 3, 16, 16))
    # 3x3: stem 3->32 and 3 of 32->32 at 16²; at 8² 32->64 twice, 2 of 64->64; 3 and 4 at 4² and 2²;
    # 4x4 of stride 2, a level's last convolution and the means after it: 32->32 to 8², 64->64 to 4² and 2²
    same = 256 * (3 * 32 + 3 * 32 * 32) + 64 * (2 * 32 * 64 + 2 * 64 * 64) + (16 * 3 + 4 * 4) * 64 * 64
    forward = 9 * same + 16 * (64 * 32 * 32 + (16 + 4) * 64 * 64)
    assert operations == 2 * 2 * 2 * forward
    run, _ = convolutions(CASES["points"].method().energy.at(transition), torch.randn(2, 2))
    run()  # no convolutions: nothing to do


def test_ratios_are_of_rounds() -> None:
    seconds = interleave({"one": lambda: None, "other": lambda: None}, 4)
    assert {name: len(values) for name, values in seconds.items()} == {"one": 4, "other": 4}
    assert ratio([2.0, 9.0, 4.0], [1.0, 3.0, 4.0]) == (2.0, 1.0, 3.0)
