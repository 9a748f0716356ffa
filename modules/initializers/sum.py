"""A composition of initializers: what their models' product would propose (spec §8)."""

from __future__ import annotations

from collections.abc import Sequence

import gin
import torch
from torch import Tensor, nn

from modules.core.checks import ConfigurationError, check_instance
from modules.core.tensors import expand_as
from modules.core.types import Transition
from modules.energies.sum import check_weights, common_classes
from modules.initializers.base import Initializer
from modules.initializers.copy import CopyInitializer
from modules.initializers.own import OwnInitializer


@gin.register
class InitializerSum(Initializer):
    """g = r + Σ_m w_m (g_m - r), r = x_t (top: x_T/√α_T): g - r is a multiple of a score (spec §8).

    Args:
        initializers: of one shape, none of them a copy; those that know labels have the same classes.
        weights: w_m, one for each.

    Raises:
        ConfigurationError: initializers or weights that don't fit together.
    """

    def __init__(self, initializers: Sequence[Initializer], weights: Sequence[float]) -> None:
        for initializer in initializers:
            check_instance("InitializerSum.initializers' entries", initializer, Initializer)
            if isinstance(initializer, (CopyInitializer, OwnInitializer)):
                raise ConfigurationError(
                    f"InitializerSum: a {type(initializer).__name__} proposes no mean that could be weighed: "
                    "models with one and models with another initializer can't be composed"
                )
        check_weights("InitializerSum", initializers, weights)
        noise = initializers[0].proposal_noise
        if any(initializer.proposal_noise != noise for initializer in initializers):
            raise ConfigurationError(
                "InitializerSum: models with proposal_noise and models without can't be composed"
            )
        super().__init__(initializers[0].shape, common_classes("InitializerSum", initializers), noise)
        self.initializers = nn.ModuleList(initializers)
        self.weights = tuple(weights)

    def mean(self, x_t: Tensor, transition: Transition, label: Tensor | None = None) -> Tensor:
        """See Initializer.mean."""
        top = transition.is_top
        r = x_t / expand_as(torch.where(top, transition.alpha_ts, torch.ones_like(transition.alpha_ts)), x_t)
        terms = []
        for weight, initializer in zip(self.weights, self.initializers, strict=True):
            assert isinstance(initializer, Initializer)
            unlabelled = self.num_classes and not initializer.num_classes
            terms.append(weight * (initializer.mean(x_t, transition, None if unlabelled else label) - r))
        return r + torch.stack(terms).sum(0)
