"""The training step: gradients known in closed form, phases, and what a step shares (spec §5)."""

from __future__ import annotations

import math

import pytest
import torch
from scipy import stats
from torch import Tensor, nn

from modules.core.arguments import arguments_of
from modules.core.checks import ConfigurationError
from modules.core.noise import Noise
from modules.core.types import Batch, LossOutput, Transition
from modules.energies.base import Energy
from modules.energies.mlp import MLPEnergy
from modules.initializers.copy import CopyInitializer
from modules.initializers.mlp import MLPInitializer
from modules.layers.spectral import SpectralLinear
from modules.losses.cooperative import CooperativeLoss, WarmStart
from modules.losses.likelihood import RecoveryLikelihoodLoss
from modules.methods.networks import Networks
from modules.methods.recovery import RecoveryLikelihood
from modules.methods.shown import Panel, first_rows
from modules.samplers.langevin import Langevin
from modules.schedules.cosine import CosineSchedule
from modules.schedules.subsampled_linear import SubsampledLinearSchedule
from tests.gaussian_oracle import MEAN, ExactProposal, data
from tests.golden_weights import golden

torch.set_num_threads(1)


def _noise(count: int, seed: int = 0, step: int = 0) -> Noise:
    return Noise(seed, torch.arange(count), step, "train", torch.float64)


def _batch(count: int, seed: int = 0) -> Batch:
    return Batch(data(_noise(count, seed)), torch.full((count,), -1))


class Linear(Energy):
    """E = <θ, y>."""

    def __init__(self, theta: list[float]) -> None:
        super().__init__((len(theta),))
        self.theta = nn.Parameter(torch.tensor(theta, dtype=torch.float64))

    def forward(self, y: Tensor, transition: Transition, label: Tensor | None = None) -> Tensor:
        return y @ self.theta


@pytest.mark.parametrize("weighted", [True, False])
@pytest.mark.parametrize("num_steps", [0, 3])
@pytest.mark.parametrize("shared", [True, False])
def test_gradient_of_a_linear_energy_is_the_difference_of_means(
    shared: bool, num_steps: int, weighted: bool
) -> None:
    """∇_θ L_f = mean w_t (y⁺ - y⁻), exactly; pairs and chain written out from spec §2, §3 and §5.

    On E = <θ, y> a Langevin step is y - θ/2 - [t < T] s²/(2σ²) (y - x_t) + s z.
    """
    count, theta = 64, [0.4, -0.1]
    schedule = SubsampledLinearSchedule()
    energy, batch, noise = Linear(theta), _batch(count), _noise(count)
    method = RecoveryLikelihood(
        energy,
        CopyInitializer((2,)),
        schedule,
        Langevin(num_steps),
        shared,
        energy_loss=RecoveryLikelihoodLoss(weighted),
    )
    out = method(batch, noise)
    out.losses["energy"].backward()

    t = noise.integers("t", 1, 7)
    c = schedule.transition(t, torch.float64).map(lambda v: v[:, None])
    eps, eps_step = noise.normal("eps", (2,)), noise.normal("eps_step", (2,))
    x_s = c.alpha_s * batch.image + c.sigma_s * eps
    x_t = c.alpha_t * batch.image + c.sigma_t * eps if shared else c.alpha_ts * x_s + c.sigma_ts * eps_step
    y_pos = torch.where(c.t == 6, x_s, c.alpha_ts * x_s)
    y_neg = x_t
    for k in range(num_steps):
        pull = torch.where(c.t == 6, 0.0, (y_neg - x_t) * c.step_size**2 / (2 * c.sigma_ts**2))
        z = noise.normal("langevin", (2,), draw=k)
        y_neg = y_neg - torch.tensor(theta, dtype=torch.float64) / 2 - pull + c.step_size * z
    weight = c.loss_weight if weighted else 1.0
    wanted = (weight * (y_pos - y_neg)).mean(0)
    torch.testing.assert_close(energy.theta.grad, wanted, rtol=1e-12, atol=1e-14)
    assert torch.equal(out.t, t) and wanted.abs().min() > 1e-3


