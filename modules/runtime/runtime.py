"""The only user of accelerate: devices, precision, processes, gathering, trackers."""

from __future__ import annotations

import atexit
import hashlib
import os
import re
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import gin
import torch
from accelerate import Accelerator
from accelerate.tracking import LOGGER_TYPE_TO_CLASS, GeneralTracker, filter_trackers
from accelerate.utils import InitProcessGroupKwargs, gather_object
from torch import Tensor, nn

from modules.core.checks import ConfigurationError, PeerError, check_choice, check_instance, check_integer
from modules.methods.base import Method
from modules.runtime.precision import AUTO, chosen
from modules.runtime.restarts import init_method
from modules.runtime.signals import Signals

_starting = threading.Lock()
"""Held while accelerate makes its state, which is a whole process's."""


def _check_environment() -> None:
    """Raise where accelerate was asked to share networks out, which only works on its own wrappers."""
    for name in ("DEEPSPEED", "FSDP", "MEGATRON_LM", "PARALLELISM_CONFIG", "SAGEMAKER"):
        if os.environ.get(f"ACCELERATE_USE_{name}", "").lower() in ("1", "true", "yes", "y", "on", "t"):
            raise ConfigurationError(
                f"ACCELERATE_USE_{name} is set: every process holds whole networks here; unset it, or choose "
                "no such plugin in `accelerate config`, and split what doesn't fit by "
                "Trainer.per_device_batch_size (docs/running.md)"
            )


