"""The convolutions of an energy alone, forward and gradient in the input: what a chain's step can't beat."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn.grad import conv2d_input
from torch.utils._python_dispatch import TorchDispatchMode

from modules.core.types import EnergyFn


class _Recorder(TorchDispatchMode):
    """Notes the shapes of every convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[torch.Size, torch.Size, int, int]] = []

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if function is torch.ops.aten.convolution.default:
            x, weight, _, stride, padding = args[:5]
            self.found.append((x.shape, weight.shape, stride[0], padding[0]))
        return function(*args, **(kwargs or {}))


def convolutions(energy: EnergyFn, y: Tensor) -> tuple[Callable[[], None], int]:
    """What runs the convolutions of one E(y) and its gradient, in channels_last; and their operations.

    Returns:
        a function to time, and its floating-point operations (0: an energy without convolutions).
    """
    with _Recorder() as recorder, torch.no_grad():
        energy(y)
    work, operations = [], 0
    for shape, weight_shape, stride, padding in recorder.found:
        x, weight = _random(shape, y), _random(weight_shape, y)
        bias = torch.zeros(weight_shape[0], device=y.device)
        g = torch.nn.functional.conv2d(x, weight, bias, stride, padding)
        operations += 2 * 2 * g.numel() * weight[0].numel()
        work.append((x, weight, bias, stride, padding, g))

    @torch.no_grad()
    def run() -> None:
        for x, weight, bias, stride, padding, _ in work:
            torch.nn.functional.conv2d(x, weight, bias, stride, padding)
        for x, weight, _, stride, padding, g in reversed(work):
            conv2d_input(x.shape, weight, g, stride, padding)

    return run, operations


def _random(shape: torch.Size, like: Tensor) -> Tensor:
    return torch.randn(shape, device=like.device).to(memory_format=torch.channels_last)