class PerSample(Energy):
    """E = <a, tanh(W y + b)>, eight hidden units, with a copy of its parameters for each sample.

    One backward of a mean loss then gives the gradient of every single sample, divided by their number.
    """

    def __init__(self, count: int) -> None:
        super().__init__((2,))
        generator = torch.Generator().manual_seed(0)

        def copies(*shape: int) -> nn.Parameter:
            values = torch.randn(*shape, generator=generator, dtype=torch.float64)
            return nn.Parameter(values.expand(count, *shape).clone())

        self.weight, self.bias, self.head = copies(8, 2), copies(8), copies(8)

    def forward(self, y: Tensor, transition: Transition, label: Tensor | None = None) -> Tensor:
        y = y.reshape(-1, len(self.weight), 1, 2)  # data, then chains' ends: two of each sample
        return (self.head * torch.tanh((self.weight * y).sum(-1) + self.bias)).sum(-1).flatten()

    def gradients(self) -> Tensor:
        """(count, 32)."""
        return len(self.weight) * torch.cat([p.grad.flatten(1) for p in self.parameters()], 1)


@pytest.mark.parametrize(("num_steps", "ratio"), [(0, 0.363), (5, 0.876), (15, 0.906)])
def test_shared_noise_has_the_same_gradient_on_average_and_less_variance(
    num_steps: int, ratio: float
) -> None:
    """Both statements of spec §5, over 100,000 draws of data, level and noise, gradient by gradient.

    The 32 mean gradients differ by at most 2.3 (K = 0), 2.4 (5) and 2.6 (15) standard errors; together, their
    correlations taken into account, by χ² = 33, 27 and 26 on 32 degrees of freedom. That is 3%, 1% and 1% of
    the gradient itself, which lies 39, 179 and 173 standard errors from zero. The total variance of shared
    noise is 0.363, 0.876 and 0.906 of independent noise's (other seeds: within 0.01): the longer the chain,
    the less its end keeps of the noise that y⁺ shares with its start.
    """
    count = 100_000
    gradients = {}
    for shared in (True, False):
        energy = PerSample(count)
        method = RecoveryLikelihood(
            energy, CopyInitializer((2,)), CosineSchedule(), Langevin(num_steps), shared
        )
        method(_batch(count), _noise(count)).losses["energy"].backward()
        gradients[shared] = energy.gradients()
    difference = gradients[True] - gradients[False]
    mean, covariance = difference.mean(0), torch.cov(difference.T) / count
    assert mean @ torch.linalg.solve(covariance, mean) < 62.5  # exceeded by chance once in 1000
    assert (mean.abs() / covariance.diagonal().sqrt()).max() < 4
    assert mean.norm() < 0.04 * gradients[False].mean(0).norm()
    lowered = gradients[True].var(0).sum() / gradients[False].var(0).sum()
    assert lowered.item() == pytest.approx(ratio, abs=0.02)


class Quadratic(Energy):
    """-log p = Σ λ (y - μ)²/2 with λ and μ learned, a copy of them for each sample."""

    def __init__(self, mean: Tensor, precision: Tensor, count: int) -> None:
        super().__init__((2,))
        self.mean = nn.Parameter(mean.expand(count, 2).clone())
        self.precision = nn.Parameter(precision.expand(count, 2).clone())

    def forward(self, y: Tensor, transition: Transition, label: Tensor | None = None) -> Tensor:
        y = y.reshape(-1, *self.mean.shape)
        away = 0.5 * (self.precision * (y - self.mean) ** 2).sum(-1)
        return transition.energy_scale * away.flatten()


@pytest.mark.parametrize("shared", [True, False])
def test_gradient_vanishes_when_chains_end_like_data(shared: bool) -> None:
    """y⁻ from p(y | x_t) has the law of y⁺: the mean gradient is 0, within 4 standard errors of 10,000 draws.

    y⁻ = x_t is wider by σ_1²: the precision's gradient is then -s_1² σ_1²/2, 29 standard errors and more
    from 0.
    """
    count = 20_000
    schedule = CosineSchedule(2, logsnr_max=2.0)
    c = schedule.transition(torch.ones(1, dtype=torch.int64), torch.float64)
    precision = torch.tensor([1.5, 3.0], dtype=torch.float64)  # of any model
    for initializer in (ExactProposal(), CopyInitializer((2,))):
        energy = Quadratic(c.alpha_ts * c.alpha_s * MEAN, precision, count)
        method = RecoveryLikelihood(energy, initializer, schedule, Langevin(0), shared)
        out = method(_batch(count), _noise(count))
        out.losses["energy"].backward()
        grad = count * torch.cat([energy.mean.grad, energy.precision.grad], 1)[out.t == 1]
        error = grad.std(0) / math.sqrt(len(grad))
        wanted = torch.zeros(4, dtype=torch.float64)
        if isinstance(initializer, CopyInitializer):
            wanted[2:] = -(c.step_size**2) * c.sigma_ts**2 / 2
            assert (wanted[2:].abs() / error[2:]).min() > 20
        assert ((grad.mean(0) - wanted).abs() / error).max() < 4


