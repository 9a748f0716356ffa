"""The published procedures' numbers: pairs, chains, a training step with its gradients, sampling."""

import pytest
import torch

from modules.core.tensors import expand_as
from modules.core.types import Batch
from modules.energies.drl_resnet import RecoveryResNet
from modules.energies.recovery import RecoveryPotential
from modules.guidance.classifier_free import ClassifierFreeGuidance
from modules.guidance.none import NoGuidance
from modules.initializers.copy import CopyInitializer
from modules.losses.likelihood import RecoveryLikelihoodLoss
from modules.methods.networks import Networks
from modules.methods.recovery import RecoveryLikelihood
from modules.samplers.langevin import Langevin
from modules.sampling.draw import Draw
from modules.sampling.generation import Generation
from modules.schedules.cosine import CosineSchedule
from modules.schedules.forward import independent_pair
from modules.schedules.subsampled_linear import SubsampledLinearSchedule
from tests.golden_weights import (
    golden,
    golden_label,
    image_shape,
    load_cdrl_energy,
    load_cdrl_unet,
    load_drl_energy,
)
from tests.replay import Replay


@pytest.fixture(scope="module")
def cdrl():
    recorded = golden("cdrl_cond")
    return recorded, load_cdrl_energy(recorded), load_cdrl_unet(recorded)


def relative(a, b):
    return float((a - b).norm() / b.norm())


def test_langevin():
    recorded = golden("cdrl_uncond")
    transition = CosineSchedule().transition(recorded["in.t"])
    bound = load_cdrl_energy(recorded).at(transition)
    potential = RecoveryPotential(bound, transition, recorded["langevin.x_t"])
    noise = Replay({("langevin", k): z for k, z in enumerate(recorded["langevin.noise"])})
    chain = Langevin(num_steps=4).sample(potential, recorded["langevin.y0"], transition.step_size, noise)
    x_s = chain.y / expand_as(transition.y_scale, chain.y)
    assert relative(x_s, recorded["langevin.out_x_prev"]) < 1e-5


def test_training_step(cdrl):
    recorded, _, unet = cdrl
    energy = load_cdrl_energy(recorded)
    method = RecoveryLikelihood(
        energy, unet, CosineSchedule(), Langevin(num_steps=4), shared_noise=True, label_dropout=0.0
    )
    method.train()
    unet.eval()  # dropout is off in the recorded step
    normals = {("eps", 0): recorded["step.eps"], ("proposal", 0): recorded["step.init_noise"]}
    normals |= {("langevin", k): z for k, z in enumerate(recorded["step.noise"])}
    method.begin_step(0)
    batch = Batch(recorded["step.x0"], golden_label(recorded["in.label"]))
    out = method(batch, Replay(normals, {"t": recorded["in.t"]}))
    assert relative(-out.watch["energy_positive"], recorded["step.f_pos"]) < 2e-5
    assert relative(-out.watch["energy_negative"], recorded["step.f_neg"]) < 1e-4
    torch.testing.assert_close(out.losses["energy"], recorded["step.energy_loss"], rtol=2e-4, atol=1e-5)
    torch.testing.assert_close(out.losses["initializer"], recorded["step.init_loss"], rtol=1e-4, atol=0)

    unet.zero_grad()
    sum(out.losses.values()).backward()
    for name, network in (("ebm", energy), ("unet", unet)):
        norm = torch.stack([p.grad.norm() for p in network.parameters()]).norm()
        torch.testing.assert_close(norm, recorded[f"step.grad_norm.{name}"], rtol=1e-4, atol=0)
    by_place = {
        "ebm.module_list.0.weight_orig": energy.stem.weight,
        "ebm.temb_final.weight": energy.head.weight,
    }
    for key, parameter in by_place.items():
        assert relative(parameter.grad, recorded[f"step.grad.{key}"]) < 1e-3, key


NUM_LEVELS = 6


def num_steps(recorded):
    """Steps a level: the recorded noises are one proposal's and one a step, per level."""
    return len(recorded["sample.noise"]) // NUM_LEVELS - 1


def sampling_noise(recorded):
    """Recorded noises in the order of their use: per level a proposal's, then one a step."""
    in_order = iter(recorded["sample.noise"])
    normals = {("x_T", 0): recorded["sample.x_T"]}
    for level in range(NUM_LEVELS, 0, -1):
        normals[(f"level {level}", "proposal", 0)] = next(in_order)
        for k in range(num_steps(recorded)):
            normals[(f"level {level}", "langevin", k)] = next(in_order)
    return Replay(normals)


def sampled(recorded, energy, unet, guidance, label, factor):
    generation = Generation(Langevin(num_steps(recorded)), guidance, denoise_factor=factor)
    draw = Draw(label, sampling_noise(recorded))
    return generation.sample(Networks(energy, unet, CosineSchedule(NUM_LEVELS)), draw).x


@pytest.mark.parametrize(
    ("guidance", "labels", "out", "bound"),
    [
        (NoGuidance(), "sample.label", "sample.out", 1e-4),
        (ClassifierFreeGuidance(0.5), "guided.label", "guided.w0.5.out", 1e-3),
        (ClassifierFreeGuidance(2.0), "guided.label", "guided.w2.0.out", 1e-3),
    ],
)
def test_sampling_with_the_published_denoising_factor(cdrl, guidance, labels, out, bound):
    """Factor 2; half of it, Tweedie's formula, is told apart. Guidance magnifies rounding."""
    recorded, energy, unet = cdrl
    two, one = (
        sampled(recorded, energy, unet, guidance, golden_label(recorded[labels]), factor)
        for factor in (2.0, 1.0)
    )
    error = relative(two, recorded[out])
    assert error < bound and relative(one, recorded[out]) > max(bound, 10 * error)


def test_drl_pair_chain_and_loss():
    recorded = golden("drl_uncond")
    energy: RecoveryResNet = load_drl_energy(recorded)
    schedule = SubsampledLinearSchedule()
    t = recorded["in.t"] + 1
    transition = schedule.transition(t)
    noise = Replay({("eps", 0): recorded["pair.noise_x"], ("eps_step", 0): recorded["pair.noise_step"]})
    x_s, x_t = independent_pair(recorded["pair.x0"], transition, noise)
    assert relative(x_s, recorded["pair.x_pos"]) < 1e-6
    assert relative(x_t, recorded["pair.x_noisier"]) < 1e-6

    potential = RecoveryPotential(energy.at(transition, None), transition, x_t)
    initializer = CopyInitializer(image_shape(recorded))
    chain_noise = Replay({("langevin", k): z for k, z in enumerate(recorded["langevin.noise"])})
    start = initializer.propose(initializer.mean(x_t, transition), transition, chain_noise)
    chain = Langevin(num_steps=4).sample(potential, start, transition.step_size, chain_noise)
    assert relative(chain.y / expand_as(transition.y_scale, chain.y), recorded["langevin.out_x_neg"]) < 1e-5
    positive = energy(expand_as(transition.y_scale, x_s) * x_s, transition)
    loss = RecoveryLikelihoodLoss()(positive, energy(chain.y, transition), transition)
    torch.testing.assert_close(loss, recorded["loss"].squeeze(), rtol=2e-4, atol=1e-5)
