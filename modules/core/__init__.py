"""The values, random numbers and errors that everything else is made of."""

from modules.core.lazy import exports

__getattr__, __dir__, __all__ = exports(
    __name__,
    {
        "checks": (
            "CheckpointError ConfigurationError DataError DivergenceError UserError "
            "check_bool check_integer check_number check_shape"
        ),
        "noise": "Noise",
        "tensors": "expand_as norm_per_sample rms_per_sample sum_per_sample",
        "types": "Batch Chain EnergyFn LossOutput NoiseSource Potential SelfDifferentiating Transition",
    },
)
