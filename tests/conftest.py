"""What several test files share."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import gin
import pytest
import torch

import launch
from tests import forks, light
from tests.tiny import ONE, TINY

# the tests' networks are small: a second thread costs more than it gives, here and in what tests start
torch.set_num_threads(1)
os.environ.setdefault("OMP_NUM_THREADS", "1")
# what a shell says of the Hub is no business of tests, which say it themselves where they need it
os.environ.pop("HF_HUB_OFFLINE", None)


_OWN = ("modules", "tests", "benchmarks", "examples", "gin")
"""Rooms whose classes are registered once a process, as they are imported."""

LONGEST = (
    "runtime/test_two_processes.py",
    "test_documented.py",
    "training/test_resume.py",
    "storage/test_strangers_strings.py",
    "tasks/test_likelihood_task.py",
    "core/test_code.py",
    "tasks/test_one_energy_tasks.py",
    "tasks/test_chains_task.py",
    "samplers/test_langevin_speed.py",
    "tasks/test_sweep_task.py",
    "samplers/test_metropolis.py",
    "analysis/test_annealing.py",
    "tasks/test_evaluate_task.py",
    "tasks/test_generate_task.py",
    "analysis/test_ancestral.py",
    "runtime/test_failing_processes.py",
    "training/test_killed_runs.py",
    "benchmarks/test_judges.py",
    "benchmarks/test_scripts.py",
    "config/test_outside_components.py",
    "test_launch.py",
    "test_offline.py",
)
"""Files that take tens of seconds, most of them of few tests: begun last, they keep one process busy."""


def pytest_configure(config: pytest.Config) -> None:
    """Have pytest-xdist hand files out in the order below, and not those of most tests first."""
    config.option.loadscopereorder = False


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest files first."""
    places = {Path(__file__).parent / name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get(item.path, len(places)))


@pytest.fixture(scope="session", autouse=True)
def lightened() -> Iterator[None]:
    """Runs draw nothing that nobody looks at, but those that ask for `light.drawn`."""
    with light.light():
        yield


@pytest.fixture
def drawn() -> Iterator[None]:
    """Figures are drawn, since a test looks at them."""
    with light.drawn():
        yield


@pytest.fixture(scope="module")
def registrations() -> Iterator[None]:
    """Classes of users that a file's tests register are unknown again to the files after it."""
    registry = gin.config._REGISTRY
    before = {name for name, _ in registry.items()}
    yield
    for name, found in list(registry.items()):
        if name not in before and found.wrapped.__module__.split(".")[0] not in _OWN:
            registry.pop(name)


@pytest.fixture(scope="session")
def parent() -> Iterator[forks.Parent]:
    """A process that has imported everything, to fork children from."""
    with forks.parent() as made:
        yield made


@pytest.fixture(scope="session")
def tiny_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a class-conditional run of four steps. Tests write nothing into it."""
    folder = tmp_path_factory.mktemp("tiny")
    (folder / "tiny.gin").write_text(TINY)
    command = ["--gin", str(folder / "tiny.gin"), "--set", "NUM_CLASSES=10", "--output", str(folder / "run")]
    with light.drawn():
        assert launch.main(command) == 0
    return folder / "run"


@pytest.fixture(scope="session")
def one_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of one energy by class, of four steps, chains from the third. Nothing is written to it."""
    folder = tmp_path_factory.mktemp("one")
    (folder / "one.gin").write_text(ONE)
    command = ["--gin", str(folder / "one.gin"), "--set", "NUM_CLASSES=10", "--output", str(folder / "run")]
    with light.drawn():
        assert launch.main(command) == 0
    return folder / "run"


@pytest.fixture(scope="session")
def unlabelled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of such a run without labels, of one step. Tests write nothing into it."""
    folder = tmp_path_factory.mktemp("unlabelled")
    (folder / "tiny.gin").write_text(TINY)
    settings = ["--set", "NUM_STEPS=1", "--set", "Trainer.sample_every=0"]
    assert launch.main(["--gin", str(folder / "tiny.gin"), "--output", str(folder / "run"), *settings]) == 0
    return folder / "run"


@pytest.fixture
def same_generator():
    """Nobody draws from the global generator."""
    before = torch.get_rng_state()
    yield
    assert torch.equal(torch.get_rng_state(), before)
