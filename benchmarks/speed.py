"""The library against the plain reference (benchmarks/plain.py): chain, step, sampling, memory, start.

    export OMP_NUM_THREADS=1
    python -m benchmarks.speed
    ONEDNN_MAX_CPU_ISA=AVX2 ATEN_CPU_CAPABILITY=avx2 python -m benchmarks.speed  # as on an older CPU

Plain and fast run in turn in one process; a ratio is plain's time over ours, its median over rounds with the
least and the largest. "of bare": the time of the energy's convolutions alone, forward and gradient in the
input in channels_last, over that of a chain's step. Memory and first step are measured in a process of their
own. On a GPU the fraction of a large bf16 matrix product's rate is printed too.
"""

from __future__ import annotations

import argparse
import copy
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.bare import convolutions
from benchmarks.cases import CASES, Case
from benchmarks.interleave import interleave, ratio
from benchmarks.plain import PlainTraining, plain, plain_chain, plain_samples
from modules.core.noise import Noise
from modules.core.types import Batch
from modules.data.base import MemoryExamples
from modules.data.stream import TrainingStream
from modules.energies.recovery import RecoveryPotential
from modules.guidance.none import NoGuidance
from modules.runtime.runtime import Runtime
from modules.samplers.langevin import Langevin
from modules.sampling.draw import Draw
from modules.sampling.generation import Generation
from modules.training.ema import EMA
from modules.training.optimizers import AdamW
from modules.training.state import Training


