"""Networks that the machine cannot hold are refused while they are built, before they fill its memory."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn
from torch.nn.modules.module import register_module_parameter_registration_hook


class TooLarge(Exception):
    """The weights made so far need more memory than the machine has."""


@contextmanager
def weights_within_memory() -> Iterator[None]:
    """Raise TooLarge inside where the weights that this thread registers exceed this machine's memory.

    A weight is registered before it is filled, and memory is taken only then: without this the system
    would begin to swap, or kill the process without a word.
    """
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    total, builder = 0, threading.get_ident()

    def count(module: nn.Module, name: str, parameter: nn.Parameter | None) -> None:
        nonlocal total
        if threading.get_ident() != builder:
            return
        if parameter is not None and not parameter.is_meta:
            total += parameter.numel() * parameter.element_size()
        if total > memory:
            raise TooLarge(f"{total} bytes of weights, {memory} of memory")

    hook = register_module_parameter_registration_hook(count)
    try:
        yield
    finally:
        hook.remove()


def is_too_large(error: Exception) -> bool:
    """Whether memory was what building failed for."""
    refused = isinstance(error, RuntimeError) and (
        "can't allocate memory" in str(error) or "not enough memory" in str(error)
    )
    return refused or isinstance(error, (TooLarge, MemoryError))
