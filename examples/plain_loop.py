"""A training loop of your own, without gin and without the trainer: CDRL on the checkerboard in twenty lines.

python examples/plain_loop.py
"""

import torch

from modules.core import Noise
from modules.data import Checkerboard, TrainingStream
from modules.energies import MLPEnergy
from modules.initializers import MLPInitializer
from modules.methods import RecoveryLikelihood
from modules.runtime import Runtime
from modules.samplers import Langevin
from modules.sampling import Draw, Generation, sample
from modules.schedules import CosineSchedule


def train(num_steps=2000, batch_size=256):
    """The method after so many steps; its networks are modules as any."""
    torch.manual_seed(0)
    schedule = CosineSchedule(num_levels=12, logsnr_max=6.2, logsnr_min=-3.0, step_variance=0.02)
    energy = MLPEnergy((2,), width=128, depth=2, num_frequencies=3, zero_head=True)
    method = RecoveryLikelihood(
        energy, MLPInitializer((2,)), schedule, Langevin(num_steps=15), shared_noise=True
    )
    networks = method.networks()
    optimizers = {name: torch.optim.Adam(net.parameters(), lr=1e-4) for name, net in networks.items()}
    stream = TrainingStream(Checkerboard().open(), batch_size, seed=0)
    for step in range(num_steps):
        method.begin_step(step)
        output = method(stream.batch(step, range(batch_size)), Noise(0, torch.arange(batch_size), step))
        sum(output.losses.values()).backward()
        for name, optimizer in optimizers.items():
            torch.nn.utils.clip_grad_norm_(networks[name].parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad()
    return method.eval()


def draw(method, num=1000):
    """Points (num, 2) of seed 0."""
    generation = Generation(Langevin(num_steps=15))
    return sample(generation, method.models(), Draw.of_seed(0, num), Runtime()).x


if __name__ == "__main__":
    print(draw(train()))
