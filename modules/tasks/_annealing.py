"""Annealing of a run's energy, kept on the disk level by level, to be gone on with."""

from __future__ import annotations

import argparse
import copy
import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from modules.analysis.ancestral import AncestralPath, walk
from modules.analysis.annealing import Annealed, AnnealingPath, anneal, tune
from modules.core.checks import CheckpointError
from modules.core.noise import Noise
from modules.initializers.own import OwnProposal
from modules.samplers.metropolis import MetropolisSampler
from modules.storage import durable

if TYPE_CHECKING:
    from modules.runs import Run

_PILOT = 64  # chains that tune the step sizes
_SETTLING = 20  # steps of the samples at level 0 before they go back, after as many of warm-up


@dataclass(frozen=True)
class Ways:
    """Log weights (k, n) of all chains where they were kept, down and up; λ of those levels; step sizes.

    logsnr: (k,) of level 0 and of the levels after which the chains were kept going up, but for the last.
    """

    forward: Tensor
    reverse: Tensor
    logsnr: list[float]
    steps: list[float]


def annealed(
    trained: Run,
    sampler: MetropolisSampler,
    arguments: argparse.Namespace,
    folder: Path,
    each: Callable[[], None],
) -> Ways:
    """Chains forward and in reverse, by all processes together.

    Args:
        folder: where states are kept. each: called after each level of each batch of chains.
    """
    runtime, noise_of = trained.runtime, _noises(arguments.seed)
    path = AnnealingPath(trained.energy, trained.schedule, arguments.bridges)
    own = (
        isinstance(trained.initializer, OwnProposal)
        if arguments.moves is None
        else arguments.moves != "chains"
    )
    ancestral = AncestralPath(trained.networks, arguments.bridges) if own else None
    kept = _Kept(folder, _key(trained, sampler, arguments))
    device, shape = runtime.device, trained.energy.shape

    def normal(noise: Noise) -> Tensor:
        return noise.normal("x_T", shape)

    with runtime.autocast():
        tuned = kept.read("steps")
        if tuned is None and ancestral is None:
            pilot = noise_of("pilot", torch.arange(_PILOT), device)
            tuned = {"steps": tune(path, sampler, normal(pilot), pilot)}
        elif tuned is None and ancestral is not None:
            ancestral.tune(*_data(trained, noise_of), sampler)
            tuned = ancestral.tuned()
        tuned = runtime.gather_objects([tuned])[0]
        assert tuned is not None
        steps = tuned["steps"]
        if ancestral is not None:
            ancestral.take(tuned)
        if runtime.is_main:
            kept.write("steps", tuned)
        size = float(steps[-1] if ancestral is None else steps[0])  # at level 0
        traces = []
        for direction in ("forward", "reverse"):
            reverse, parts = direction == "reverse", []
            mine = torch.arange(arguments.chains)[runtime.rank :: runtime.num_processes]
            for rows in mine.split(arguments.batch_size) if len(mine) else ():
                noise, name = noise_of(direction, rows, device), f"{direction}_{int(rows[0])}"
                now = kept.state(name, device)
                if now is not None:
                    x = now.x
                else:
                    x = (
                        _samples(trained, sampler, rows, noise, arguments, path, size)
                        if reverse
                        else normal(noise)
                    )
                for _ in range(0 if now is None else now.stages // path.bridges):
                    each()
                ways = (
                    anneal(path, sampler, steps, x, noise, reverse, now)
                    if ancestral is None
                    else walk(ancestral, sampler, x, noise, reverse, now)
                )
                for now in ways:
                    kept.keep(name, now)
                    each()
                assert now is not None
                parts.append((rows, now.trace.cpu()))
            everyone = runtime.gather_objects(parts)
            order = torch.cat([rows for rows, _ in everyone]).argsort()
            traces.append(torch.cat([trace for _, trace in everyone], 1)[:, order])
    levels = torch.arange(trained.schedule.num_levels)
    logsnr = (
        trained.schedule.transition(levels + 1, torch.float64).logsnr_s
        if ancestral is None
        else ancestral.logsnr[levels * ancestral.fineness]
    )
    return Ways(traces[0], traces[1], logsnr.tolist(), steps.tolist())


def _data(trained: Run, noise_of: Callable[[str, Tensor, torch.device], Noise]) -> tuple[Tensor, Noise]:
    """Examples of the run's data that tune the proposals' spread, and their noise."""
    examples = trained.data.open()
    num = min(_PILOT, len(examples))
    images, _ = examples.rows(torch.arange(num) * len(examples) // num)
    noise = noise_of("pilot", torch.arange(num), trained.runtime.device)
    return images.to(trained.runtime.device, noise.dtype), noise


def _noises(seed: int) -> Callable[[str, Tensor, torch.device], Noise]:
    return lambda name, rows, device: Noise(seed, rows.to(device), stream=f"annealing/{name}")


@torch.no_grad()
def _samples(
    trained: Run,
    sampler: MetropolisSampler,
    rows: Tensor,
    noise: Noise,
    arguments: argparse.Namespace,
    path: AnnealingPath,
    step: float,
) -> Tensor:
    """x_0 of the run's own samples by their index, brought nearer to e^{-U} by exact steps at level 0."""
    from modules.sampling.draw import Draw
    from modules.sampling.indexed import sample_batches

    draw = Draw.of_seed(arguments.seed, arguments.chains)
    drawn = sample_batches(trained.generation, trained.networks, draw, rows, trained.runtime, len(rows), ())
    x = next(drawn)[1].levels[-1]
    size = torch.full_like(x.flatten(1)[:, 0], step)
    settling = copy.copy(sampler)
    settling.num_steps = settling.num_warmup = _SETTLING
    return settling.sample(path.level(path.num_levels, x), x, size, noise.child("settling")).y


def _key(trained: Run, sampler: MetropolisSampler, arguments: argparse.Namespace) -> str:
    """A digest of all that the estimates depend on."""
    kind = "with traces"  # earlier versions kept less
    names = ("seed", "moves", "chains", "bridges", "batch_size", "ladder", "weights", "overrides")
    said: dict[str, Any] = {name: vars(arguments)[name] for name in names}
    said |= {"kind": kind, "step": trained.step, "processes": trained.runtime.num_processes}
    said |= {"sampler": type(sampler).__name__, **vars(sampler)}
    said |= {"levels": trained.schedule.num_levels, "checkpoint": str(arguments.checkpoint)}
    return hashlib.sha256(json.dumps(said, sort_keys=True, default=str).encode()).hexdigest()


class _Kept:
    """States on the disk; those of other settings are overlooked, and replaced."""

    def __init__(self, folder: Path, key: str) -> None:
        self.folder, self.key = folder, key
        folder.mkdir(parents=True, exist_ok=True)

    def read(self, name: str) -> dict[str, Tensor] | None:
        """Tensors, or None."""
        path = self.folder / f"{name}.safetensors"
        if not path.is_file():
            return None
        try:
            with safe_open(path, "pt") as file:
                if (file.metadata() or {}).get("key") != self.key:
                    return None
                names = list(file.keys())
                return {name: file.get_tensor(name) for name in names}
        except (OSError, SafetensorError) as fault:
            raise CheckpointError(f"{path} cannot be read: {fault}: delete it") from fault

    def write(self, name: str, tensors: dict[str, Tensor]) -> None:
        """Keep tensors, whole or not at all."""
        plain = {key: value.cpu().contiguous() for key, value in tensors.items()}
        durable.replace_file(self.folder / f"{name}.safetensors", save(plain, {"key": self.key}))

    def state(self, name: str, device: torch.device) -> Annealed | None:
        """Chains on their way, or None."""
        found = self.read(name)
        if found is None:
            return None
        x, log_weight, trace = (found[name].to(device) for name in ("x", "log_weight", "trace"))
        return Annealed(int(found["stages"]), x, log_weight, trace)

    def keep(self, name: str, state: Annealed) -> None:
        """Keep chains on their way."""
        weights = {"log_weight": state.log_weight, "trace": state.trace}
        self.write(name, {"stages": torch.tensor(state.stages), "x": state.x, **weights})