@gin.register
class Runtime:
    """Where and in which precision things run; one for a process.

    Gradients are averaged over processes here, once per optimizer step, instead of through a
    distributed wrapper around the networks: the chain and losses that hold a gradient of the energy
    with respect to its input then work like everything else, and a sum of K-step chains hides no cost
    (the reduction of 35M gradients is 1% of a paper-size step).

    Args:
        precision: "no" (float32), "bf16" (networks in autocast; states, noises and losses float32) or
            None: what `accelerate launch` or `accelerate config` says. "auto": bf16 where this machine is
            faster in it, measured here; `.precision` is what was taken, and what a run's folder keeps.
        trackers: accelerate's trackers, by name or as GeneralTracker instances; metrics.jsonl is always
            written.
        cpu_threads: torch's threads in commands and while training; None: as torch or the launcher decides.
            Small networks are fastest on one. A loaded run leaves them to whoever loaded it.
        channels_last: convolutions' memory format, NHWC or NCHW; None: NHWC on a GPU; on a CPU where the
            energy's `channels_last` says so, whose chain it makes faster (group norms lose by it).
        peer_timeout: seconds that processes wait for one that neither answers nor has died; more than any
            one of them needs alone (opening the data, writing a checkpoint).

    Raises:
        ConfigurationError: a precision or a tracker that there isn't.
    """

    def __init__(
        self,
        precision: str | None = None,
        trackers: Sequence[str | GeneralTracker] = ("tensorboard",),
        cpu_threads: int | None = None,
        channels_last: bool | None = None,
        peer_timeout: int = 600,
    ):
        precision = precision or os.environ.get("ACCELERATE_MIXED_PRECISION") or "no"
        if precision in ("fp16", "fp8"):
            raise ConfigurationError(
                f"Runtime.precision {precision!r} is not supported: energies are divided by s² near 1e-5, "
                "out of its range; use 'bf16' or 'no'"
            )
        check_choice("Runtime.precision", precision, ("no", "bf16", AUTO))
        if precision == AUTO:
            precision, _ = chosen()
        check_instance("Runtime.trackers", trackers, (tuple, list))
        for tracker in trackers:
            if not isinstance(tracker, GeneralTracker):
                check_choice("Runtime.trackers' entries", tracker, sorted(LOGGER_TYPE_TO_CLASS))
        if cpu_threads is not None:
            check_integer("Runtime.cpu_threads", cpu_threads, low=1, high=1024)
        check_instance("Runtime.channels_last", channels_last, (bool, type(None)))
        check_integer("Runtime.peer_timeout", peer_timeout, low=1)
        self.precision, self.trackers, self.cpu_threads = precision, tuple(trackers), cpu_threads
        self.channels_last, self.peer_timeout, self.signals = channels_last, peer_timeout, Signals()
        self._accelerator: Accelerator | None = None

    @property
    def accelerator(self) -> Accelerator:
        """accelerate's handle, made on first use, so that building a configuration starts nothing."""
        if self._accelerator is None:
            # its precision is shared by a whole process; ours is this object's (see autocast)
            _check_environment()
            timeout = timedelta(seconds=self.peer_timeout)
            group = InitProcessGroupKwargs(init_method=init_method(), timeout=timeout)
            with _starting:
                found = Accelerator(mixed_precision="no", kwargs_handlers=[group])
            started = int(os.environ.get("WORLD_SIZE", "1")) if "LOCAL_RANK" in os.environ else 1
            if started > found.num_processes:
                # each would train alone, and believe that it is the only one
                raise ConfigurationError(
                    f"{started} processes were started, but without a GPU each they don't form a group: set "
                    "ACCELERATE_USE_CPU=true to have them work together on the CPU"
                )
            self._accelerator = found
        return self._accelerator

    def use_threads(self) -> None:
        """Give torch `cpu_threads`, in the whole process: for commands, whose process it is."""
        if self.cpu_threads is not None:
            torch.set_num_threads(self.cpu_threads)

    @contextmanager
    def threads(self) -> Iterator[None]:
        """torch has `cpu_threads` inside, in the whole process; then as many as before."""
        before = torch.get_num_threads()
        self.use_threads()
        try:
            yield
        finally:
            torch.set_num_threads(before)

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

    def place(self, method: Method) -> None:
        """Move the networks to the device, in their memory formats; both in place."""
        method.to(self.device)
        on_gpu = self.device.type == "cuda"
        for network, default in (
            (method.energy, on_gpu or method.energy.channels_last),
            (method.initializer, on_gpu),
        ):
            if default if self.channels_last is None else self.channels_last:
                network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def autocast(self) -> AbstractContextManager[Any]:
        """The context for evaluating networks in the chosen precision."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bf16")

    def reduce_gradients(self, networks: Iterable[nn.Module], figures: Tensor) -> None:
        """Average the gradients of `networks` over all processes, in place, in one message a dtype.

        A parameter that no loss reached gets a gradient of zeros, on one process as on many.

        Args:
            figures: numbers (n,) that are averaged in place too, in the message of their dtype.
        """
        parts: dict[torch.dtype, list[Tensor]] = {figures.dtype: [figures]}
        for network in networks:
            for parameter in network.parameters():
                if parameter.requires_grad:
                    if parameter.grad is None:
                        parameter.grad = torch.zeros_like(parameter)
                    parts.setdefault(parameter.dtype, []).append(parameter.grad)
        if self.num_processes == 1:
            return
        for grads in parts.values():
            flat = torch.cat([g.flatten() for g in grads])
            with self._peers():
                flat = self.accelerator.reduce(flat, "mean")
            pieces = flat.split([g.numel() for g in grads])
            torch._foreach_copy_(grads, [piece.view_as(g) for piece, g in zip(pieces, grads, strict=True)])

    def sum(self, values: Tensor) -> Tensor:
        """The sum of a tensor over the processes, on every process."""
        with self._peers():
            return self.accelerator.reduce(values, "sum")

    def any(self, flag: bool) -> bool:
        """Whether `flag` is true on any process."""
        return float(self.sum(torch.tensor(float(flag), device=self.device))) > 0

    def gather(self, rows: Tensor) -> Tensor:
        """Rows (n, ...) of all processes, in their order, on the CPU of each; n may differ."""
        if self.num_processes == 1:
            return rows.cpu()
        counts = self.gather_objects([len(rows)])
        with self._peers():
            padded = self.accelerator.pad_across_processes(rows.to(self.device))
            parts = self.accelerator.gather(padded).cpu().split(max(1, *counts))
        return torch.cat([part[:count] for part, count in zip(parts, counts, strict=True)])

    def gather_objects(self, items: list[Any]) -> list[Any]:
        """Small picklable things of all processes, in the order of the processes."""
        with self._peers():
            return gather_object(items) if self.num_processes > 1 else items

    def wait(self) -> None:
        """Until every process is here."""
        with self._peers():
            self.accelerator.wait_for_everyone()

    @contextmanager
    def dropout_noise(self, seed: int, step: int, micro: int, stream: str = "") -> Iterator[None]:
        """The global generator, which dropout uses, set from (seed, step, micro-batch, process) inside.

        Args:
            stream: a name that keeps one attempt at a step apart from another.
        """
        key = f"{seed}|{step}|{micro}|{self.rank}{stream}"
        digest = hashlib.blake2b(key.encode(), digest_size=8).digest()
        devices = [self.device] if self.device.type == "cuda" else []
        number = int.from_bytes(digest, "little") >> 1
        with torch.random.fork_rng(devices):
            # not torch.manual_seed: without a GPU it notes the whole stack at every call, for one to come
            torch.default_generator.manual_seed(number)
            if devices:
                torch.cuda.manual_seed(number)
            yield

    def start_trackers(self, folder: Path, step: int = 0) -> None:
        """Start accelerate's trackers below `folder`, at a step; called on the main process.

        What TensorBoard was told of later steps before, as by a run that was killed there, it forgets.
        """
        self.accelerator.project_configuration.set_directories(str(folder))
        found = filter_trackers(list(self.trackers), str(folder))
        named = {tracker for tracker in self.trackers if isinstance(tracker, str)}
        missing = named - {str(tracker) for tracker in found}
        if missing:
            name = min(missing)
            raise ConfigurationError(f"Runtime.trackers: the package of {name!r} is missing: install it")
        self.accelerator.log_with = found
        purge = {"tensorboard": {"purge_step": step + 1}}
        self.accelerator.init_trackers("tensorboard", init_kwargs=purge)

    def track(self, values: Mapping[str, float], step: int) -> None:
        """Send numbers to the trackers."""
        self.accelerator.log(dict(values), step=step)

    def track_again(self, step: int) -> None:
        """Have TensorBoard forget what it was told of later steps; other trackers take what comes."""
        for tracker in self.accelerator.trackers:
            if tracker.name == "tensorboard":
                tracker.tracker.close()  # it opens a new file, which begins with this, for what comes
                tracker.tracker.purge_step = step + 1

    def end_trackers(self) -> None:
        """Close the trackers, where they run."""
        for tracker in self.accelerator.trackers:
            tracker.finish()
        self.accelerator.trackers = []

    def finish(self) -> None:
        """Wait for the other processes; part from them when the program ends, which a failed one mustn't."""
        self.wait()
        atexit.register(self.accelerator.end_training)

    @contextmanager
    def _peers(self) -> Iterator[None]:
        """Where processes talk: a fault there means that another one is gone."""
        try:
            yield
        except RuntimeError as fault:  # gloo's own kind; NCCL's DistBackendError is one too
            if self.num_processes == 1 or isinstance(fault, torch.OutOfMemoryError):
                raise
            # gloo puts a place in its source before, and advice after the first sentence
            reason = re.sub(r"^\[\S+\] ", "", " ".join(str(fault).split())).split(". ")[0][:200]
            raise PeerError(
                f"another process of the run died or no longer answers ({reason}): its own last lines say "
                "why; checkpoints are as they were: go on by --resume"
            ) from fault