def test_levels_are_uniform_and_figures_are_per_sample() -> None:
    count = 6_000
    method = RecoveryLikelihood(
        Linear([0.4, -0.1]), CopyInitializer((2,)), CosineSchedule(), Langevin(1), shared_noise=False
    )
    out = method(_batch(count), _noise(count))
    assert stats.chisquare(out.t.bincount()[1:].numpy()).pvalue > 1e-3
    assert (out.t.min(), out.t.max()) == (1, 6)
    assert all(v.shape == (count,) and not v.requires_grad for v in out.watch.values())
    other = method(_batch(count), _noise(count, step=1))
    assert (other.t == out.t).double().mean().item() == pytest.approx(1 / 6, abs=0.02)


def _networks(spectral: bool = False) -> tuple[MLPEnergy, MLPInitializer]:
    torch.manual_seed(0)
    pair = (
        MLPEnergy((2,), width=8, depth=1, spectral_norm=spectral),
        MLPInitializer((2,), width=8, depth=1),
    )
    for network in pair:
        network.double()
        for p in network.parameters():
            nn.init.normal_(p, std=0.5)
    return pair


def _method(warm: WarmStart | None, spectral: bool = False) -> RecoveryLikelihood:
    energy, initializer = _networks(spectral)
    return RecoveryLikelihood(
        energy, initializer, CosineSchedule(), Langevin(2), shared_noise=True, warm_start=warm
    )


def _step(method: RecoveryLikelihood, step: int) -> LossOutput:
    method.begin_step(step)
    return method(_batch(32), _noise(32))


@pytest.mark.parametrize(
    ("warm", "learn", "warms"),
    [
        # which networks have losses at steps 0..4, and at which the initializer's is the warm start's
        (None, ["both"] * 5, []),
        (WarmStart(0), ["both"] * 5, []),
        (WarmStart(3), ["initializer"] * 3 + ["both"] * 2, [0, 1, 2]),
        (WarmStart(3, energy_start=0), ["both"] * 5, [0, 1, 2]),
        (WarmStart(3, energy_start=1), ["initializer"] + ["both"] * 4, [0, 1, 2]),
    ],
)
def test_phases_of_the_warm_start(warm: WarmStart | None, learn: list[str], warms: list[int]) -> None:
    """The warm start's loss is blind to the energy, the cooperative one follows the chain."""
    method = _method(warm)
    cooperative = _step(_method(None), 0).losses["initializer"].item()
    for step, names in enumerate(learn):
        losses = _step(method, step).losses
        assert set(losses) == ({"energy", "initializer"} if names == "both" else {names}), step
        before = losses["initializer"].item()
        assert (before != pytest.approx(cooperative, rel=1e-12)) == (step in warms), step
        head = method.energy.head
        bias = head.bias.detach().clone()
        head.bias.data += 1.0
        changed = _step(method, step).losses["initializer"].item() != pytest.approx(before, rel=1e-12)
        head.bias.data.copy_(bias)
        assert changed == (step not in warms), step


def test_warm_start_trains_the_proposal_mean_of_the_step() -> None:
    """Its value is the loss of the pair that this step drew, noise of the proposal left out."""
    method = _method(WarmStart(1))
    batch, noise = _batch(32), _noise(32)
    c = method.schedule.transition(noise.integers("t", 1, 7), torch.float64)
    x_t = c.alpha_t[:, None] * batch.image + c.sigma_t[:, None] * noise.normal("eps", (2,))
    wanted = WarmStart(1)(method.initializer(x_t, c), batch.image, x_t, c)
    assert _step(method, 0).losses["initializer"].item() == pytest.approx(wanted.item(), rel=1e-12)


