"""One energy that proposes, refines and knows its density: the training step (spec §13)."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext

import gin
import torch
from torch import Tensor, nn

from modules.core.checks import ConfigurationError, check_bool, check_compiler, check_instance, check_number
from modules.core.noise import Noise
from modules.core.types import Batch, Chain, LossOutput, NoiseSource, Transition
from modules.data.base import Examples
from modules.energies.base import Energy
from modules.energies.normalized import NormalizedEnergy
from modules.energies.recovery import RecoveryPotential
from modules.guidance.none import NoGuidance
from modules.guidance.proposal import proposal_mean
from modules.initializers.base import Initializer
from modules.layers.dropout import drops_out, without_dropout
from modules.layers.spectral import power_iterate
from modules.losses.contrast import RecoveryContrast
from modules.losses.fokker_planck import FokkerPlanck
from modules.losses.levels import LevelLaw, MixedLevels
from modules.losses.score import LevelScore, ScoreMatching
from modules.methods.base import Method
from modules.methods.shown import Panel, first_rows
from modules.samplers.base import Sampler
from modules.schedules.continuous import ContinuousSchedule
from modules.schedules.forward import independent_pair, marginal
from modules.schedules.levels import level
from modules.schedules.score import ScoreSchedule

_CALIBRATION = 4096  # examples that the densities' constant is measured on


@gin.register
class OneEnergy(Method):
    """Score matching, level score and recovery likelihood of one energy, each in its own phase (spec §13).

    Args:
        energy: a NormalizedEnergy where the level score is learned, else any smooth energy.
        initializer: proposes where chains start, most often an OwnProposal.
        schedule: a ContinuousSchedule, or, for scores alone, a LinearSchedule.
        sampler: the chain from the proposal to the negative sample.
        score: spec §13's regression of ∇E on the noise. level_score: that of ∂U/∂λ; None: without.
        fokker_planck: ∂U/∂λ as the energy's own slopes in x say it is; None: without.
        recovery: the contrast of data and chains; None: without.
        levels: the law of λ; None: MixedLevels().
        label_dropout: probability with which a label is hidden, for classifier-free guidance (spec §7).
        compile: E's slopes and what is learnt through them as one graph (torch.compile): minutes, once.

    Raises:
        ConfigurationError: parts that don't fit together; nothing that could be compiled, or by.
    """

    panels = (
        Panel(
            "one energy: score loss ||∇E - ε||²",
            ("score_loss",),
            "healthy: falls to a plateau by level, what noise hides of ε; a rise: densities are being "
            "spoiled",
        ),
        Panel(
            "one energy: level loss (∂U/∂λ - τ)²/var",
            ("level_loss",),
            "healthy: falls below 1 at every level and settles; above 1: levels don't share a constant yet",
        ),
        Panel(
            "one energy: Fokker-Planck residual ρ(∂U/∂λ - F)/D",
            ("fokker_planck_loss",),
            "healthy: falls below 0.05 at every level; what is left parts the levels' integrals of e^-U",
        ),
    )
    bar = ("score_loss", "level_loss", "gap")
    schedule: ScoreSchedule

    def __init__(
        self,
        energy: Energy,
        initializer: Initializer,
        schedule: ScoreSchedule,
        sampler: Sampler,
        score: ScoreMatching | None = None,
        level_score: LevelScore | None = None,
        recovery: RecoveryContrast | None = None,
        levels: LevelLaw | None = None,
        label_dropout: float = 0.1,
        fokker_planck: FokkerPlanck | None = None,
        compile: bool = False,
    ) -> None:
        super().__init__(energy, initializer, schedule)
        if not isinstance(schedule, ScoreSchedule):
            raise ConfigurationError(
                f"OneEnergy.schedule must know all levels, and {type(schedule).__name__} has a fixed ladder: "
                "set OneEnergy.schedule = @ContinuousSchedule()"
            )
        check_instance("OneEnergy.sampler", sampler, Sampler)
        check_instance("OneEnergy.score", score, (ScoreMatching, type(None)))
        check_instance("OneEnergy.level_score", level_score, (LevelScore, type(None)))
        check_instance("OneEnergy.fokker_planck", fokker_planck, (FokkerPlanck, type(None)))
        check_instance("OneEnergy.recovery", recovery, (RecoveryContrast, type(None)))
        check_instance("OneEnergy.levels", levels, (LevelLaw, type(None)))
        check_number("OneEnergy.label_dropout", label_dropout, low=0, high=1)
        if "initializer" in self.networks():
            raise ConfigurationError(
                "OneEnergy trains no initializer network: set OneEnergy.initializer = @OwnProposal()"
            )
        for name, part in (("level_score", level_score), ("fokker_planck", fokker_planck)):
            if part is not None and not isinstance(energy, NormalizedEnergy):
                raise ConfigurationError(
                    f"OneEnergy.{name} needs c(λ): set OneEnergy.energy = @NormalizedEnergy() around yours"
                )
        if recovery is not None and not isinstance(schedule, ContinuousSchedule):
            raise ConfigurationError(
                "OneEnergy.recovery needs chains: set OneEnergy.schedule = @ContinuousSchedule()"
            )
        if score is None and level_score is None and fokker_planck is None and recovery is None:
            raise ConfigurationError("OneEnergy has no loss: set OneEnergy.score, level_score or recovery")
        self.sampler, self.label_dropout = sampler, label_dropout
        self.score, self.level_score, self.recovery = score, level_score, recovery
        self.fokker_planck, self._drops_out = fokker_planck, drops_out(energy)
        self.levels = MixedLevels() if levels is None else levels
        check_bool("OneEnergy.compile", compile)
        if compile:
            check_compiler("OneEnergy.compile")
            if not energy.compiles_slopes:
                raise ConfigurationError(
                    "OneEnergy.compile needs an energy that writes its slopes out, a UNetEnergy: leave it out"
                )
        self.settings = {"compile": compile}  # torch's modules have a method of that name
        self._compiled = torch.compile(energy.slopes, dynamic=False) if compile else None
        self._weights: dict[str, float] | None = None

    def begin_step(self, step: int) -> None:
        """One power iteration of every spectral norm; the weights of the losses."""
        self._weights = self._weights_at(step)
        power_iterate(self.energy)

    def _weights_at(self, step: int) -> dict[str, float]:
        """Of the losses that count, by name."""
        parts = {
            "score": self.score,
            "level": self.level_score,
            "fokker_planck": self.fokker_planck,
            "recovery": self.recovery,
        }
        weights = {name: part.phase.at(step) for name, part in parts.items() if part is not None}
        counting = {name: weight for name, weight in weights.items() if weight > 0}
        if not counting:
            raise ConfigurationError(
                f"no loss of OneEnergy counts at step {step}: mend their first_step, last_step and every"
            )
        return counting

    def forward(self, batch: Batch, noise: NoiseSource) -> LossOutput:
        """Losses of data (b, ...) at λ of the level law; recovery at the transition that λ lies in."""
        x, label = batch.image, self._drop(batch.label, noise)
        weights = self._weights_at(0) if self._weights is None else self._weights
        logsnr = self.levels.draw(self.schedule, noise).to(x.dtype)
        t = self.schedule.transition_of(logsnr)
        transition = self.schedule.transition(t, x.dtype)
        losses, watch, shown = dict[str, Tensor](), dict[str, Tensor](), dict[str, Tensor]()

        if {"score", "level", "fokker_planck"} & weights.keys():
            # ∇E on ε, ∂U/∂λ on τ and on F
            eps = noise.normal("eps", tuple(x.shape[1:]))
            x_level = marginal(x, torch.sigmoid(logsnr).sqrt(), torch.sigmoid(-logsnr).sqrt(), eps)
            slopes = (self._compiled or self.energy.slopes)(x_level, logsnr, label)
            if self.score is not None and "score" in weights:
                losses["score"] = self.score(slopes.in_x, eps, transition)
            if {"level", "fokker_planck"} & weights.keys():
                assert isinstance(self.energy, NormalizedEnergy)
                level_slope = self.energy.level_slope(slopes, logsnr, label)
                if self.level_score is not None and "level" in weights:
                    losses["level"] = self.level_score(level_slope, x, eps, logsnr)
                if self.fokker_planck is not None and "fokker_planck" in weights:
                    # where a mask hides units here, F's two slopes are taken without one
                    known = None if self._drops_out else slopes.in_x.detach()
                    with without_dropout(self.energy) if self._drops_out else nullcontext():
                        at = self.energy.at(level(logsnr), label)
                        target = self.fokker_planck.target(at, x_level, logsnr, noise, known)
                    losses["fokker_planck"] = self.fokker_planck(level_slope, target, x[0].numel())

        if self.recovery is not None and "recovery" in weights:
            # x_s⁻: the chain on p(x_s | x_t) from the energy's own proposal
            x_s, x_t = independent_pair(x, transition, noise.child("recovery"))
            proposal, chain = self._chain(x_t, transition, label, noise)
            shown = first_rows(x_t, {"proposals": proposal, "revised": chain.y}, x_s, transition)
            labels = None if label is None else torch.cat([label, label])
            both = self.energy(torch.cat([x_s, chain.y]), transition.map(lambda v: torch.cat([v, v])), labels)
            positive, negative = both.chunk(2)
            losses["recovery"] = self.recovery(positive, negative)
            watch = {**chain.watched(), "energy_positive": positive, "energy_negative": negative}
        total = torch.stack([weights[name] * loss for name, loss in losses.items()]).sum(0).mean()
        watch |= {f"{name}_loss": loss for name, loss in losses.items() if name != "recovery"}
        watched = {name: values.detach() for name, values in watch.items()}
        return LossOutput({"energy": total}, t, watched, shown)

    @torch.no_grad()
    def _chain(
        self, x_t: Tensor, transition: Transition, label: Tensor | None, noise: NoiseSource
    ) -> tuple[Tensor, Chain]:
        """The start and the chain from it on p(x_s | x_t), whose end is x_s⁻."""
        given = torch.full_like(transition.t, -1) if label is None else label
        mean = proposal_mean(NoGuidance(), self.energy, self.initializer, x_t, transition, given)
        proposal = self.initializer.propose(mean, transition, noise)
        proposal = self.start_chains(proposal, x_t, transition, label, noise)
        potential = RecoveryPotential(self.energy.at(transition, label), transition, x_t)
        chain = self.sampler.at(transition).sample(potential, proposal, transition.step_size, noise)
        self.end_chains(chain, x_t, transition, label)
        return proposal, chain

    def _drop(self, label: Tensor, noise: NoiseSource) -> Tensor | None:
        """Hide labels (b,) with probability label_dropout; None for networks without labels."""
        if self.energy.num_classes == 0:
            return None
        return torch.where(noise.uniform("label dropout") < self.label_dropout, -1, label)

    def complete(self, networks: Mapping[str, nn.Module], examples: Examples, device: torch.device) -> None:
        """Set the constant C of the densities (spec §13), by examples spread over all of them."""
        energy = networks["energy"]
        if isinstance(energy, NormalizedEnergy):
            rows = torch.arange(min(len(examples), _CALIBRATION)) * len(examples)
            rows = rows // min(len(examples), _CALIBRATION)
            images, labels = examples.rows(rows)
            like = energy.constant
            noise = Noise(0, rows.to(device), stream="calibration", dtype=like.dtype)
            energy.calibrate(
                images.to(device, like.dtype), labels[:, 0].to(device), self.schedule.logsnr_min, noise
            )
