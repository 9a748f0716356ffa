"""A run loaded in somebody's process: threads don't meet in it, and nothing of the process changes."""

from __future__ import annotations

import random
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from torch import nn

from modules import config, runs
from modules.core.generators import own_generators
from modules.features.module import ModuleFeatures

THREADS = 8


@pytest.fixture
def hasty():
    """Threads give way to each other as often as they can."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def test_threads_that_load_at_once_get_each_its_own_settings(tiny_run, hasty):
    def load(number: int) -> tuple[int, int]:
        overrides = [f"Langevin.num_steps={number + 1}", f"Runtime.peer_timeout={number + 50}"]
        run = runs.load(tiny_run, overrides=overrides)
        return run.generation.sampler.num_steps, run.runtime.peer_timeout

    with ThreadPoolExecutor(THREADS) as pool:
        found = list(pool.map(load, range(THREADS)))
    assert found == [(number + 1, number + 50) for number in range(THREADS)]


def test_threads_that_build_at_once_get_each_its_own_settings(hasty):
    def build(number: int) -> tuple[float, float]:
        made = config.load_text(f"Checkerboard.scale = {number}.5\nSCALE = {number}\nRings.std = %SCALE\n")
        return made.build("Checkerboard").scale, made.value("Rings.std")

    with ThreadPoolExecutor(THREADS) as pool:
        assert list(pool.map(build, range(1, 49))) == [(number + 0.5, number) for number in range(1, 49)]


def test_loading_and_drawing_leave_generators_and_threads_as_they_were(tiny_run, same_generator):
    numbers, others, threads = random.getstate(), _numpy(), torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        runs.load(tiny_run, overrides=["Runtime.cpu_threads=1"]).generate(2, label=0)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(threads)
    ModuleFeatures("torch.nn.Linear", {"in_features": 4, "out_features": 2}).open(
        (1, 2, 2), torch.device("cpu")
    )
    assert random.getstate() == numbers and np.array_equal(_numpy(), others)


def _numpy():
    """The state of numpy's global generator."""
    return np.random.get_state()[1].copy()  # noqa: NPY002


DRAWS = {
    "layers": lambda: nn.Linear(3, 4).weight,
    "randn": lambda: torch.randn(4),
    "rand": lambda: torch.rand(4),
    "randint": lambda: torch.randint(9, (4,)),
    "randint from": lambda: torch.randint(1, 9, (4,)),
    "randperm": lambda: torch.randperm(9),
    "normal": lambda: torch.normal(torch.zeros(4), torch.ones(4)),
    "bernoulli": lambda: torch.bernoulli(torch.full((9,), 0.5)),
    "multinomial": lambda: torch.multinomial(torch.ones(9), 4),
    "truncated": lambda: nn.init.trunc_normal_(torch.empty(4)),
    "exponential": lambda: torch.empty(4).exponential_(),
}


def test_what_draws_inside_own_generators_is_the_same_each_time(same_generator):
    def drawn():
        with own_generators():
            return {name: draw() for name, draw in DRAWS.items()}

    first, again = drawn(), drawn()
    for name, values in first.items():
        assert torch.equal(values, again[name]), name
    with own_generators():
        assert not torch.equal(torch.rand(4), torch.rand(4))
    with own_generators(seed=1):
        assert not torch.equal(torch.randn(4), first["randn"])