@pytest.mark.parametrize("step", [0, 1])
def test_each_loss_reaches_its_own_network_alone(step: int) -> None:
    """The chain passes no gradient: neither into the energy from L_g, nor into the initializer from L_f."""
    method = _method(WarmStart(1, energy_start=0))
    losses = _step(method, step).losses
    for name, loss in losses.items():
        for owner, network in method.networks().items():
            parameters = list(network.parameters())
            grads = torch.autograd.grad(loss, parameters, allow_unused=True, retain_graph=True)
            if owner == name:
                assert all(g is not None and (g != 0).any() for g in grads)
            else:
                assert all(g is None for g in grads)


def test_a_copy_learns_nothing() -> None:
    energy, _ = _networks()
    method = RecoveryLikelihood(energy, CopyInitializer((2,)), CosineSchedule(), Langevin(1), False)
    assert set(method.networks()) == {"energy"} and set(_step(method, 0).losses) == {"energy"}


def test_an_average_revises_the_initializers_proposals_alone() -> None:
    """Two steps of -θ̄/2 each, without noise, from each proposal at the top level: L_g = |θ̄|².

    The energy's own chain is θ's, and without the switch so is the initializer's.
    """
    theta, average = [0.4, -0.2], Linear([3.0, 1.0])
    for switch, wanted in ((True, 10.0), (False, 0.2)):
        method = RecoveryLikelihood(
            Linear(theta),
            MLPInitializer((2,), width=8, depth=1).double(),
            CosineSchedule(1),
            Langevin(2, noise_scale=0.0),
            shared_noise=True,
            average_revises=switch,
        )
        method.averages = {"energy": average}
        method.begin_step(0)
        out = method(_batch(16), _noise(16))
        assert out.losses["initializer"].item() == pytest.approx(wanted, rel=1e-9)
        moved = out.shown["revised"] - out.shown["proposals"]
        torch.testing.assert_close(moved, -torch.tensor(theta, dtype=torch.float64).expand(16, 2))


def test_what_is_shown_are_rows_of_the_batch() -> None:
    """Of 20,000 points the first 2,048, x_t and x_s with noise of their level, copies without gradients."""
    method = _method(None)
    out = method(_batch(20_000), _noise(20_000))
    assert list(out.shown) == ["noisier", "proposals", "revised", "data"]
    for x in out.shown.values():
        assert x.shape == (2048, 2) and not x.requires_grad
        assert x.untyped_storage().nbytes() == x.nbytes
    c = method.schedule.transition(out.t[:2048], torch.float64)
    for name, alpha, sigma in (("data", c.alpha_s, c.sigma_s), ("noisier", c.alpha_t, c.sigma_t)):
        noise = (out.shown[name] - alpha[:, None] * _batch(20_000).image[:2048]) / sigma[:, None]
        assert noise.std().item() == pytest.approx(1, abs=0.05)


def test_a_step_that_only_warms_up_shows_no_chain() -> None:
    assert list(_step(_method(WarmStart(1)), 0).shown) == ["noisier", "proposals", "data"]


def test_models_prefer_averages() -> None:
    method, (energy, _) = _method(None), _networks()
    assert method.models() == Networks(method.energy, method.initializer, method.schedule)
    assert method.models({"energy": energy}) == Networks(energy, method.initializer, method.schedule)


def _vectors(method: RecoveryLikelihood) -> list[Tensor]:
    return [m.u.clone() for m in method.energy.modules() if isinstance(m, SpectralLinear)]


def test_one_power_iteration_a_step_shared_by_its_micro_batches() -> None:
    method, expected = _method(None, spectral=True), _method(None, spectral=True)
    for layer in expected.energy.modules():
        if isinstance(layer, SpectralLinear):
            layer.iterate(1)
    start = _vectors(method)
    method.begin_step(0)
    after = _vectors(method)
    assert all(map(torch.equal, after, _vectors(expected)))
    assert len(start) > 3 and not any(map(torch.equal, start, after))
    for seed in (0, 1):
        sum(method(_batch(8, seed), _noise(8, seed)).losses.values()).backward()
    assert all(map(torch.equal, _vectors(method), after))


