"""What components keep beside the networks' weights, such as a replay buffer or an adapted step, on disk.

A component declares its state as torch does: an nn.Module registers parameters and buffers (persistent ones),
any other object has `state_dict()` and `load_state_dict(state)`, of tensors by name.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from modules.core.checks import CheckpointError, ConfigurationError
from modules.core.fingerprints import digest

_log = logging.getLogger(__name__)


@runtime_checkable
class Stateful(Protocol):
    """What has a state of its own."""

    def state_dict(self) -> dict[str, Any]:
        """Tensors by name."""

    def load_state_dict(self, state: dict[str, Any]) -> Any:
        """Take them over."""


@dataclass(frozen=True)
class _Place:
    """A registered parameter or buffer."""

    owner: nn.Module
    name: str

    @property
    def value(self) -> Tensor | None:
        registered = {**self.owner._parameters, **self.owner._buffers}
        return registered[self.name]

    def set(self, value: Tensor) -> None:
        if self.name in self.owner._parameters:
            self.owner._parameters[self.name].data.copy_(value)  # type: ignore[union-attr]
        else:  # a buffer may have grown since it was registered
            self.owner._buffers[self.name] = value


class Kept:
    """The state of a component and of those that it is made of: its submodules, its constructor's arguments.

    Args:
        component: such as a method or a generation.
        but: networks, whose weights are kept elsewhere.
    """

    def __init__(self, component: object, but: Collection[nn.Module] = ()) -> None:
        self.component = component
        self._places: dict[str, _Place] = {}
        self._others: dict[str, Stateful] = {}
        seen = {id(network) for network in but}
        elsewhere = {id(value) for network in but for value in network.state_dict(keep_vars=True).values()}
        self._find(component, "", seen)
        self._places = {n: p for n, p in self._places.items() if id(p.value) not in elsewhere}

    def _find(self, component: object, path: str, seen: set[int]) -> None:
        if (
            id(component) in seen
            or isinstance(component, (type, Tensor, str))
            or inspect.isroutine(component)
        ):
            return
        seen.add(id(component))
        start = f"{path}." if path else ""
        if isinstance(component, (list, tuple, dict)):
            items = component.items() if isinstance(component, dict) else enumerate(component)
            for key, value in items:
                self._find(value, f"{start}{key}", seen)
        elif isinstance(component, nn.Module):
            transient = component._non_persistent_buffers_set
            for name in (*component._parameters, *component._buffers):
                if name not in transient:
                    self._places[start + name] = _Place(component, name)
            for name, child in component._modules.items():
                self._find(child, start + name, seen)
        elif isinstance(component, Stateful):
            self._others[path] = component
            return
        for name, value in _made_of(component):
            self._find(value, start + name, seen)

    def tensors(self) -> dict[str, Tensor]:
        """All of it by name.

        Raises:
            ConfigurationError: a state of something else than tensors.
        """
        found = {name: place.value for name, place in self._places.items()}
        for path, other in self._others.items():
            for name, value in other.state_dict().items():
                if not isinstance(value, Tensor):
                    raise ConfigurationError(
                        f"{type(other).__name__}.state_dict gave {name!r} as {type(value).__name__}, must "
                        "give tensors by name: a checkpoint holds nothing else"
                    )
                found[f"{path}.{name}" if path else name] = value
        return {name: value.detach() for name, value in found.items() if value is not None}

    def digest(self) -> str:
        """SHA-256 of all of it."""
        return digest(self.tensors())

    def restore(
        self, saved: Mapping[str, Tensor], group: str, device: torch.device, strict: bool = True
    ) -> None:
        """Take over what `tensors` gave; a buffer may have other rows than now, but not other columns.

        Args:
            strict: False leaves out what either side lacks.

        Raises:
            CheckpointError: a name that is missing or has no place, another shape or dtype.
        """
        now = self.tensors()
        prefixes = tuple(f"{path}." for path in self._others if path)
        for name in sorted({*now, *saved}):
            if name not in saved and strict:
                raise CheckpointError(
                    f"group {group!r}: {name} is missing, which the configured component keeps"
                )
            mine = name in self._places or name.startswith(prefixes) or "" in self._others
            if not mine and strict:
                raise CheckpointError(f"group {group!r}: {name} has no place in the configured component")
            if name in now and name in saved and name in self._places:
                found, wanted = ((tuple(v.shape[1:]), v.dtype) for v in (saved[name], now[name]))
                if found != wanted or saved[name].ndim != now[name].ndim:
                    raise CheckpointError(
                        f"group {group!r}: {name} is {tuple(saved[name].shape)} {saved[name].dtype}, not "
                        f"{tuple(now[name].shape)} {now[name].dtype}"
                    )
        for name, place in self._places.items():
            if name in saved:
                place.set(saved[name].to(device))
        for path, other in self._others.items():
            start = f"{path}." if path else ""
            of_it = {n[len(start) :]: v.to(device) for n, v in saved.items() if n.startswith(start)}
            if of_it or strict:
                other.load_state_dict(of_it)


def restore_kept(
    kept: Kept,
    tensors: Mapping[str, Mapping[str, Tensor]],
    group: str,
    device: torch.device,
    allow_inexact: bool = False,
) -> None:
    """Take over a group of a checkpoint, which has none of what keeps nothing.

    Args:
        allow_inexact: a component whose state is missing starts anew, with a line in the log.

    Raises:
        CheckpointError: the group doesn't fit; without `allow_inexact` also, where it is missing.
    """
    if group in tensors:
        kept.restore(tensors[group], group, device)
    elif kept.tensors():
        name = type(kept.component).__name__
        if not allow_inexact:
            raise CheckpointError(
                f"the checkpoint has no group {group!r}, the state that {name} keeps: add --allow-inexact to "
                "start it anew"
            )
        _log.warning("the state that %s keeps starts anew: it is missing", name)


def _made_of(component: object) -> Iterator[tuple[str, object]]:
    """Attributes that are a component's constructor's arguments, or have a state themselves."""
    held = getattr(component, "__dict__", {})
    try:
        arguments = set(inspect.signature(type(component)).parameters)
    except (TypeError, ValueError):
        arguments = set()
    for name, value in held.items():
        stateful = isinstance(value, Stateful) and not isinstance(value, type)
        if name in arguments or stateful:
            yield name, value
