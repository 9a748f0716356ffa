"""The only user of accelerate: devices, precision, processes, gathering, trackers."""

from __future__ import annotations

import atexit
import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import gin
import torch
from accelerate import Accelerator
from accelerate.tracking import LOGGER_TYPE_TO_CLASS, filter_trackers
from accelerate.utils import gather_object
from torch import Tensor, nn

from modules.checks import ConfigurationError, check_choice, check_instance, check_integer


@gin.register
class Runtime:
    """Where and in which precision things run; one for a process.

    Gradients are averaged over processes here, once per optimizer step, instead of through a
    distributed wrapper around the networks: the chain and losses that hold a gradient of the energy
    with respect to its input then work like everything else, and a sum of K-step chains hides no cost
    (the reduction of 35M gradients is 1% of a paper-size step).

    Args:
        precision: "no" (float32), "bf16" (networks in autocast; states, noises and losses float32) or
            None: what `accelerate launch` or `accelerate config` says.
        trackers: accelerate's trackers, by name; metrics.jsonl is always written.
        cpu_threads: torch's threads in a process on a CPU; None: as torch or the launcher decides. Small
            networks are fastest on one.

    Raises:
        ConfigurationError: a precision or a tracker that there isn't.
    """

    def __init__(
        self,
        precision: str | None = None,
        trackers: tuple[str, ...] | list[str] = ("tensorboard",),
        cpu_threads: int | None = None,
    ):
        precision = precision or os.environ.get("ACCELERATE_MIXED_PRECISION") or "no"
        if precision in ("fp16", "fp8"):
            raise ConfigurationError(
                f"Runtime.precision {precision!r} is not supported: energies are divided by s² near 1e-5, "
                "out of its range; use 'bf16' or 'no'"
            )
        check_choice("Runtime.precision", precision, ("no", "bf16"))
        check_instance("Runtime.trackers", trackers, (tuple, list))
        for name in trackers:
            check_choice("Runtime.trackers' entries", name, sorted(LOGGER_TYPE_TO_CLASS))
        if cpu_threads is not None:
            check_integer("Runtime.cpu_threads", cpu_threads, low=1)
        self.precision, self.trackers, self.cpu_threads = precision, tuple(trackers), cpu_threads
        self._accelerator: Accelerator | None = None

    @property
    def accelerator(self) -> Accelerator:
        """accelerate's handle, made on first use, so that building a configuration starts nothing."""
        if self._accelerator is None:
            # its precision is shared by a whole process; ours is this object's (see autocast)
            self._accelerator = Accelerator(mixed_precision="no")
            if self.cpu_threads is not None:
                torch.set_num_threads(self.cpu_threads)
        return self._accelerator

    @property
    def device(self) -> torch.device:
        """This process's device."""
        return self.accelerator.device

    @property
    def rank(self) -> int:
        """This process's number."""
        return self.accelerator.process_index

    @property
    def num_processes(self) -> int:
        """How many processes work together."""
        return self.accelerator.num_processes

    @property
    def is_main(self) -> bool:
        """Whether this process writes the files."""
        return self.accelerator.is_main_process

    def autocast(self) -> AbstractContextManager[Any]:
        """The context for evaluating networks in the chosen precision."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bf16")

    def reduce_gradients(self, networks: Iterable[nn.Module]) -> None:
        """Average the gradients of `networks` over all processes, in place, in one message a dtype.

        A parameter that no loss reached gets a gradient of zeros, on one process as on many.
        """
        parts: dict[torch.dtype, list[Tensor]] = {}
        for network in networks:
            for parameter in network.parameters():
                if parameter.requires_grad:
                    if parameter.grad is None:
                        parameter.grad = torch.zeros_like(parameter)
                    parts.setdefault(parameter.dtype, []).append(parameter.grad)
        if self.num_processes == 1:
            return
        for grads in parts.values():
            flat = self.accelerator.reduce(torch.cat([g.flatten() for g in grads]), "mean")
            pieces = flat.split([g.numel() for g in grads])
            torch._foreach_copy_(grads, [piece.view_as(g) for piece, g in zip(pieces, grads, strict=True)])

    def sum(self, values: Tensor) -> Tensor:
        """The sum of a tensor over the processes, on every process."""
        return self.accelerator.reduce(values, "sum")

    def gather(self, rows: Tensor) -> Tensor:
        """Rows (n, ...) of all processes, in their order, on the CPU of each; n may differ."""
        if self.num_processes == 1:
            return rows.cpu()
        counts = self.gather_objects([len(rows)])
        padded = self.accelerator.pad_across_processes(rows.to(self.device))
        parts = self.accelerator.gather(padded).cpu().split(max(1, *counts))
        return torch.cat([part[:count] for part, count in zip(parts, counts, strict=True)])

    def gather_objects(self, items: list[Any]) -> list[Any]:
        """Small picklable things of all processes, in the order of the processes."""
        return gather_object(items) if self.num_processes > 1 else items

    def wait(self) -> None:
        """Until every process is here."""
        self.accelerator.wait_for_everyone()

    @contextmanager
    def dropout_noise(self, seed: int, step: int, micro: int) -> Iterator[None]:
        """The global generator, which dropout uses, set from (seed, step, micro-batch, process) inside."""
        digest = hashlib.blake2b(f"{seed}|{step}|{micro}|{self.rank}".encode(), digest_size=8).digest()
        devices = [self.device] if self.device.type == "cuda" else []
        with torch.random.fork_rng(devices):
            torch.manual_seed(int.from_bytes(digest, "little") >> 1)
            yield

    def start_trackers(self, folder: Path) -> None:
        """Start accelerate's trackers below `folder`; called on the main process."""
        self.accelerator.project_configuration.set_directories(str(folder))
        found = filter_trackers(list(self.trackers), str(folder))
        missing = set(self.trackers) - {str(tracker) for tracker in found}
        if missing:
            name = min(missing)
            raise ConfigurationError(f"Runtime.trackers: the package of {name!r} is missing: install it")
        self.accelerator.log_with = found
        self.accelerator.init_trackers("tensorboard")

    def track(self, values: Mapping[str, float], step: int) -> None:
        """Send numbers to the trackers."""
        self.accelerator.log(dict(values), step=step)

    def end_trackers(self) -> None:
        """Close the trackers, where they run."""
        for tracker in self.accelerator.trackers:
            tracker.finish()
        self.accelerator.trackers = []

    def finish(self) -> None:
        """Wait for the other processes; part from them when the program ends, which a failed one mustn't."""
        self.wait()
        atexit.register(self.accelerator.end_training)