def test_an_energy_that_waits_isnt_iterated() -> None:
    method = _method(WarmStart(2), spectral=True)
    start = _vectors(method)
    method.begin_step(1)
    assert all(map(torch.equal, _vectors(method), start))
    method.begin_step(2)
    assert not any(map(torch.equal, _vectors(method), start))


class LabelSeen(Energy):
    """E = the label it was given, for each sample, whatever y is."""

    def __init__(self, num_classes: int) -> None:
        super().__init__((2,), num_classes)
        self.weight = nn.Parameter(torch.ones((), dtype=torch.float64))

    def forward(self, y: Tensor, transition: Transition, label: Tensor | None = None) -> Tensor:
        seen = torch.full_like(transition.t, -1) if label is None else label
        return self.weight * seen + 0 * y.sum(1)


@pytest.mark.parametrize("dropout", [0.0, 0.3, 1.0])
def test_labels_are_dropped_alike_for_data_and_chains(dropout: float) -> None:
    count = 5_000
    method = RecoveryLikelihood(
        LabelSeen(4), CopyInitializer((2,)), CosineSchedule(), Langevin(1), False, label_dropout=dropout
    )
    label = torch.arange(count) % 4
    out = method(Batch(_batch(count).image, label), _noise(count))
    seen = out.watch["energy_positive"].long()
    assert torch.equal(out.watch["energy_negative"].long(), seen)
    dropped = seen == -1
    assert torch.equal(seen[~dropped], label[~dropped])
    share = dropped.double().mean().item()
    assert share == pytest.approx(dropout, abs=4 * math.sqrt(dropout * (1 - dropout) / count))
    # whatever the level: a share of one level alike
    for t in range(1, 7):
        share = dropped[out.t == t].double().mean().item()
        assert share == pytest.approx(dropout, abs=4.5 * math.sqrt(dropout * (1 - dropout) * 6 / count))
    # an energy without classes never sees a label
    unlabelled = RecoveryLikelihood(
        LabelSeen(0), CopyInitializer((2,)), CosineSchedule(), Langevin(1), False, label_dropout=0.0
    )
    assert (unlabelled(Batch(_batch(8).image, label[:8]), _noise(8)).watch["energy_positive"] == -1).all()


class LabelRead(CopyInitializer):
    """Remembers the labels that it was asked with."""

    def mean(self, x_t, transition, label=None):
        self.labels = label
        return super().mean(x_t, transition, label)


def test_the_initializer_sees_the_labels_that_the_energy_sees() -> None:
    initializer = LabelRead((2,), 4)
    method = RecoveryLikelihood(
        LabelSeen(4), initializer, CosineSchedule(), Langevin(1), False, label_dropout=0.5
    )
    out = method(Batch(_batch(200).image, torch.arange(200) % 4), _noise(200))
    assert torch.equal(initializer.labels, out.watch["energy_positive"].long())


def _built(**changes) -> RecoveryLikelihood:
    energy, initializer = _networks()
    arguments = {
        "energy": energy,
        "initializer": initializer,
        "schedule": CosineSchedule(),
        "sampler": Langevin(1),
        "shared_noise": True,
    }
    return RecoveryLikelihood(**(arguments | changes))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"energy": MLPEnergy}, ["RecoveryLikelihood.energy", "@MLPEnergy()"]),
        ({"initializer": 3}, ["RecoveryLikelihood.initializer", "Initializer", "3"]),
        ({"schedule": None}, ["RecoveryLikelihood.schedule", "None"]),
        ({"sampler": Langevin}, ["RecoveryLikelihood.sampler", "@Langevin()"]),
        ({"shared_noise": 1}, ["RecoveryLikelihood.shared_noise", "True or False"]),
        ({"average_revises": 1}, ["RecoveryLikelihood.average_revises", "True or False"]),
        (
            {"initializer": CopyInitializer((2,)), "average_revises": True},
            ["RecoveryLikelihood.average_revises", "parameters"],
        ),
        ({"label_dropout": 1.1}, ["RecoveryLikelihood.label_dropout", "at most 1"]),
        ({"warm_start": 100}, ["RecoveryLikelihood.warm_start", "WarmStart", "100"]),
        (
            {"initializer": CopyInitializer((2,)), "warm_start": WarmStart(5)},
            ["RecoveryLikelihood.warm_start", "parameters"],
        ),
    ],
)
def test_faults_are_named(changes: dict, words: list[str]) -> None:
    with pytest.raises(ConfigurationError) as caught:
        _built(**changes)
    assert "\n" not in str(caught.value)
    assert all(word in str(caught.value) for word in words), str(caught.value)


