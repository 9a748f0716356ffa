"""Spectral normalization without hidden state: forwards never change a buffer (spec §5, §7).

torch's own iterates in every training-mode forward. Here a chain, its positives and its negatives must
share the same normalized weights, so iterating is a call of its own: once per optimizer step.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from modules.core.generators import nothing_drawn
from modules.layers.precision import full_precision

_INITIAL_ITERATIONS = 50
_SEED = 0  # of the first vectors; the global generator is left alone


class SpectralNormalized(nn.Module):
    """What SpectralConv2d and SpectralLinear share: a raw `weight`, and the vectors `u` and `v` beside it.

    With W = weight flattened to (out, rest) and σ = uᵀ W v, the weight used is W/σ, or, bounded,
    W/(σ + 1e-6) · min(σ + 1e-6, 1), which never enlarges (DRL's second convolutions, which start near 0).
    """

    weight: Tensor
    u: Tensor
    v: Tensor

    def _start(self, bounded: bool) -> None:
        """Make u and v and iterate, so that σ is right from the first step."""
        self.bounded = bounded
        rows, columns = self.weight.flatten(1).shape
        generator = torch.Generator("cpu").manual_seed(_SEED)
        for name, size in (("u", rows), ("v", columns)):
            if self.weight.is_meta:  # a network built for its shapes alone
                vector = torch.empty(size, device="meta", dtype=self.weight.dtype)
            else:
                vector = F.normalize(torch.randn(size, generator=generator, device="cpu"), dim=0)
            self.register_buffer(name, vector.to(self.weight.device, self.weight.dtype))
        if not self.weight.is_meta:
            with nothing_drawn():
                self.iterate(_INITIAL_ITERATIONS)

    def _matrix(self) -> Tensor:
        """W (out, rest) with its columns in the order of memory: a view, in channels_last too."""
        weight = self.weight
        return weight.flatten(1) if weight.is_contiguous() else weight.permute(0, 2, 3, 1).flatten(1)

    def _v_in_memory(self) -> Tensor:
        """v in the order of `_matrix`'s columns."""
        if self.weight.is_contiguous():
            return self.v
        return self.v.view(self.weight.shape[1:]).permute(1, 2, 0).flatten()

    def sigma(self) -> Tensor:
        """uᵀ W v, a scalar differentiable in W; the largest singular value once u and v have converged."""
        with full_precision(self.weight):  # copies: backward wants u and v as they are now
            return torch.dot(self.u.clone(), self._matrix() @ self._v_in_memory().clone())

    def effective_weight(self, gain: Tensor | None = None) -> Tensor:
        """The weight used: differentiable in the raw one, u and v constant; changes nothing.

        Args:
            gain: (out,), a factor on each output besides.
        """
        sigma = self.sigma()
        if not self.bounded and gain is None:
            return self.weight / sigma
        if self.bounded:
            sigma = sigma + 1e-6
            factor = sigma.clamp(max=1.0) / sigma
        else:
            factor = 1 / sigma
        return self.weight * (factor if gain is None else _of_outputs(gain * factor, self.weight))

    @torch.no_grad()
    def iterate(self, num_iterations: int = 1) -> None:
        """Power iterations in place: v = Wᵀu / |Wᵀu|, then u = Wv / |Wv|."""
        matrix, u, v = self._matrix(), self.u, self._v_in_memory()
        turned = matrix.T
        with full_precision(matrix):
            for _ in range(num_iterations):
                v = turned.mv(u)
                v = v / v.norm().clamp_min(1e-12)
                u = matrix.mv(v)
                u = u / u.norm().clamp_min(1e-12)
        self.u.copy_(u)
        if not self.weight.is_contiguous():
            channels, height, width = self.weight.shape[1:]
            v = v.view(height, width, channels).permute(2, 0, 1).flatten()
        self.v.copy_(v)


class SpectralConv2d(SpectralNormalized, nn.Conv2d):
    """A convolution with padding that keeps the size (at stride 1), spectrally normalized.

    Args:
        in_channels, out_channels: channels.
        kernel_size: odd.
        stride: 2 halves the resolution.
        bias: with a bias.
        bounded: normalize only what has a singular value above 1.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int = 3,
        stride: int = 1,
        bias: bool = True,
        bounded: bool = False,
    ) -> None:
        nn.Conv2d.__init__(
            self, in_channels, out_channels, kernel_size, stride, padding=kernel_size // 2, bias=bias
        )
        self._start(bounded)

    def forward(self, input: Tensor) -> Tensor:
        """(b, in, h, w) -> (b, out, h/stride, w/stride)."""
        return self._conv_forward(input, self.effective_weight(), self.bias)


class SpectralLinear(SpectralNormalized, nn.Linear):
    """A dense layer, spectrally normalized; arguments as SpectralConv2d's."""

    def __init__(self, in_features: int, out_features: int, bias: bool = True, bounded: bool = False) -> None:
        nn.Linear.__init__(self, in_features, out_features, bias)
        self._start(bounded)

    def forward(self, input: Tensor) -> Tensor:
        """(b, in) -> (b, out)."""
        return F.linear(input, self.effective_weight(), self.bias)


def conv2d(
    in_channels: int,
    out_channels: int,
    kernel_size: int = 3,
    stride: int = 1,
    spectral: bool = True,
    bounded: bool = False,
) -> nn.Conv2d:
    """A convolution with or without spectral norm, padded to keep the size."""
    if spectral:
        return SpectralConv2d(in_channels, out_channels, kernel_size, stride, bounded=bounded)
    return nn.Conv2d(in_channels, out_channels, kernel_size, stride, padding=kernel_size // 2)


def linear(in_features: int, out_features: int, spectral: bool = True) -> nn.Linear:
    """A dense layer with or without spectral norm."""
    return SpectralLinear(in_features, out_features) if spectral else nn.Linear(in_features, out_features)


def snapshot(
    layer: nn.Conv2d | nn.Linear, dtype: torch.dtype | None = None, gain: Tensor | None = None
) -> tuple[Tensor, Tensor | None]:
    """The weight and bias a layer uses now: new tensors under no_grad, else differentiable.

    New tensors, so that a later optimizer step leaves a chain's energy alone; with gradients, autograd itself
    sees to that.

    Args:
        dtype: of the result; None: the layer's own.
        gain: (out,), a factor on the layer's outputs, so on its bias too. In one pass over the weights, of
            which the largest networks have so many that a chain of few steps notices each.
    """
    learning = torch.is_grad_enabled()
    if isinstance(layer, SpectralNormalized):
        weight = layer.effective_weight(gain)
    elif gain is not None:
        weight = layer.weight * _of_outputs(gain, layer.weight)
    else:
        weight = layer.weight if learning else layer.weight.clone()
    bias = layer.bias
    if bias is not None and gain is not None:
        bias = bias * gain
    elif bias is not None and not learning:
        bias = bias.clone()
    if dtype is None:
        return weight, bias
    return weight.to(dtype), None if bias is None else bias.to(dtype)


def _of_outputs(factor: Tensor, weight: Tensor) -> Tensor:
    """(out,) as a factor on weights (out, ...)."""
    return factor.reshape(-1, *([1] * (weight.ndim - 1)))


def power_iterate(module: nn.Module, num_iterations: int = 1) -> None:
    """Power iterations of every spectrally normalized layer in `module`, in place: one per optimizer step."""
    for layer in module.modules():
        if isinstance(layer, SpectralNormalized):
            layer.iterate(num_iterations)


@torch.no_grad()
def converge(module: nn.Module, tolerance: float = 1e-6, max_iterations: int = 2000) -> None:
    """Iterate every layer until ten iterations change its σ by less than `tolerance`, relative.

    For weights that didn't come with vectors of their own, as averaged ones (spec §5).
    """
    for layer in module.modules():
        if not isinstance(layer, SpectralNormalized):
            continue
        sigma = float(layer.sigma())
        for _ in range(max_iterations // 10):
            layer.iterate(10)
            previous, sigma = sigma, float(layer.sigma())
            if abs(sigma - previous) <= tolerance * abs(sigma):
                break
