"""The live state of a training run, and one optimizer step of it."""

from __future__ import annotations

import copy
import logging
import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from modules.contracts.faults import calling
from modules.contracts.outputs import check_output
from modules.core.checks import CheckpointError, ConfigurationError
from modules.core.noise import Noise
from modules.core.types import Batch, LossOutput
from modules.data.base import Examples
from modules.methods.base import Method
from modules.runtime.runtime import Runtime
from modules.runtime.signals import INTERRUPTED, REQUEUE
from modules.training.divergence import Divergence
from modules.training.ema import EMA
from modules.training.kept import Kept, restore_kept
from modules.training.optimizers import Optimizer, check_optimizers
from modules.training.saved import best_of, check_finite, load_weights, number_of, unlogged_of, updates_of

_log = logging.getLogger(__name__)


class Training:
    """Networks, their averages and optimizers at a step.

    Args:
        method: its networks are moved to the runtime's device.
        optimizers: one for each network of the method, by name.
        ema: how averages are kept.
        runtime: devices and processes.
        seed: of all training noise.
        dtype: of the data and the noise, the networks' own.
        max_energy: a mean |E| of a step above this is a divergence.
        components: further ones, by name, whose state is kept with the method's (see Kept).

    Attributes:
        num_steps_done, num_skips, num_rollbacks: how far it is, and what went wrong on the way.
        rolled_back_to: the step of the last rollback's checkpoint. lr_factor: on all learning rates.
        unlogged: what the record had collected since its last row when the state was saved (see Diary).
        stop_code: the exit code that a signal to any process asks for, 0: none; known alike to all.

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
        max_energy: float = math.inf,
        components: Mapping[str, object] | None = None,
    ) -> None:
        runtime.place(method)
        self.method = method.train()
        self.networks = method.networks()
        check_optimizers(self.networks, optimizers)
        self.updaters = {name: optimizers[name].start(network) for name, network in self.networks.items()}
        self.averages = {name: ema.copy_of(network) for name, network in self.networks.items()}
        method.averages = self.averages
        self.ema, self.runtime, self.seed, self.dtype = ema, runtime, seed, dtype
        self.max_energy = max_energy
        self.num_steps_done = self.num_skips = self.num_rollbacks = self.stop_code = 0
        self.rolled_back_to: int | None = None
        self._looked_at = False  # whether the method's output was
        self._completed: int | None = None  # the step of which `complete` was last called
        self.lr_factor = 1.0
        self.best: dict[str, Any] | None = None  # see Best.after
        self.kept = {"method_state": Kept(method, list(self.networks.values()))}
        self.kept |= {f"{name}_state": Kept(component) for name, component in (components or {}).items()}
        self.unlogged = unlogged_of({})

    def step(
        self, batches: list[Batch], rows: list[range]
    ) -> tuple[dict[str, float | Tensor], list[LossOutput]]:
        """One optimizer step.

        Args:
            batches: this process's micro-batches, of equal size.
            rows: their rows in the global batch, which key the noise.

        Returns:
            this process's mean losses, gradient norms and learning rates by name, and each micro-batch's
            LossOutput.

        Raises:
            Divergence: on every process, before any optimizer's step.
        """
        step, figures, outputs = self.num_steps_done, dict[str, Any](), []
        # after a rollback other noise for the same steps
        attempt = f"/rollback {self.num_rollbacks}" if self.num_rollbacks else ""
        self.method.begin_step(step)
        for micro, (batch, span) in enumerate(zip(batches, rows, strict=True)):
            batch = Batch(
                batch.image.to(self.runtime.device, self.dtype), batch.label.to(self.runtime.device)
            )
            numbers = torch.tensor(span, device=self.runtime.device)
            noise = Noise(self.seed, numbers, step, f"train{attempt}", self.dtype)
            with self.runtime.dropout_noise(self.seed, step, micro, attempt), self.runtime.autocast():
                output = self._output(batch, noise)
            # each process's mean over its rows, then the mean over processes: the global batch's mean
            total = torch.stack(list(output.losses.values())).sum() / len(batches)
            total.backward()
            outputs.append(output)

        learning = list(outputs[0].losses)
        norms = self._agree(learning, outputs, rows)
        for name in learning:
            updater = self.updaters[name]
            figures[f"loss/{name}"] = torch.stack([o.losses[name].detach() for o in outputs]).mean()
            figures[f"grad_norm/{name}"] = norms[name]
            figures[f"lr/{name}"] = updater.step(self.lr_factor)
            self.ema.update(self.averages[name], self.networks[name], updater.num_updates)
        self.num_steps_done += 1
        return figures, outputs

    def _output(self, batch: Batch, noise: Noise) -> LossOutput:
        """The method's; a user's own is looked at, more closely the first time."""
        if self._looked_at:
            output = self.method(batch, noise)
        else:
            with calling():
                output = self.method(batch, noise)
        check_output(self.method, output, len(batch.image), self.networks, first=not self._looked_at)
        self._looked_at = True
        return output

    def _agree(self, learning: list[str], outputs: list[LossOutput], rows: list[range]) -> dict[str, float]:
        """Average gradients over processes and clip them; their norms, if all is well on every process.

        What a process found travels with its gradients, and is read with their norms: no message more, and
        one wait for the device a step.
        """
        told = torch.zeros(2, device=self.runtime.device)
        if self.runtime.signals.code:
            told[(INTERRUPTED, REQUEUE).index(self.runtime.signals.code)] = 1.0
        alarm = torch.cat(
            [torch.stack([_not_finite(outputs), _mean_energy(outputs, self.method.bounded)]), told]
        )
        self.runtime.reduce_gradients((self.networks[name] for name in learning), alarm)
        found = torch.cat([alarm, torch.stack([self.updaters[name].clip().to(alarm) for name in learning])])
        not_finite, energy, interrupted, requeue, *norms = found.tolist()
        self.stop_code = REQUEUE if requeue > 0 else INTERRUPTED if interrupted > 0 else 0
        grad_norms = dict(zip(learning, norms, strict=True))
        endless = [name for name, norm in grad_norms.items() if not math.isfinite(norm)]
        if not_finite > 0:
            reason = "a loss, an energy or a chain isn't finite"
        elif endless:
            reason = f"the gradient of the {endless[0]} isn't finite"
        elif energy > self.max_energy:
            reason = f"the mean |energy| {energy:.3g} is above max_energy = {self.max_energy:g}"
        else:
            return grad_norms
        for updater in self.updaters.values():
            updater.clear()
        raise self._divergence(reason, grad_norms, outputs, rows)

    def _divergence(
        self, reason: str, grad_norms: dict[str, float], outputs: list[LossOutput], rows: list[range]
    ) -> Divergence:
        """With what every process saw."""
        seen = []
        for output, span in zip(outputs, rows, strict=True):
            watched = {name: values.tolist() for name, values in {"t": output.t, **output.watch}.items()}
            seen += [{"row": row, **{k: v[i] for k, v in watched.items()}} for i, row in enumerate(span)]
        losses = [{name: float(loss.detach()) for name, loss in o.losses.items()} for o in outputs]
        seen = self.runtime.gather_objects(seen)
        losses = self.runtime.gather_objects(losses)
        by_network = {name: [part[name] for part in losses] for name in grad_norms}
        return Divergence(self.num_steps_done, reason, by_network, grad_norms, seen, self.num_rollbacks)

    def skip(self) -> None:
        """Go past a step that diverged: its data and noise are used up, nothing is learnt from it."""
        self.num_steps_done += 1
        self.num_skips += 1

    def complete(self, examples: Examples) -> None:
        """Have the networks and their averages know of the data what they keep with their weights.

        Once a step: of the best one, which is saved twice, nothing changes in between.
        """
        if self._completed == self.num_steps_done:
            return
        self._completed = self.num_steps_done
        for networks in (self.networks, self.averages):
            self.method.complete(networks, examples, self.runtime.device)

    def ready_averages(self) -> dict[str, nn.Module]:
        """Copies of the averaged networks, fit for sampling; the averages stay as they are."""
        return {name: self.ema.ready(copy.deepcopy(network)) for name, network in self.averages.items()}

    def tensors(self) -> dict[str, dict[str, Tensor]]:
        """Every tensor of the state, by group and name, whatever its memory format laid out in rows."""
        groups: dict[str, dict[str, Tensor]] = {}
        for name in self.networks:
            groups[name] = dict(self.networks[name].state_dict())
            groups[f"{name}_ema"] = dict(self.averages[name].state_dict())
            groups[f"{name}_optimizer"] = self.updaters[name].tensors()
        groups |= {group: found for group, kept in self.kept.items() if (found := kept.tensors())}
        return {
            group: {name: tensor.contiguous() for name, tensor in tensors.items()}
            for group, tensors in groups.items()
        }

    def check_alike(self) -> None:
        """Raise, on every process, where a component keeps another state on another process.

        The main process's state is saved for all.
        """
        if self.runtime.num_processes == 1:
            return
        for kept in self.kept.values():
            if kept.tensors() and len(set(self.runtime.gather_objects([kept.digest()]))) > 1:
                raise ConfigurationError(
                    f"the state of {type(kept.component).__name__} differs between processes, and a "
                    "checkpoint holds one for all: keep what all processes know (see Runtime.gather)"
                )

    def numbers(self) -> dict[str, Any]:
        """The rest of the state, for JSON."""
        return {
            "step": self.num_steps_done,
            "seed": self.seed,
            "updates": {name: updater.num_updates for name, updater in self.updaters.items()},
            "skips": self.num_skips,
            "rollbacks": self.num_rollbacks,
            "rolled_back_to": self.rolled_back_to,
            "lr_factor": self.lr_factor,
            "best": self.best,
            "unlogged": self.unlogged,
        }

    @property
    def is_best(self) -> bool:
        """Whether the step just done is the best so far, on the process that measures."""
        return self.best is not None and self.best["step"] == self.num_steps_done

    def restore(
        self, tensors: dict[str, dict[str, Tensor]], numbers: Mapping[str, Any], allow_inexact: bool = False
    ) -> None:
        """Take over what `tensors` and `numbers` gave.

        Args:
            allow_inexact: averages and optimizers whose state is missing start anew, with a line in the log.

        Raises:
            CheckpointError: they don't fit; without `allow_inexact` also, where a part is missing.
        """
        for name, network in self.networks.items():
            load_weights(network, tensors, name)
            if allow_inexact and f"{name}_ema" not in tensors:
                _log.warning('the averages of the network "%s" are missing and start from its weights', name)
                load_weights(self.averages[name], tensors, name)
            else:
                load_weights(self.averages[name], tensors, f"{name}_ema")
            state, updates = tensors.get(f"{name}_optimizer"), updates_of(numbers, name)
            if state is not None and updates is not None:
                self.updaters[name].restore(name, state, updates)
                check_finite(state, f"{name}_optimizer")
            elif allow_inexact:
                _log.warning('the optimizer of the network "%s" starts anew: its state is missing', name)
            else:
                raise CheckpointError(
                    f'the checkpoint has no optimizer state of the network "{name}": add --allow-inexact to '
                    "start it anew"
                )
        for group, kept in self.kept.items():
            restore_kept(kept, tensors, group, self.runtime.device, allow_inexact)
        if "best" not in numbers and not allow_inexact:
            raise CheckpointError(
                "the checkpoint lacks the best step so far: add --allow-inexact to forget it"
            )
        self.num_steps_done, self.best, self._completed = numbers["step"], best_of(numbers), None
        self.unlogged = unlogged_of(numbers)
        # states from before there were guards had no faults
        self.num_skips, self.num_rollbacks = (int(number_of(numbers, n, 0)) for n in ("skips", "rollbacks"))
        back = numbers.get("rolled_back_to")
        self.rolled_back_to = None if back is None else int(number_of(numbers, "rolled_back_to", 0))
        self.lr_factor = number_of(numbers, "lr_factor", 1.0)


def _not_finite(outputs: list[LossOutput]) -> Tensor:
    """1 where a loss or a watched figure isn't finite, else 0."""
    seen = [v for o in outputs for v in (*o.losses.values(), *o.watch.values())]
    return 1 - torch.stack([v.detach().isfinite().all() for v in seen]).all().float()


def _mean_energy(outputs: list[LossOutput], names: tuple[str, ...]) -> Tensor:
    """The mean |E| over the watched energies whose names begin so, 0 where there are none."""
    seen = [v.abs().float().mean() for o in outputs for k, v in o.watch.items() if k.startswith(names)]
    return torch.stack(seen).mean() if seen else torch.zeros((), device=outputs[0].t.device)