def test_both_networks_may_be_averages() -> None:
    method, (energy, initializer) = _method(None), _networks()
    both = Networks(energy, initializer, method.schedule)
    assert method.models({"energy": energy, "initializer": initializer}) == both
    assert method.models({"initializer": initializer}) == Networks(
        method.energy, initializer, method.schedule
    )
    assert method.models({}) == method.models(None) == method.models()


@pytest.mark.parametrize(("size", "count"), [(2, 2048), (255, 16), (256, 16), (5000, 16), (200, 20)])
def test_first_rows_are_sixteen_or_4096_numbers_in_the_coordinates_of_x_s(size: int, count: int) -> None:
    """At t = 5 of CDRL's ladder y is 0.59 of x_s; x_t and the data are as they are."""
    c = CosineSchedule().transition(torch.full((3000,), 5), torch.float64)
    x = torch.ones(3000, 1, dtype=torch.float64).expand(3000, size)
    shown = first_rows(3 * x, {"one": x, "two": 2 * x}, 4 * x, c)
    assert list(shown) == ["noisier", "one", "two", "data"]
    scale = golden("cdrl_schedule")["alpha_ratio"][4].sqrt()
    for name, value in (("noisier", 3.0), ("one", 1 / scale), ("two", 2 / scale), ("data", 4.0)):
        assert shown[name].shape == (count, size)
        torch.testing.assert_close(shown[name], value * x[:count], rtol=1e-5, atol=0)
    alone = first_rows(x[:1], {"one": x[:1]}, x[:1], c.map(lambda v: v[:1]))
    assert {v.shape for v in alone.values()} == {(1, size)}
    assert Panel("title", ("a",)).healthy == ""


def test_a_single_class_is_a_class() -> None:
    method = RecoveryLikelihood(
        LabelSeen(1), CopyInitializer((2,)), CosineSchedule(), Langevin(1), False, label_dropout=0.0
    )
    out = method(Batch(_batch(8).image, torch.zeros(8, dtype=torch.int64)), _noise(8))
    assert (out.watch["energy_positive"] == 0).all() and (out.watch["energy_negative"] == 0).all()


def test_what_it_was_made_with_is_kept() -> None:
    energy, initializer = _networks()
    given = {
        "energy": energy,
        "initializer": initializer,
        "schedule": CosineSchedule(),
        "sampler": Langevin(1),
        "shared_noise": False,
        "energy_loss": RecoveryLikelihoodLoss(),
        "initializer_loss": CooperativeLoss(),
        "warm_start": WarmStart(3),
        "label_dropout": 0.3,
        "save_memory": True,
        "compile": False,
        "average_revises": True,
    }
    assert arguments_of(RecoveryLikelihood(**given), "") == given
    plain = arguments_of(RecoveryLikelihood(*list(given.values())[:5]), "")
    assert isinstance(plain["energy_loss"], RecoveryLikelihoodLoss)
    assert isinstance(plain["initializer_loss"], CooperativeLoss)
    assert list(plain.values())[7:] == [None, 0.1, False, False, False]


def test_saving_memory_gives_the_same_numbers() -> None:
    """Losses and gradients of both networks, in float64 to rounding, from one evaluation and from two."""
    found = []
    for save_memory in (False, True):
        torch.manual_seed(0)
        networks = MLPEnergy((2,), 3, width=8, depth=1), MLPInitializer((2,), 3, width=8, depth=1)
        for network in networks:
            for p in network.double().parameters():
                nn.init.normal_(p, std=0.5)
        parts = (*networks, CosineSchedule(), Langevin(1), True)
        method = RecoveryLikelihood(*parts, label_dropout=0.0, save_memory=save_memory)
        method.begin_step(0)
        losses = method(Batch(_batch(16).image, torch.arange(16) % 3), _noise(16)).losses
        assert set(losses) == {"energy", "initializer"}
        sum(losses.values()).backward()
        found.append([*losses.values(), *(p.grad for p in method.parameters())])
    assert len(found[0]) > 10
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-12)
