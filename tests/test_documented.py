"""Every command and snippet of README.md and docs/ runs as it stands there, of small networks and few steps.

What is new on a page is tried without a line here, or fails: a program, a task or a file that nothing knows.
By default the first command of each form is run, and of all that train the settings are looked at; with -m
slow the others run too.
"""

from __future__ import annotations

import importlib
import re
import shlex
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from PIL import Image

import launch
from benchmarks.judge_digits import ConvolutionalClassifier
from modules import config, runs
from modules.core.noise import Noise
from tests import documented
from tests.documented import ROOT, Command
from tests.random_inception import random_inception
from tests.test_gin_files import SHRINK, write_parquet

pytestmark = pytest.mark.usefixtures("registrations")

torch.set_num_threads(1)

COMMANDS = documented.commands()
TRIED_ELSEWHERE = {
    "demo": "tests/tasks/test_demo_task.py",  # serves until it is stopped
    "push": "tests/runs/test_sharing.py",  # to the Hub
    "import": "tests/published/test_import.py",  # takes a file of the authors
    "runs/published": "tests/published/test_import.py",
    "benchmarks.judge_sweep": "tests/benchmarks/test_scripts.py",  # takes a finished sweep
    "torchvision.models.vgg16": "tests/features/test_installed_networks.py",  # weights from the network
}
"""A task, a run or a name in a command that can't be tried here -> the tests that do."""

_SLOW = {"runs/cdrl_cifar10"}
"""What a command names that takes long all the same: this run is measured by Inception."""

# as SHRINK, of whole runs: what takes their time beside the steps; by macros, which a page may set too
_BESIDE = {
    "Trainer": [
        *("NUM_STEPS=1", "BATCH_SIZE=4", "Trainer.num_samples=4", "Trainer.sample_every=0"),
        *("Trainer.save_every=100", "Trainer.best=None"),
    ],
    "RecoveryLikelihood": [],
    "OneEnergy": [],
    "Langevin": ["LANGEVIN_STEPS=1"],
    "Evaluation": ["Evaluation.every=0", "Evaluation.num=8"],
    "energy/Muon": ["energy/Muon.warmup_steps=0"],
    "energy/AdamW": ["energy/AdamW.warmup_steps=0"],
    "initializer/AdamW": ["initializer/AdamW.warmup_steps=0"],
    "NormalizedEnergy": ["NormalizedEnergy.width=8"],
    "UNetEnergy": [*SHRINK["UNetEnergy"], "UNetEnergy.dim_mults=(1,)"],
    "ContinuousSchedule": ["ContinuousSchedule.num_levels=4"],
}


class Place:
    """A folder in which the pages' commands find what they name; runs are trained when they are asked for."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in ("my_sampler.py", "my_denoiser.py", "mine.py", "mine.gin"):
            (folder / name).write_text(_file(name), encoding="utf-8")
        for source in ("path/to/folder/train", "path/to/mnist/test", "path/to/cifar10/test", "path/to/mnist"):
            path = folder / f"{source}.parquet"
            path.parent.mkdir(parents=True, exist_ok=True)
            write_parquet(path, "ylecun/mnist" if "mnist" in source else "uoft-cs/cifar10")
        grey = Image.linear_gradient("L")
        (folder / "folder").mkdir()
        for name in ("photo.png", "folder/another.png"):
            grey.save(folder / name)
        grey.resize((8, 8)).point(lambda value: 255 * (value > 128)).save(folder / "drawn.png")

    def run(self, words: list[str]) -> int:
        """launch.py, in this process."""
        return launch.main([word.replace("runs/NAME", "runs/cdrl_digits_cond") for word in words])

    def train(self, command: Command) -> int:
        """A training command, small, where its run isn't there yet."""
        if (self.folder / command.output / "checkpoints").is_dir() and "--resume" not in command.arguments:
            return 0
        return self.run(self.small(command))

    def small(self, command: Command) -> list[str]:
        """A command of training: what its page sets has the last word."""
        text = config.load(*map(command.values, ("--gin", "--set", "--import"))).text
        built = _built(text)
        table = {**SHRINK, **_BESIDE}
        small = [line for name in sorted(built & set(table)) for line in table[name]]
        if command.is_sweep:
            small = []  # a point may set what these would
        source = re.search(r'^HuggingFaceData\.source = [\'"](.+)[\'"]', text, re.M)
        if source and not (self.folder / source[1]).exists():
            hub = self.folder / "hub" / source[1]
            for split in ("train", "test"):
                hub.mkdir(parents=True, exist_ok=True)
                write_parquet(hub / f"{split}.parquet", source[1])
            small.append(f'HuggingFaceData.source="{hub}"')
        if "InceptionV3" in built:
            weights = self.folder / "inception.pth"
            if not weights.exists():
                random_inception(self.folder)
            small.append(f'InceptionV3.weights="{weights}"')
        words = command.shortened()
        return [*(word for setting in small for word in ("--set", setting)), *words]

    def need(self, words: list[str]) -> None:
        """Train the runs that a command names, as their own commands say."""
        for word in words:
            if re.fullmatch(r"runs/\w+", word) and not (self.folder / word).exists():
                name = {"NAME": "cdrl_digits_cond", "A": "digits_0_to_6", "B": "digits_3_to_9"}.get(
                    word.removeprefix("runs/"), word.removeprefix("runs/")
                )
                shown = [
                    c for c in COMMANDS if c.task == "train" and not c.is_sweep and c.output == f"runs/{name}"
                ]
                assert shown or (ROOT / "gin" / f"{name}.gin").exists(), f"no page says what trains {word}"
                train = shown[0] if shown else _command(f"python launch.py --gin gin/{name}.gin")
                assert self.train(train) == 0
                if not (self.folder / word).exists():
                    (self.folder / word).symlink_to(self.folder / "runs" / name)


