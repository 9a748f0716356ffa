"""What each part of one energy does: variants of gin/one_digits.gin, each trained for the same CPU seconds.

    python -m benchmarks.one_energy_parts --seconds 100 --seeds 0 1 2 --json parts.jsonl
    python -m benchmarks.one_energy_parts --only "scores and chains" --walks 6,5,1 6,0,1 12,5,1 25,0,1

Steps of both phases are timed first, and the run's numbers of steps follow: a variant that learns from chains
gives them a third of its seconds. Walks are T,K,η: 1,000 digits each, judged as by benchmarks.digits_quality.
CPU seconds are the process's own: other work on the machine changes them less than the clock's.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from benchmarks import command
from benchmarks.digits_quality import digits_distance
from benchmarks.judge_digits import Judge
from modules import config
from modules.initializers.copy import CopyInitializer
from modules.initializers.own import OwnInitializer
from modules.samplers.langevin import Langevin
from modules.sampling.draw import Draw
from modules.sampling.generation import Generation
from modules.sampling.indexed import sample
from modules.training.state import Training
from modules.training.trainer import Trainer

_ONE = "gin/one_digits.gin"
_SMOOTH_RESNET = (
    "NormalizedEnergy.energy=@CooperativeResNet()",
    "CooperativeResNet.shape=%SHAPE",
    "CooperativeResNet.channels=32",
    "CooperativeResNet.channel_mult=(1, 2)",
    "CooperativeResNet.num_blocks=2",
    "CooperativeResNet.activation='silu'",
    "CooperativeResNet.zero_head=True",
)
_MLP = (
    "NormalizedEnergy.energy=@MLPEnergy()",
    "MLPEnergy.shape=%SHAPE",
    "MLPEnergy.width=512",
    "MLPEnergy.depth=2",
    "MLPEnergy.level_waves=40.0",
    "MLPEnergy.zero_head=True",
)
_PLAIN = ("OneEnergy.fokker_planck=None",)
_SCORES = ("OneEnergy.recovery=None", "FINAL_FACTOR=0.02", *_PLAIN)


@dataclass(frozen=True)
class Variant:
    """A gin file with its overrides; `chains`: the share of the seconds in which chains are learnt from."""

    overrides: tuple[str, ...] = ()
    chains: float = 1 / 3
    gin: str = _ONE
    walks: tuple[str, ...] = ()  # its own; empty: those asked for

    def phases(self, first: int, last: int) -> list[str]:
        """Overrides: `first` steps without chains, then `last` with them."""
        steps = [f"NUM_STEPS={first + last}"]
        if self.gin == _ONE:
            return [*steps, f"RECOVERY_START={first}"]
        return [*steps, f"ENERGY_START={first}", f"energy/AdamW.decay_steps={max(last, 101)}"]


VARIANTS = {
    "score alone": Variant((*_SCORES, "OneEnergy.level_score=None"), 0),
    "score and level score": Variant(_SCORES, 0),
    "scores and chains": Variant(_PLAIN),
    "and the Fokker-Planck equation": Variant(("FokkerPlanck.first_step=100",)),
    "score and chains, no level score": Variant(("OneEnergy.level_score=None", *_PLAIN)),
    "chains alone": Variant(("OneEnergy.score=None", "OneEnergy.level_score=None", *_PLAIN), 1),
    "product form": Variant(("UNetEnergy.form='product'", *_PLAIN)),
    "without the exact ends": Variant(("UNetEnergy.data_var=None", *_PLAIN)),
    "residual network": Variant((*_SMOOTH_RESNET, *_PLAIN)),
    "MLP": Variant((*_MLP, *_PLAIN)),
    "AdamW in place of Muon": Variant(("Muon.smallest=1000000", *_PLAIN)),  # no matrix is so large
    "chains of K = 1": Variant(("LANGEVIN_STEPS=1", *_PLAIN)),
    "chains of K = 10": Variant(("LANGEVIN_STEPS=10", *_PLAIN)),
    "CDRL, a network proposes": Variant((), 0.5, "gin/cdrl_digits.gin", ("6,10,0.7", "6,0,0.7")),
}


def main(words: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=100.0, help="of CPU, for each variant and seed")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--only", nargs="+", choices=sorted(VARIANTS), default=list(VARIANTS))
    parser.add_argument("--walks", nargs="+", default=["6,5,1", "6,0,1"], help="T,K,η; CDRL has its own")
    parser.add_argument("--copy", action="store_true", help="also each walk from copies of x_t")
    parser.add_argument("--num", type=int, default=1000, help="samples judged (default 1000)")
    parser.add_argument("--json", type=Path, help="append one line a walk here")
    return command.run(_measure, parser.parse_args(words))


def _measure(arguments: argparse.Namespace) -> None:
    judge, distance = Judge.fit(), digits_distance()
    for seed in arguments.seeds:
        for name in arguments.only:
            variant = VARIANTS[name]
            first, last = _steps(variant, seed, arguments.seconds)
            trainer = _build(variant, seed, first, last)
            training, seconds = _train(trainer)
            walks = [tuple(float(n) for n in w.split(",")) for w in variant.walks or arguments.walks]
            for levels, chain, eta in walks:
                for copied in (False, True) if arguments.copy else (False,):
                    x = _draw(trainer, training, variant, int(levels), int(chain), eta, copied, arguments.num)
                    figures = {"fid": distance(x), **judge(x, None)}
                    place = {"variant": name, "seed": seed, "steps": [first, last], "seconds": round(seconds)}
                    walk = {"T": int(levels), "K": int(chain), "eta": eta, "copied": copied}
                    _report(arguments.json, {**place, **walk, **figures})


def _build(variant: Variant, seed: int, first: int, last: int) -> Trainer:
    torch.manual_seed(seed)
    overrides = [*variant.overrides, *variant.phases(first, last), f"SEED={seed}"]
    trainer: Trainer = config.load([variant.gin], overrides).build("Trainer")
    return trainer


def _train(trainer: Trainer, steps: int | None = None) -> tuple[Training, float]:
    """The trained state and its CPU seconds; of `steps` steps, or of all, the first two untimed where few."""
    training = Training(trainer.method, trainer.optimizers, trainer.ema, trainer.runtime, trainer.seed)
    rows, began = trainer.micro_rows(), time.process_time()
    for batches in trainer.stream(trainer.data.open()).iterate(0, rows):
        training.step(batches, rows)
        if steps and training.num_steps_done == 2:
            began = time.process_time()
        if training.num_steps_done == (steps or trainer.num_steps):
            return training, time.process_time() - began
    raise AssertionError("the stream of training data has no end")


def _steps(variant: Variant, seed: int, seconds: float) -> tuple[int, int]:
    """Steps without and with chains that take so many seconds, from 10 timed steps of each kind."""

    def cost(first: int, last: int) -> float:
        return _train(_build(variant, seed, first, last), steps=12)[1] / 10

    first = round(seconds * (1 - variant.chains) / cost(1000, 1000)) if variant.chains < 1 else 0
    last = round(seconds * variant.chains / cost(0, 1000)) if variant.chains else 0
    return first, last


def _draw(
    trainer: Trainer,
    training: Training,
    variant: Variant,
    levels: int,
    chain: int,
    eta: float,
    copied: bool,
    num: int,
) -> torch.Tensor:
    networks, usual = trainer.method.models(training.ready_averages()), trainer.generation.sampler
    if variant.gin == _ONE:
        networks = replace(networks, schedule=networks.schedule.with_levels(levels))
    if copied:
        networks = replace(networks, initializer=CopyInitializer(networks.energy.shape))
    sampler = Langevin(chain, eta, usual.step_factor, corrected=usual.corrected)
    denoise = 1.0 if isinstance(networks.initializer, OwnInitializer) or chain else 0.0
    generation = Generation(sampler, trainer.generation.guidance, denoise)
    draw = Draw.of_seed(trainer.seed, num, None)
    return sample(generation, networks, draw, trainer.runtime).x


def _report(path: Path | None, row: dict[str, object]) -> None:
    keys = ("variant", "seed", "steps", "seconds", "T", "K", "eta", "copied", "fid", "recognised")
    shown = [(key, row[key]) for key in (*keys, "coverage_ratio", "recall_ratio")]
    print(
        "  ".join(f"{key} {v:.3f}" if isinstance(v, float) else f"{key} {v}" for key, v in shown), flush=True
    )
    if path:
        with path.open("a") as file:
            file.write(json.dumps(row) + "\n")


if __name__ == "__main__":
    sys.exit(main())
