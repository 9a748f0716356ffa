"""An energy that knows its own normalizing constant at every level (spec §13)."""

from __future__ import annotations

import math

import gin
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from modules.core.checks import DataError, check_instance
from modules.core.tensors import expand_as
from modules.core.types import EnergyFn, NoiseSource, Transition
from modules.energies.base import Energy, Slopes
from modules.layers.embeddings import LevelEmbedding, level_position
from modules.layers.precision import full_precision
from modules.schedules.levels import level

_WAVES = 40.0  # radians in 20 of λ


@gin.register
class NormalizedEnergy(Energy):
    """U(x, λ[, label]) = E/σ̄ + ℓ(λ) + c(λ[, label]) - C = -log p_λ(x), in nats (spec §13).

    ℓ is the energy's own `log_partition`, D log σ̄ for most; c is a small network that starts at 0; C, a
    number for each label, is known where data are nearly N(0, I) and kept with the weights: see `calibrate`.
    Chains and proposals see E alone.

    Args:
        energy: E, smooth, of which -log p = E/σ̄ + const.
        width: numbers of c's hidden layers.
    """

    constant: Tensor

    def __init__(self, energy: Energy, width: int = 64) -> None:
        check_instance("NormalizedEnergy.energy", energy, Energy)
        super().__init__(energy.shape, energy.num_classes)
        self.energy, self.width, self.channels_last = energy, width, energy.channels_last
        self.compiles_slopes = energy.compiles_slopes
        self.embedding = LevelEmbedding(width // 2, width, energy.num_classes, F.silu)
        self.head = nn.Linear(width, 1, bias=False)  # of a bias nobody could learn: C takes it away
        nn.init.zeros_(self.head.weight)
        self.register_buffer("constant", torch.zeros(energy.num_classes + 1))

    def forward(self, y: Tensor, transition: Transition, label: Tensor | None = None) -> Tensor:
        """E (b,)."""
        return self.energy(y, transition, label)

    def at(self, transition: Transition, label: Tensor | None = None) -> EnergyFn:
        """E's own."""
        return self.energy.at(transition, label)

    def slopes(self, x: Tensor, logsnr: Tensor, label: Tensor | None = None) -> Slopes:
        """E's own."""
        return self.energy.slopes(x, logsnr, label)

    def level_slope(self, slopes: Slopes, logsnr: Tensor, label: Tensor | None = None) -> Tensor:
        """∂U/∂λ (b,) at fixed x, from E's slopes there; dσ̄/dλ = -½ᾱσ̄."""
        assert slopes.in_level is not None
        half = 0.5 * torch.sigmoid(logsnr)
        of_energy = (slopes.in_level + half * slopes.value) / torch.sigmoid(-logsnr).sqrt()
        return of_energy + self.energy.log_partition(logsnr)[1] + self._c(logsnr, label)[1]

    def potential(self, x: Tensor, logsnr: Tensor, label: Tensor | None = None) -> Tensor:
        """U (b,) of x (b, *shape), noisy to λ (b,): -log p_λ(x) in nats, once calibrated; differentiable."""
        sigma = torch.sigmoid(-logsnr).sqrt()
        c, _ = self._c(logsnr, label)
        index = torch.zeros_like(logsnr, dtype=torch.int64) if label is None else label + 1
        value = self.energy(x, level(logsnr), label) / sigma
        return value + self.energy.log_partition(logsnr)[0] + c - self.constant[index]

    def _c(self, logsnr: Tensor, label: Tensor | None) -> tuple[Tensor, Tensor]:
        """c (b,) and dc/dλ (b,)."""
        with full_precision(logsnr):
            position, rate = level_position(logsnr, _WAVES)
            e, moved = self.embedding.with_tangent(position, label)
            s = torch.sigmoid(e)
            slope = F.linear(moved * (s * (1 + e * (1 - s))), self.head.weight)[:, 0] * rate
            return self.head(e * s)[:, 0], slope

    @torch.no_grad()
    def calibrate(self, images: Tensor, labels: Tensor, logsnr_min: float, noise: NoiseSource) -> None:
        """Set C so that U is -log p at λ_min: C = mean [ U(x_λ) + log p̂(x_λ) ] over data (spec §13).

        p̂ is the mixture of N(√ᾱ x_i, σ̄² I) over the examples, of a class where the label is one.

        Args:
            images: (n, *shape), clean examples; more than a few thousand change nothing.
            labels: (n,) int64, -1 = none. noise: of n rows.
            logsnr_min: λ of a level that is nearly N(0, I).
        """
        if not len(images):
            raise DataError("the constant of the energy's density needs examples, got none")
        self.constant.zero_()
        eps = noise.normal("constant", self.shape)
        logsnr = torch.full((len(images),), logsnr_min, device=images.device, dtype=images.dtype)
        alpha, sigma = torch.sigmoid(logsnr).sqrt(), torch.sigmoid(-logsnr).sqrt()
        for label in range(-1, self.num_classes):
            mine = torch.nonzero(labels == label if label >= 0 else labels == labels)[:, 0]
            if not len(mine):
                continue  # a class without examples keeps the constant 0, and U of it means nothing
            centres = expand_as(alpha[mine], images[mine]) * images[mine]
            x = centres + expand_as(sigma[mine], centres) * eps[mine]
            given = torch.full_like(mine, label) if self.num_classes else None
            found = []
            for part in torch.arange(len(mine), device=images.device).split(512):
                u = self.potential(x[part], logsnr[part], None if given is None else given[part])
                found.append(u + log_mixture(x[part], centres, float(sigma[0])))
            self.constant[label + 1] = torch.cat(found).mean()


def log_mixture(x: Tensor, centres: Tensor, sigma: float) -> Tensor:
    """log of the mean over n centres of N(x; centre, σ² I): x (b, ...), centres (n, ...) -> (b,)."""
    size = x[0].numel()
    square = torch.cdist(x.flatten(1).double(), centres.flatten(1).double()) ** 2
    log_normal = -square / (2 * sigma**2) - 0.5 * size * math.log(2 * math.pi * sigma**2)
    return (log_normal.logsumexp(1) - math.log(len(centres))).to(x.dtype)
