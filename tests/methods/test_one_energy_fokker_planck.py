"""The Fokker-Planck loss in one energy's training step: its value, its gradient, its target (spec §13)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from modules.energies.image import NetworkEnergy
from modules.energies.normalized import NormalizedEnergy
from modules.losses.fokker_planck import FokkerPlanck
from tests.methods.quadratic import known, method_of, noise_of, step_of

torch.set_num_threads(1)


def test_the_fokker_planck_loss_at_recorded_noise() -> None:
    """E = 0.4||x||² + 0.3 λ Σx has ΔE = 1.6, which signs find exactly; U's slope as above; D = 2."""
    method = method_of(level_score=None, fokker_planck=FokkerPlanck(weight=0.7, every=2, limit=1e9))
    out = step_of(method, 0)
    _, eps, x_level, logsnr, alpha_bar, noise_var = known(noise_of())
    sigma, slope = noise_var.sqrt(), 0.8 * x_level + 0.3 * logsnr[:, None]
    energy = 0.4 * x_level.square().sum(1) + 0.3 * logsnr * x_level.sum(1)
    level_slope = 0.3 * x_level.sum(1) / sigma + energy * 0.5 * alpha_bar / sigma - alpha_bar
    drift = slope.square().sum(1) - sigma * (x_level * slope).sum(1)
    losses = (level_slope - 0.5 * (2 * noise_var + drift - sigma * 1.6)) ** 2 / 2
    torch.testing.assert_close(out.watch["fokker_planck_loss"], losses, rtol=1e-8, atol=1e-8)
    score = (slope - eps).square().sum(1)
    torch.testing.assert_close(out.losses["energy"], (score + 0.7 * losses).mean(), rtol=1e-8, atol=0)
    assert set(out.watch) == {"score_loss", "fokker_planck_loss"}
    # its target is a number: the gradient is that of the level's slope alone
    out.losses["energy"].backward()
    quadratic = method.energy.energy
    in_a = 0.5 * x_level.square().sum(1) * 0.5 * alpha_bar / sigma
    residual = level_slope - 0.5 * (2 * noise_var + drift - sigma * 1.6)
    wanted = (2 * (slope - eps) * x_level).sum(1) + 0.7 * residual * in_a
    torch.testing.assert_close(quadratic.a.grad, wanted.mean(), rtol=1e-7, atol=1e-9)
    assert "fokker_planck_loss" not in step_of(method, 1).watch


def test_the_fokker_planck_target_is_taken_without_dropout() -> None:
    """With a mask over units the probe's two slopes would differ by the mask, thousands of nats."""

    def target(rate: float) -> Tensor:
        net = nn.Sequential(nn.Linear(2, 32), nn.Tanh(), nn.Dropout(rate), nn.Linear(32, 2))
        with torch.no_grad():
            for value in net.parameters():
                value.copy_(torch.linspace(-0.5, 0.5, value.numel()).view_as(value))

        class OfX(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.net = net

            def forward(self, x: Tensor, logsnr: Tensor) -> Tensor:
                return self.net(x)

        energy = NormalizedEnergy(NetworkEnergy(OfX(), (2,), data_var=0.3)).double()
        method = method_of(energy, level_score=None, recovery=None, fokker_planck=FokkerPlanck())
        seen = {}
        inner = method.fokker_planck.target
        method.fokker_planck.target = lambda *given: seen.setdefault("target", inner(*given))
        step_of(method, 0)
        return seen["target"]

    torch.testing.assert_close(target(0.5), target(0.0), rtol=1e-9, atol=1e-9)
