"""Muon: matrices move by their orthogonalized momentum, everything else by Adam."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import gin
import torch
from torch import Tensor, nn

from modules.core.checks import check_integer, check_number
from modules.training.optimizers import Optimizer, check_adam

_NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)  # of an odd polynomial that takes (0, 1] near 1 in five steps


def orthogonalized(matrices: Tensor) -> Tensor:
    """Nearly U Vᵀ of G = U Σ Vᵀ, for matrices (n, rows, columns): singular values come to 0.7 to 1.2.

    Five steps X <- aX + (bA + cA²)X, A = XXᵀ, from G/||G||: a Newton-Schulz iteration with coefficients for
    speed, in float32. 0 stays 0. (K. Jordan et al. 2024, https://kellerjordan.github.io/posts/muon)
    """
    tall = matrices.shape[1] > matrices.shape[2]
    x = matrices.mT if tall else matrices
    x = x / x.flatten(1).norm(dim=1)[:, None, None].clamp(min=1e-30)
    a, b, c = _NEWTON_SCHULZ
    for _ in range(5):
        gram = x @ x.mT
        x = a * x + (b * gram + c * (gram @ gram)) @ x
    return x.mT if tall else x


@gin.register
class Muon(Optimizer):
    """Momentum with orthogonalized updates of weight matrices (Jordan et al. 2024); AdamW for the rest.

    M <- μM + G, W <- (1 - rw)W - r √max(1, rows/columns) orthogonalized(G + μM), r = matrix_lr · lr_n/lr. A
    kernel of a convolution is the matrix of its outputs by all else. Vectors, and matrices of fewer than
    `smallest` rows or columns (first and last layers of pictures), move as by AdamW at lr_n.

    Args:
        lr: AdamW's rate; warm-up and decay apply to both.
        matrix_lr: how far a matrix moves, in its spectral norm. momentum: μ.
        smallest: the fewest rows and columns that make a matrix.
        beta1, beta2, eps: AdamW's; the others: see Optimizer.
        weight_decay: w, of the matrices alone: it keeps spectral norms below about √max(1, rows/columns)/w.
    """

    def __init__(
        self,
        lr: float = 1e-3,
        matrix_lr: float = 0.01,
        momentum: float = 0.95,
        smallest: int = 16,
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
        check_number("Muon.matrix_lr", matrix_lr, above=0)
        check_number("Muon.momentum", momentum, low=0, below=1)
        check_integer("Muon.smallest", smallest, low=2)
        check_adam("Muon", beta1, beta2, eps)
        check_number("Muon.weight_decay", weight_decay, low=0)
        self.matrix_lr, self.momentum, self.smallest = matrix_lr, momentum, smallest
        self.weight_decay = weight_decay
        self.beta1, self.beta2, self.eps = beta1, beta2, eps

    def make(self, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
        """One torch optimizer for both kinds."""
        return _MuonAndAdamW(self, list(parameters))


class _MuonAndAdamW(torch.optim.Optimizer):
    """Both kinds of parameters with one rate and one state, which AdamW shares for its part."""

    def __init__(self, rule: Muon, parameters: list[nn.Parameter]) -> None:
        fused = parameters[0].device.type in ("cpu", "cuda")
        super().__init__(parameters, {"lr": rule.lr, "fused": fused})
        self._rule = rule
        self._matrices: dict[tuple[int, int], list[nn.Parameter]] = {}
        others = []
        for parameter in parameters:
            rows = parameter.shape[0] if parameter.ndim > 1 else 0
            columns = parameter.numel() // max(1, rows)
            if min(rows, columns) >= rule.smallest:
                self._matrices.setdefault((rows, columns), []).append(parameter)
            else:
                others.append(parameter)
        betas = (rule.beta1, rule.beta2)
        self._adam = (
            torch.optim.AdamW(others, rule.lr, betas, rule.eps, weight_decay=0.0, fused=fused)
            if others
            else None
        )

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One update of everything that has a gradient."""
        loss = None if closure is None else torch.enable_grad()(closure)()
        lr = self.param_groups[0]["lr"]
        for same in self._matrices.values():  # those of a shape are orthogonalized together
            self._move([p for p in same if p.grad is not None], self._rule.matrix_lr * lr / self._rule.lr)
        if self._adam is not None:
            self._adam.state = self.state  # a new one after load_state_dict
            self._adam.param_groups[0]["lr"] = lr
            self._adam.step()
        return loss

    def _move(self, parameters: list[nn.Parameter], lr: float) -> None:
        if not parameters:
            return
        momentum, updates = self._rule.momentum, []
        for parameter in parameters:
            assert parameter.grad is not None
            state = self.state[parameter]
            if not state:
                state["momentum"] = torch.zeros_like(parameter)
            kept = state["momentum"].mul_(momentum).add_(parameter.grad)
            updates.append((parameter.grad + momentum * kept).flatten(1))
        moves = orthogonalized(torch.stack(updates))
        scale = max(1.0, moves.shape[1] / moves.shape[2]) ** 0.5
        for parameter, move in zip(parameters, moves, strict=True):
            parameter.mul_(1 - lr * self._rule.weight_decay)
            parameter.add_(move.reshape(parameter.shape), alpha=-lr * scale)
