"""Which precision this machine's networks are fastest in."""

from __future__ import annotations

import time
from functools import cache

import torch
import torch.nn.functional as F

AUTO = "auto"
_NAMES = {"bf16": "bf16", "no": "float32"}
_WORTH = 1.2  # times as fast as float32, from which on bf16 is taken: 2 where a CPU has it, 0.1 where not


@cache
def bf16_speed() -> float:
    """How many times as fast as in float32 a convolution is in bfloat16 here, measured once a process.

    A GPU isn't timed: 2 where it multiplies bfloat16, else 0.
    """
    if torch.cuda.is_available():
        return 2.0 if torch.cuda.is_bf16_supported(including_emulation=False) else 0.0
    h, weight = torch.ones(16, 32, 16, 16), torch.ones(32, 32, 3, 3)
    seconds = {}
    with torch.no_grad():
        for dtype in (torch.float32, torch.bfloat16):
            given = h.to(dtype), weight.to(dtype)
            F.conv2d(*given, padding=1)  # torch chooses its kernel
            seconds[dtype] = min(_seconds(*given) for _ in range(5))
    return seconds[torch.float32] / seconds[torch.bfloat16]


def _seconds(h: torch.Tensor, weight: torch.Tensor) -> float:
    began = time.perf_counter()
    F.conv2d(h, weight, padding=1)
    return time.perf_counter() - began


def chosen() -> tuple[str, str]:
    """What `precision = "auto"` is on this machine, "bf16" or "no", and the line that says so."""
    if torch.cuda.is_available():
        taken = "bf16" if bf16_speed() else "no"
        return taken, f"precision: {_NAMES[taken]}; this GPU {'multiplies' if bf16_speed() else 'lacks'} bf16"
    taken = "bf16" if bf16_speed() >= _WORTH else "no"
    return (
        taken,
        f"precision: {_NAMES[taken]}; in bf16 this CPU is {bf16_speed():.1f} times as fast as in float32",
    )


def kept() -> str | None:
    """What a run that began in bf16 and goes on in it has to say where float32 would be faster."""
    if bf16_speed() >= 1:
        return None
    here = f"this device is {bf16_speed():.1f} times as fast in it as in float32"
    return f"precision: bf16, in which the run began; it goes on slowly, for {here}"
