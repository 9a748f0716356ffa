"""Energies E(y), low where data is likely, and the potential that a chain follows."""

from modules.core.lazy import exports

__getattr__, __dir__, __all__ = exports(
    __name__,
    {
        "alternatives": "AnyOf ButNot",
        "analytic": "GaussianEnergy MixtureEnergy",
        "base": "Energy",
        "dense_resnet": "DenseResNet",
        "drl_resnet": "RecoveryResNet",
        "frozen": "FreezableEnergy FrozenEnergy",
        "mlp": "MLPEnergy",
        "image": "ImageEnergy NetworkEnergy",
        "marginal": "MarginalPotential",
        "normalized": "NormalizedEnergy",
        "recovery": "RecoveryPotential energy_and_grad",
        "unet": "UNetEnergy",
        "resnet": "CooperativeResNet",
        "sum": "EnergySum",
    },
)
