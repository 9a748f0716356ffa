"""Chains on a potential."""

from modules.core.lazy import exports

__getattr__, __dir__, __all__ = exports(
    __name__,
    {
        "adjusted_langevin": "AdjustedLangevin",
        "base": "Sampler",
        "hamiltonian": "Hamiltonian",
        "langevin": "Langevin",
        "metropolis": "MetropolisSampler",
        "underdamped": "UnderdampedLangevin",
    },
)
