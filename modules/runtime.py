"""The only user of accelerate: devices, precision, processes, gathering, trackers."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import gin
import torch
from accelerate import Accelerator
from accelerate.utils import broadcast_object_list, gather_object
from torch import Tensor, nn

from modules.checks import ConfigurationError, check_choice, check_instance


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
    """

    def __init__(
        self, precision: str | None = None, trackers: tuple[str, ...] | list[str] = ("tensorboard",)
    ):
        check_choice("Runtime.precision", precision, (None, "no", "bf16"))
        check_instance("Runtime.trackers", trackers, (tuple, list))
        precision = precision or os.environ.get("ACCELERATE_MIXED_PRECISION", "no")
        if precision not in ("no", "bf16"):
            raise ConfigurationError(
                f"mixed precision {precision!r} is not supported: energies are divided by s² near 1e-5, out "
                "of float16's range; use bf16 or no"
            )
        self.precision, self.tracker_names = precision, list(trackers)
        self._accelerator: Accelerator | None = None

    @property
    def accelerator(self) -> Accelerator:
        """accelerate's handle, made on first use, so that building a configuration starts nothing."""
        if self._accelerator is None:
            self._accelerator = Accelerator(mixed_precision=self.precision)
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
        return self.accelerator.autocast()

    def reduce_gradients(self, networks: Iterable[nn.Module]) -> None:
        """Average the gradients of `networks` over all processes, in place, in one message a dtype."""
        if self.num_processes == 1:
            return
        grads = []
        for network in networks:
            for parameter in network.parameters():
                if parameter.requires_grad:
                    if parameter.grad is None:  # all processes must send messages of equal length
                        parameter.grad = torch.zeros_like(parameter)
                    grads.append(parameter.grad)
        for dtype in {g.dtype for g in grads}:
            part = [g for g in grads if g.dtype == dtype]
            flat = self.accelerator.reduce(torch.cat([g.flatten() for g in part]), "mean")
            torch._foreach_copy_(part, [f.view_as(g) for f, g in zip(_split(flat, part), part, strict=True)])

    def gather(self, values: Tensor) -> Tensor:
        """Rows (n, ...) of all processes, one process after another; every process gets them."""
        return self.accelerator.gather(values) if self.num_processes > 1 else values

    def gather_objects(self, items: list[Any]) -> list[Any]:
        """Small picklable things of all processes, in the order of the processes."""
        return gather_object(items) if self.num_processes > 1 else items

    def agree(self, value: Any) -> Any:
        """The main process's value, on every process."""
        return broadcast_object_list([value])[0] if self.num_processes > 1 else value

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
        """Start accelerate's trackers below `folder`."""
        self.accelerator.project_configuration.set_directories(str(folder))
        self.accelerator.log_with = _trackers(self.tracker_names)
        self.accelerator.init_trackers("tensorboard")

    def track(self, values: Mapping[str, float], step: int) -> None:
        """Send numbers to the trackers."""
        self.accelerator.log(dict(values), step=step)

    def end(self) -> None:
        """Close the trackers."""
        self.accelerator.end_training()


def _split(flat: Tensor, like: list[Tensor]) -> list[Tensor]:
    return list(flat.split([g.numel() for g in like]))


def _trackers(names: list[str]) -> list[Any]:
    from accelerate.tracking import filter_trackers

    try:
        return filter_trackers(names)
    except ValueError as fault:
        raise ConfigurationError(f"Runtime.trackers: {str(fault).splitlines()[0]}") from fault