def _built(text: str) -> set[str]:
    """What a configuration makes of its trainer on, with its scope and without."""
    last_word = dict(re.findall(r"^([\w/.]+) = (.*)$", text, re.M))
    names = {"Trainer"}
    while True:
        plain = {name.split("/")[-1] for name in names}
        values = [value for key, value in last_word.items() if _component(key) in plain]
        more = set(re.findall(r"@((?:\w+/)*\w+)\(\)", " ".join(values)))
        if more <= names:
            return names | plain
        names |= more


def _component(key: str) -> str:
    """Name of scope/Name.argument; "" of a macro."""
    return key.rpartition(".")[0].split("/")[-1]


def _command(text: str) -> Command:
    return Command("", tuple(shlex.split(text)))


def _file(name: str) -> str:
    """The file of that name which a page shows: blocks of Python by the page that imports it, or of gin."""
    page = next(p for p in documented.PAGES if re.search(rf"--(import|gin) {name}", p.read_text("utf-8")))
    kind, mark = ("python", "@gin.register") if name.endswith(".py") else ("", "include ")
    return "\n\n".join(block for block in documented.blocks(page, kind) if mark in block)


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("documented")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("HF_HOME", str(folder / "home"))
        patch.setattr("datasets.config.HF_DATASETS_CACHE", folder / "cache")
        patch.syspath_prepend(str(ROOT))
        # the judge of digits learns in one pass, and judges badly
        patch.setattr(ConvolutionalClassifier.__init__, "__defaults__", (0, 1))
        yield Place(folder)


def _tried_elsewhere(command: Command) -> str | None:
    words = {command.task, *re.split(r"[\s'\"]", " ".join(command.words))}
    return next((tests for name, tests in TRIED_ELSEWHERE.items() if name in words), None)


def _slow_after_the_first() -> Iterator[object]:
    forms = set()
    for command in COMMANDS:
        slow = command.form in forms or _SLOW & {*command.words}
        forms.add(command.form)
        marks = [pytest.mark.slow] if slow and command.program not in documented.TOOLS else []
        yield pytest.param(command, marks=marks, id=str(command))


def _trains(command: Command) -> bool:
    return (
        command.task == "train"
        and not command.is_sweep
        and not {"--resume", "--help", "--dry-run"} & {*command.arguments}
    )


@pytest.mark.parametrize("command", list(filter(_trains, COMMANDS)), ids=str)
def test_settings_of_training(command, place):
    """Each is used, fits the others, and is of the right type."""
    assert place.run([*place.small(command), "--output", "runs/none", "--dry-run"]) == 0


@pytest.mark.parametrize("command", list(_slow_after_the_first()))
def test_commands(command, place):
    tests = _tried_elsewhere(command)
    if tests:
        assert (ROOT / tests).is_file()
    elif command.program in documented.TOOLS:
        _check_tool(command)
    elif command.program == "launch" and command.is_sweep:  # its points are trained by tests/tasks
        assert place.run([*place.small(command), "--dry-run"]) == 0
    elif command.program == "launch" and (command.task == "train" or "--gin" in command.arguments):
        if "--resume" in command.arguments:
            place.need([command.output])
        assert place.train(command) == 0
    elif command.program == "launch":
        place.need(command.arguments)
        assert place.run(command.shortened()) == 0
    else:
        place.need(command.arguments)
        script = importlib.import_module(command.program)
        assert script.main(command.shortened()) == 0


def _check_tool(command: Command) -> None:
    """Extras and files that it names are there."""
    project = (ROOT / "pyproject.toml").read_text("utf-8")
    for extras in re.findall(r"^\.\[(.*)\]$", "\n".join(command.words), re.M):
        assert all(f"\n{extra} = [" in project for extra in extras.split(","))
    assert not command.program.startswith(".ci/") or (ROOT / command.program).is_file()


@pytest.mark.parametrize("page", documented.PAGES, ids=lambda page: page.stem)
def test_snippets(page, place, monkeypatch):
    """In the order of the page, with what its words say is there."""
    blocks = documented.snippets(page)
    if not blocks:
        return
    for name in re.findall(r'"(runs/\w+)"', "".join(blocks)):
        if name != "runs/board":  # which the page itself trains
            place.need([name])
    place.need(["runs/cdrl_digits_cond", "runs/cdrl_digits"])
    images = Noise(0, torch.arange(4)).uniform("images", (1, 8, 8)) * 2 - 1
    names = {
        "torch": torch,
        "run": runs.load("runs/cdrl_digits_cond"),
        "other_run": runs.load("runs/cdrl_digits_cond"),
        "images": images,
        "mask": torch.ones(1, 8, 8),
        "images_a": images,
        "images_b": images.flip(0),
        "a": images,
        "b": -images,
        "batches": [(images[:, 0, 0], images[:, 0, 1])],
    }
    # to the Hub and back: nothing is sent, and what came back is what was shared
    monkeypatch.setattr(runs.Run, "push_to_hub", lambda run, name, license: None)
    monkeypatch.setattr(runs, "from_pretrained", lambda name, revision: runs.load("shared/digits"))
    for made in ("runs/board", "shared/digits"):  # by the page itself
        shutil.rmtree(made, ignore_errors=True)
    for block in blocks:
        exec(compile(block, str(page), "exec"), names)
    assert sys.modules["modules"].runs is runs
