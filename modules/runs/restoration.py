"""Images restored from linear measurements by a model."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from modules.core.checks import ConfigurationError, check_instance, check_integer, check_number
from modules.runs.model import Model
from modules.samplers.base import Sampler
from modules.sampling.draw import Draw
from modules.sampling.measuring import LinearMap, Measured


def restore(
    model: Model,
    values: Tensor,
    map: LinearMap,
    sigma: float,
    completions: int = 1,
    label: int | Sequence[int] | Tensor | None = None,
    guidance: float | None = None,
    seed: int = 0,
    batch_size: int = 256,
    settling: Sampler | None = None,
    progress: bool = False,
) -> Tensor:
    """Images (n, k, *shape) given measurements b = A x + σ n of them: draws of p(x | b), nearly.

    The walk down the levels has ||A x - b||²/(2σ²) in every chain's potential, with the level's own noise
    (MeasuredPotential). Restoration j of measurement i has the noise of sample i·k + j of the seed.

    Args:
        values: b, (n, ...), as `map` gives them. sigma: σ of their noise.
        completions: k.
        settling: a last chain on p(x_0 | b) itself; an exact sampler with steps enough makes the draws exact.
            None: without.
        label, guidance, seed, batch_size: as of generate. progress: whether to show a bar.

    Raises:
        ConfigurationError: measurements that the map doesn't make of the model's images.
    """
    check_integer("completions", completions, low=1)
    check_instance("map", map, LinearMap)
    check_number("sigma", sigma, above=0)
    check_instance("settling", settling, (Sampler, type(None)))
    wanted = tuple(map(torch.zeros(1, *model.energy.shape)).shape[1:])
    if tuple(values.shape[1:]) != wanted:
        raise ConfigurationError(
            f"measurements by a {type(map).__name__} are (n, {', '.join(str(n) for n in wanted)}) here, got "
            f"{tuple(values.shape)}"
        )
    if not values.is_floating_point() or not values.isfinite().all():
        kind = str(values.dtype).removeprefix("torch.")
        raise ConfigurationError(
            f"measurements must be finite floats, of images in [-1, 1] (x/127.5 - 1 of 8 bits), got {kind} "
            "numbers" + ("" if not values.is_floating_point() else ", some of them not finite")
        )
    labels = model.labels(label, len(values))
    each = torch.arange(len(values)).repeat_interleave(completions)
    plain = Draw.of_seed(seed, len(each), None if labels is None else labels[each])
    draw = Draw(plain.labels, plain.noise, measured=Measured(values[each], map, sigma))
    drawn = model.draw(draw, guidance, batch_size, progress)
    x = drawn.x
    if settling is not None:
        generation, device = model.guided(guidance), model.runtime.device
        parts = []
        for rows in torch.arange(len(each)).split(batch_size):
            part = draw.take(rows).to(device)
            x_0 = drawn.levels[-1][rows].to(device)
            with model.runtime.autocast():
                x_0 = generation.settle(model.networks, settling, x_0, part)
                parts.append(generation.denoise(model.networks, x_0, part.labels).cpu())
        x = torch.cat(parts)
    return x.unflatten(0, (len(values), completions))
