"""The live state of a training run, and one optimizer step of it."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from modules.checks import CheckpointError, ConfigurationError, nearest
from modules.ema import EMA
from modules.methods.base import Method
from modules.noise import Noise
from modules.optimizers import Optimizer
from modules.runtime import Runtime
from modules.types import Batch, LossOutput


class Training:
    """Networks, their averages and optimizers at a step.

    Args:
        method: its networks are moved to the runtime's device.
        optimizers: one for each network of the method, by name.
        ema: how averages are kept.
        runtime: devices and processes.
        seed: of all training noise.
        dtype: of the data and the noise, the networks' own.

    Raises:
        ConfigurationError: an optimizer that is missing, or for no network.
    """

    def __init__(
        self,
        method: Method,
        optimizers: Mapping[str, Optimizer],
        ema: EMA,
        runtime: Runtime,
        seed: int,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        runtime.place(method)
        self.method = method.train()
        self.networks = method.networks()
        check_optimizers(self.networks, optimizers)
        self.updaters = {name: optimizers[name].start(network) for name, network in self.networks.items()}
        self.averages = {name: ema.copy_of(network) for name, network in self.networks.items()}
        self.ema, self.runtime, self.seed, self.dtype = ema, runtime, seed, dtype
        self.num_steps_done = 0

    def step(
        self, batches: list[Batch], rows: list[range]
    ) -> tuple[dict[str, float | Tensor], list[LossOutput]]:
        """One optimizer step.

        Args:
            batches: this process's micro-batches, of equal size.
            rows: their rows in the global batch, which key the noise.

        Returns:
            this process's mean losses, gradient norms (both 0-dim tensors) and learning rates by name, and
            each micro-batch's LossOutput.
        """
        step, figures, outputs = self.num_steps_done, dict[str, Any](), []
        self.method.begin_step(step)
        for micro, (batch, span) in enumerate(zip(batches, rows, strict=True)):
            batch = Batch(
                batch.image.to(self.runtime.device, self.dtype), batch.label.to(self.runtime.device)
            )
            numbers = torch.tensor(span, device=self.runtime.device)
            noise = Noise(self.seed, numbers, step, "train", self.dtype)
            with self.runtime.dropout_noise(self.seed, step, micro), self.runtime.autocast():
                output = self.method(batch, noise)
            # each process's mean over its rows, then the mean over processes: the global batch's mean
            total = torch.stack(list(output.losses.values())).sum() / len(batches)
            total.backward()
            outputs.append(output)

        learning = outputs[0].losses.keys()
        self.runtime.reduce_gradients(self.networks[name] for name in learning)
        for name in learning:
            updater = self.updaters[name]
            figures[f"loss/{name}"] = torch.stack([o.losses[name].detach() for o in outputs]).mean()
            figures[f"grad_norm/{name}"] = updater.step()
            figures[f"lr/{name}"] = updater.rule.lr_at(updater.num_updates)
            self.ema.update(self.averages[name], self.networks[name], updater.num_updates)
        self.num_steps_done += 1
        return figures, outputs

    def ready_averages(self) -> dict[str, nn.Module]:
        """Copies of the averaged networks, fit for sampling; the averages stay as they are."""
        return {name: self.ema.ready(copy.deepcopy(network)) for name, network in self.averages.items()}

    def tensors(self) -> dict[str, dict[str, Tensor]]:
        """Every tensor of the state, by group and name, whatever its memory format laid out in rows."""
        groups: dict[str, dict[str, Tensor]] = {}
        for name in self.networks:
            groups[name] = dict(self.networks[name].state_dict())
            groups[f"{name}_ema"] = dict(self.averages[name].state_dict())
            state = self.updaters[name].torch_optimizer.state_dict()["state"]
            groups[f"{name}_optimizer"] = {
                f"{index}.{key}": value
                for index, entry in state.items()
                for key, value in entry.items()
                if isinstance(value, Tensor)  # SGD without momentum keeps a None
            }
        return {
            group: {name: tensor.contiguous() for name, tensor in tensors.items()}
            for group, tensors in groups.items()
        }

    def numbers(self) -> dict[str, Any]:
        """The rest of the state, for JSON."""
        return {
            "step": self.num_steps_done,
            "seed": self.seed,
            "updates": {name: updater.num_updates for name, updater in self.updaters.items()},
        }

    def restore(self, tensors: dict[str, dict[str, Tensor]], numbers: Mapping[str, Any]) -> None:
        """Take over what `tensors` and `numbers` gave. Raises CheckpointError where they don't fit."""
        for name, network in self.networks.items():
            if f"{name}_optimizer" not in tensors or name not in numbers["updates"]:
                raise CheckpointError(f'the checkpoint has no optimizer state of the network "{name}"')
            load_weights(network, tensors, name)
            load_weights(self.averages[name], tensors, f"{name}_ema")
            updater = self.updaters[name]
            state: dict[int, dict[str, Tensor]] = {}
            for key, value in tensors[f"{name}_optimizer"].items():
                index, field = key.split(".", 1)
                parameter = updater.parameters[int(index)]
                if value.shape == parameter.shape:  # fused optimizers go by memory: the formats must agree
                    value = torch.empty_like(parameter).copy_(value)
                state.setdefault(int(index), {})[field] = value
            groups = updater.torch_optimizer.state_dict()["param_groups"]
            updater.torch_optimizer.load_state_dict({"state": state, "param_groups": groups})
            updater.num_updates = numbers["updates"][name]
        self.num_steps_done = numbers["step"]


def load_weights(network: nn.Module, tensors: dict[str, dict[str, Tensor]], group: str) -> None:
    """Load one group of a checkpoint into a network. Raises CheckpointError naming what doesn't fit."""
    if group not in tensors:
        raise CheckpointError(f"the checkpoint has no group {group!r}, only {', '.join(sorted(tensors))}")
    try:
        network.load_state_dict(tensors[group])
    except RuntimeError as fault:
        detail = " ".join(str(fault).split())[:300]
        raise CheckpointError(f"group {group!r} doesn't fit the configured network: {detail}") from fault


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