def main(words: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", nargs="+", choices=list(CASES), default=list(CASES))
    parser.add_argument("--batch-size", type=int, help="in place of the cases' own")
    parser.add_argument("--num-steps", type=int, help="K, in place of the cases' own")
    parser.add_argument("--rounds", type=int, help="in place of the cases' own")
    parser.add_argument("--precision", choices=("no", "bf16"), default="no", help="of the fast side")
    modes = ("default", "reduce-overhead", "max-autotune")
    parser.add_argument("--compile", choices=modes, help="of chain and step on the fast side")
    parser.add_argument("--json", help="append a line a case here")
    parser.add_argument("--alone", choices=("plain", "fast", "saving"), help=argparse.SUPPRESS)
    arguments = parser.parse_args(words)
    if arguments.alone:
        print(json.dumps(alone(_case(arguments.cases[0], arguments), arguments)))
        return
    for name in arguments.cases:
        figures = {"case": name, "precision": arguments.precision, "compile": arguments.compile}
        figures |= measure(name, arguments)
        print("\n".join(f"{name}  {key:<28}{value}" for key, value in figures.items()), flush=True)
        if arguments.json:
            with open(arguments.json, "a") as file:
                file.write(json.dumps(figures) + "\n")


def _case(name: str, arguments: argparse.Namespace) -> Case:
    case = CASES[name]
    return case if arguments.num_steps is None else replace(case, num_steps=arguments.num_steps)


class Fast:
    """The library's own step, chain and sampling, on its defaults but for the switches named."""

    def __init__(
        self, case: Case, precision: str, compile: str | None = None, save_memory: bool = False
    ) -> None:
        self.method = case.method(save_memory, compile is not None)
        self.method.sampler = Langevin(case.num_steps, compile=compile)
        self.runtime = Runtime(precision, trackers=())
        rule = AdamW(clip_norm=1.0)
        rules = {"energy": rule, "initializer": rule}
        self.training = Training(self.method, rules, EMA(), self.runtime, seed=0)
        self.generation = Generation(self.method.sampler, NoGuidance(), denoise_factor=0.0)

    def step(self, x: Tensor, rows: list[range] | None = None) -> None:
        none = torch.full((len(x),), -1, device=x.device)
        self.training.step([Batch(x, none)], rows or [range(len(x))])

    def chain(self, t: Tensor, x: Tensor, y: Tensor) -> None:
        transition = self.method.schedule.transition(t)
        with self.runtime.autocast():
            potential = RecoveryPotential(self.method.energy.at(transition), transition, x)
            noise = Noise(0, torch.arange(len(x), device=x.device))
            self.method.sampler.sample(potential, y, transition.step_size, noise)

    def samples(self, num: int, device: torch.device) -> None:
        label = torch.full((num,), -1, device=device)
        noise = Noise(0, torch.arange(num, device=device), stream="sample")
        with self.runtime.autocast():
            draw = Draw(label, noise)
            self.generation.sample(self.method.models(), draw)


def measure(name: str, arguments: argparse.Namespace) -> dict[str, object]:
    """Every figure of a case."""
    case = _case(name, arguments)
    batch, rounds = arguments.batch_size or case.batch_size, arguments.rounds or case.rounds
    fast = Fast(case, arguments.precision, arguments.compile)
    device = fast.runtime.device
    old = case.method().to(device).train()
    reference = PlainTraining(old)
    x = torch.rand(batch, *old.energy.shape, device=device) * 2 - 1
    y = torch.randn_like(x)
    t = torch.arange(batch, device=device) % old.schedule.num_levels + 1
    transition = old.schedule.transition(t)

    def chain_of_old() -> None:
        plain_chain(plain(old.energy), transition, x, y, None, case.num_steps)

    figures: dict[str, object] = {"batch": batch, "K": case.num_steps, "device": str(device)}
    bare, operations = convolutions(copy.deepcopy(old.energy).at(transition), y)
    runs = {"plain": chain_of_old, "fast": lambda: fast.chain(t, x, y)}
    if operations:
        runs["bare"] = lambda: [bare() for _ in range(case.num_steps)]
    seconds = interleave(runs, rounds)
    figures["chain: ms a step"] = _each(seconds, 1e3 / case.num_steps)
    figures["chain: plain/fast"] = _shown(ratio(seconds["plain"], seconds["fast"]))
    if operations:
        figures["chain: plain of bare"] = _shown(ratio(seconds["bare"], seconds["plain"]))
        figures["chain: fast of bare"] = _shown(ratio(seconds["bare"], seconds["fast"]))

    seconds = interleave({"plain": lambda: reference.step(x), "fast": lambda: fast.step(x)}, rounds)
    figures["step: ms"] = _each(seconds, 1e3)
    figures["step: plain/fast"] = _shown(ratio(seconds["plain"], seconds["fast"]))
    step_seconds = median(seconds["fast"])

    old.eval(), fast.method.eval()
    runs = {
        "plain": lambda: plain_samples(old, batch, case.num_steps, device),
        "fast": lambda: fast.samples(batch, device),
    }
    seconds = interleave(runs, max(1, rounds // 2))
    figures["sampling: images/s"] = {k: round(batch / median(v), 2) for k, v in seconds.items()}
    figures["sampling: plain/fast"] = _shown(ratio(seconds["plain"], seconds["fast"]))

    figures["first step: s"], figures["peak memory of a step: MB"] = {}, {}
    for side in ("plain", "fast", "saving"):
        result = _in_a_process(name, batch, side, arguments)
        figures["first step: s"][side] = result["first_step_s"]  # type: ignore[index]
        figures["peak memory of a step: MB"][side] = result["peak_mb"]  # type: ignore[index]
    if len(old.energy.shape) == 3:
        rate = loader_rate(old.energy.shape, batch)
        figures["loader: images/s"] = (
            f"{rate:,.0f}, {rate * step_seconds / batch:,.0f} times what a step eats"
        )
    if device.type == "cuda":
        figures["of bf16 matrix product"] = round(_flops(fast, x) / step_seconds / matmul_rate(device), 3)
    return figures


def alone(case: Case, arguments: argparse.Namespace) -> dict[str, float]:
    """In a fresh process: seconds of the first step after building, and the memory it takes at its peak."""
    batch = arguments.batch_size or case.batch_size
    if arguments.alone == "plain":
        reference = PlainTraining(case.method().train())
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        reference.method.to(device)
        step = reference.step
    else:
        fast = Fast(case, arguments.precision, arguments.compile, arguments.alone == "saving")
        device, step = fast.runtime.device, fast.step
    x = torch.rand(batch, *case.energy().shape, device=device) * 2 - 1
    before = _memory_mb(device)
    began = time.perf_counter()
    step(x)
    if device.type == "cuda":
        torch.cuda.synchronize()
    seconds, peak = time.perf_counter() - began, _memory_mb(device, peak=True)
    return {"first_step_s": round(seconds, 2), "peak_mb": round(peak - before, 1)}


def _memory_mb(device: torch.device, peak: bool = False) -> float:
    """Of this process now, or at its peak since the last call for now."""
    if device.type == "cuda":
        if peak:
            return torch.cuda.max_memory_allocated() / 2**20
        torch.cuda.reset_peak_memory_stats()
        return torch.cuda.memory_allocated() / 2**20
    if not peak:
        Path("/proc/self/clear_refs").write_text("5")  # Linux: the peak starts anew
    field = "VmHWM" if peak else "VmRSS"
    status = Path("/proc/self/status").read_text()
    return int(status.split(f"{field}:")[1].split()[0]) / 2**10


def _in_a_process(name: str, batch: int, side: str, arguments: argparse.Namespace) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks.speed", "--cases", name, "--alone", side]
    command += ["--batch-size", str(batch), "--precision", arguments.precision]
    command += ["--compile", arguments.compile] if arguments.compile else []
    command += ["--num-steps", str(arguments.num_steps)] if arguments.num_steps else []
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=os.environ)
    return json.loads(done.stdout.splitlines()[-1])


def loader_rate(shape: tuple[int, ...], batch: int) -> float:
    """Images per second of the training stream alone, from a set in memory, with flips."""
    images = torch.randint(256, (5000, *shape), dtype=torch.uint8)
    examples = MemoryExamples(images)
    stream = TrainingStream(examples, batch, seed=0, horizontal_flip=True)
    batches, count = stream.iterate(0, [range(batch)]), max(20, 4000 // batch)
    next(batches)
    began = time.perf_counter()
    for _ in range(count):
        next(batches)
    return count * batch / (time.perf_counter() - began)


def matmul_rate(device: torch.device, size: int = 8192) -> float:
    """Operations per second of a large bf16 matrix product."""
    a = torch.randn(size, size, device=device, dtype=torch.bfloat16)
    seconds = interleave({"product": lambda: a @ a}, 10)["product"]
    return 2 * size**3 / median(seconds)


def _flops(fast: Fast, x: Tensor) -> int:
    with FlopCounterMode(display=False) as counter:
        fast.step(x)
    return counter.get_total_flops()


def _each(seconds: dict[str, list[float]], factor: float) -> dict[str, float]:
    return {name: round(median(values) * factor, 2) for name, values in seconds.items()}


def _shown(ratios: tuple[float, float, float]) -> str:
    return f"{ratios[0]:.2f} ({ratios[1]:.2f}-{ratios[2]:.2f})"


if __name__ == "__main__":
    main()
