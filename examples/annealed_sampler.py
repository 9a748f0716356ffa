"""A sampler of your own: Langevin steps whose noise fades towards the chain's end.

accelerate launch launch.py --gin gin/cdrl_digits.gin --import examples/annealed_sampler.py \
    --set "RecoveryLikelihood.sampler=@AnnealedLangevin()" --output runs/annealed
"""

import gin

from modules.core import Chain, expand_as, norm_per_sample, rms_per_sample
from modules.samplers import Sampler


@gin.register
class AnnealedLangevin(Sampler):
    """y ← y - (s²/2) ∇U(y) + s √(1 - k/K) z_k, k = 0..K-1.

    Args:
        num_steps: K.
    """

    def __init__(self, num_steps=15):
        self.num_steps = num_steps

    def sample(self, potential, y, step_size, noise, free=None):
        start = y = y.detach()
        grad, step = 0 * y, expand_as(step_size, y)
        moves = 1 if free is None else free  # pixels that are given stay
        shape = tuple(y.shape[1:])
        for k, z in enumerate(noise.normals("annealed", shape, self.num_steps)):
            grad = potential.grad(y)
            fading = (1 - k / self.num_steps) ** 0.5
            y = y + moves * (step * fading * z - 0.5 * step**2 * grad)
        return Chain(y, norm_per_sample(grad), rms_per_sample(y - start))
