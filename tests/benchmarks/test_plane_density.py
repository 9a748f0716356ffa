"""An energy's density in the plane against the exact one: Gaussians in closed form, and a run's."""

from __future__ import annotations

import math

import pytest
import torch

import launch
from benchmarks import plane_density
from modules import runs
from modules.data.points import GaussianMixture2D
from modules.energies.mlp import MLPEnergy
from modules.energies.normalized import NormalizedEnergy

torch.set_num_threads(1)


class _OffGaussian(NormalizedEnergy):
    """-log N(0, v I) + 0.1, which is no density: its integral is e^-0.1."""

    var = 0.09

    def potential(self, x, logsnr, label=None):
        return 0.5 * (x**2).sum(1) / self.var + math.log(2 * math.pi * self.var) + 0.1


def test_gaussians_in_closed_form():
    """At λ = 2: p = N(√ᾱ m, ᾱ s² + σ̄²), and KL = log(v/w) + w/v - 1 + |m|²/2v in the plane."""
    energy = _OffGaussian(MLPEnergy((2,), width=4, depth=1))
    data = GaussianMixture2D(num_modes=1, radius=0.1, std=0.2)
    found = plane_density.measure(energy, data, 2.0, 400, 4.0)
    alpha = 1 / (1 + math.exp(-2.0))
    w, v, apart = alpha * 0.04 + 1 - alpha, 0.09, alpha * 0.01
    assert found.integral == pytest.approx(math.exp(-0.1), rel=1e-5)
    assert found.kl_from_data == pytest.approx(math.log(v / w) + w / v - 1 + apart / (2 * v), abs=1e-5)
    assert found.kl_to_data == pytest.approx(math.log(w / v) + v / w - 1 + apart / (2 * w), abs=1e-5)
    assert found.log_p.shape == found.log_q.shape == (400, 400)


@pytest.mark.usefixtures("drawn")
def test_a_run_is_measured_and_drawn(tmp_path, capsys):
    (tmp_path / "one.gin").write_text(
        'include "one_checkerboard.gin"\nNUM_STEPS = 2\nBATCH_SIZE = 8\nMLPEnergy.width = 8\n'
        "energy/Muon.warmup_steps = 0\nTrainer.sample_every = 0\nTrainer.num_samples = 4\n"
    )
    words = ["--gin", str(tmp_path / "one.gin"), "--output", str(tmp_path / "run")]
    assert launch.main(words) == 0
    picture = tmp_path / "pictures" / "density.png"
    words = ["--run", str(tmp_path / "run"), "--size", "40", "--levels", "5", "-4", "--picture", str(picture)]
    capsys.readouterr()
    assert plane_density.main(words) == 0
    sharp, broad = (line.split() for line in capsys.readouterr().out.splitlines()[-2:])
    run, sigma = runs.load(tmp_path / "run"), (1 + math.exp(5)) ** -0.5
    half_width = 1.2 * (1 - sigma**2) ** 0.5 + 5 * sigma
    found = plane_density.measure(run.energy, run.data, 5.0, 40, half_width)
    shown = [5.0, found.kl_from_data, found.kl_to_data, found.integral]
    assert [float(figure) for figure in sharp] == pytest.approx(shown, abs=6e-5)
    assert float(broad[0]) == -4 and float(broad[1]) > 0.5  # nothing learned
    assert picture.stat().st_size > 1000


@pytest.mark.parametrize(("words", "culprit"), [([], "nowhere"), (["--size", "0"], "--size")])
def test_what_cannot_be_measured_is_one_line(tmp_path, capsys, words, culprit):
    assert plane_density.main(["--run", str(tmp_path / "nowhere"), *words]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and culprit in error and error.count("\n") == 1
