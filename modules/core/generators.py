"""Random numbers that leave torch's global generators, which are the caller's, as they are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes


@contextmanager
def own_generators(seed: int = 0) -> Iterator[None]:
    """Inside, what this thread draws comes from generators of its own, the same ones each time.

    Saving the global generator and putting it back would not do: another thread may draw in between.
    """
    with _Redirected(seed):
        yield


@contextmanager
def nothing_drawn() -> Iterator[None]:
    """Inside, where nothing is drawn, `own_generators` looks at no operation: each costs it some 20 us."""
    with _disable_current_modes():
        yield


class _Redirected(TorchDispatchMode):
    """Gives each operation that draws, and was given no generator, one of this mode."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self._seed = seed
        self._generators: dict[torch.device, torch.Generator] = {}

    def __torch_dispatch__(
        self,
        func: Any,
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        given = dict(kwargs or {})
        if torch.Tag.nondeterministic_seeded in func.tags and given.get("generator") is None:
            drawing = _with_generator(func)
            if drawing is not None:
                func, given["generator"] = drawing, self._generator(args, given)
        return func(*args, **given)

    def _generator(self, args: tuple[Any, ...], given: Mapping[str, Any]) -> torch.Generator:
        """That of the device where the numbers are made."""
        on = next((x.device for x in args if isinstance(x, torch.Tensor)), None)
        device = torch.device(given.get("device") or on or "cpu")
        if device.type == "meta":  # nothing is drawn there
            device = torch.device("cpu")
        if device not in self._generators:
            self._generators[device] = torch.Generator(device).manual_seed(self._seed)
        return self._generators[device]


def _with_generator(func: Any) -> Any:
    """The operation as it takes a generator; None: there is none such."""
    wanted = [argument.name for argument in func._schema.arguments if argument.name != "generator"]
    if len(wanted) < len(func._schema.arguments):
        return func
    packet = func.overloadpacket
    for other in (getattr(packet, "generator", None), getattr(packet, "low_generator", None)):
        names = [argument.name for argument in other._schema.arguments] if other is not None else []
        if [name for name in names if name != "generator"] == wanted:
            return other
    return None
