"""A stranger's run whose strings try to be code: whatever reads the folder, nothing executes.

Every string parameter of every registered class gets import paths, files of code, pickles, hub names and
addresses, in a class that the run then builds; each command is started inside the folder.
"""

from __future__ import annotations

import contextlib
import inspect
import itertools
import os
import pickle
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import datasets
import huggingface_hub
import numpy as np
import pytest
import torch
from gin import config as gin_config
from PIL import Image

import launch
from modules import runs
from modules.config.imports import import_components
from modules.core.checks import UserError
from modules.demo.desk import Desk
from modules.storage import checkpoints

torch.set_num_threads(1)

# how a run comes to build a class that it isn't trained with: lines for its config.gin
DATA = "Trainer.data = @{0}()"
ENERGY = "RecoveryLikelihood.energy = @{0}()"
EXTRACTOR = "Evaluation.extractor = @{0}()\nEvaluation.metrics = [@FID()]"
PLACES = {
    "Digits": DATA,
    "HuggingFaceData": DATA + "\nHuggingFaceData.shape = (1, 8, 8)\nHuggingFaceData.source = '.'",
    "Shapes": DATA,
    "TorchData": DATA + "\nTorchData.dataset = 1\nTorchData.shape = (1, 8, 8)",
    "RecoveryResNet": ENERGY + "\nRecoveryResNet.shape = (1, 8, 8)",
    "MLPEnergy": ENERGY + "\nMLPEnergy.shape = (1, 8, 8)",
    "CooperativeResNet": ENERGY,
    "DenseResNet": ENERGY + "\nDenseResNet.shape = (2,)",
    "UNetEnergy": ENERGY + "\nUNetEnergy.shape = (1, 8, 8)",
    "NetworkEnergy": ENERGY + "\nNetworkEnergy.shape = (1, 8, 8)\nNetworkEnergy.network = 1",
    "LevelScore": "RecoveryLikelihood.energy_loss = @{0}()",
    "MLPInitializer": "RecoveryLikelihood.initializer = @{0}()\nMLPInitializer.shape = (1, 8, 8)",
    "Runtime": "Trainer.runtime = @{0}()",
    "Evaluation": "Trainer.evaluation = @{0}()\n" + EXTRACTOR.format("DigitsClassifier"),
    "InceptionV3": EXTRACTOR,
    "ModuleFeatures": EXTRACTOR + "\nModuleFeatures.model = 'torch.nn.AvgPool2d'",
    "Langevin": "RecoveryLikelihood.sampler = @{0}()",
    "Best": "Trainer.best = @{0}()",
    "Generation": "",
    "Trainer": "",
}
COMMANDS = {
    "generate": ["--num", "1"],
    "evaluate": ["--metrics", "fid", "--num", "2"],
    "inpaint": ["--num", "1", "--completions", "1"],
    "interpolate": ["--num", "1", "--frames", "2"],
    "compose": ["--num", "1", "--labels", "3"],
    "likelihood": ["--num", "2", "--chains", "2", "--bridges", "1", "--batch-size", "2"],
    "restore": ["--num", "1", "--completions", "1"],
    "detect": ["--num", "2", "--against", "uniform"],
    "landscape": ["--between", "one.png", "other.png", "--points", "3"],
    "chains": ["--num", "2", "--steps", "40", "--every", "1"],
    "verify": ["--data"],
    "train": ["--resume"],
    "demo": [],
}


def _string_parameters() -> list[tuple[str, str]]:
    """Class and parameter of each string, and of each container that may hold some, of all classes."""
    import_components()
    found = []
    for full, configurable in gin_config._REGISTRY.items():
        if full.startswith("modules."):
            for name, parameter in inspect.signature(configurable.wrapped).parameters.items():
                if "str" in str(parameter.annotation):
                    found.append((configurable.wrapped.__name__, name))
    return sorted(found)


PARAMETERS = _string_parameters()


class Bomb:
    """Unpickled, it leaves a folder."""

    def __init__(self, place: Path) -> None:
        self.place = place

    def __reduce__(self) -> tuple:
        return (os.mkdir, (str(self.place),))


@pytest.fixture(scope="module")
def stranger(tiny_run, tmp_path_factory) -> Path:
    """A run folder with code in it, in every form that some loader would run."""
    folder = Path(shutil.copytree(tiny_run, tmp_path_factory.mktemp("stranger") / "run"))
    text = (folder / "config.gin").read_text()
    (folder / "config.gin").write_text(text.replace("sample_every = 4", "sample_every = 0"))
    bomb, code = folder / "executed", "import os\nos.makedirs({!r}, exist_ok=True)\ndef boom(*a, **k): pass\n"
    for name in ("evil.py", "hubconf.py", "run.py", "evil_set/evil_set.py", "evil_set/__init__.py"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(code.format(str(bomb)))
    for name in ("one.png", "other.png"):
        Image.new("L", (8, 8), len(name)).save(folder / name)
    for name in ("evil.pkl", "evil.pickle", "train.pkl", "evil_set/train.pkl"):
        (folder / name).write_bytes(pickle.dumps(Bomb(bomb)))
    torch.save({"weight": Bomb(bomb)}, folder / "evil.pth")
    np.savez(folder / "evil.npz", mu=np.array([Bomb(bomb)], object), sigma=np.array([Bomb(bomb)], object))
    return folder


def _values(run: Path) -> list[str]:
    """What is tried, as gin writes it."""
    bomb = str(run / "executed")
    plain = [
        *("os.system", "posix.system", "subprocess.run", "os.makedirs", "builtins.exec", "runpy.run_path"),
        *("evil", "evil.boom", "evil:boom", "torch.hub.load", "torch.load", "timm.create_model", "pandas"),
        *(str(run / name) for name in ("evil.py", "evil.pkl", "evil.pth", "evil.npz", "evil_set")),
        *("hf-hub:evil/model", "https://127.0.0.1:9/evil.pth", f"file://{run / 'evil.pth'}"),
        *(f"__import__('os').makedirs({bomb!r})", f"$(mkdir {bomb})", f"; mkdir {bomb}"),
    ]
    return [
        *map(repr, plain),
        f"[{bomb!r}]",
        f"({'os.system'!r}, {'evil'!r})",
        f"{{'command': 'mkdir {bomb}'}}",
        f"{{'name': {bomb!r}, 'path_name': {str(run / 'evil.py')!r}}}",
        f"{{'energy': 'os.system', 'initializer': {str(run / 'evil.py')!r}}}",
    ]


def _write(run: Path, text: str, kind: str, lines: str) -> None:
    """The saved configuration with further lines, which win over those that bind the same."""
    new = [line for line in f"{PLACES[kind].format(kind)}\n{lines}".split("\n") if line]
    keys = {line.split(" = ")[0] for line in new}
    last = {line.split(" = ")[0]: line for line in new}  # as when a later file says so
    kept = [line for line in text.splitlines() if line.split(" = ")[0] not in keys]
    (run / "config.gin").write_text("\n".join([*kept, *last.values()]) + "\n")


def _command(run: Path, task: str, out: Path, capsys) -> None:
    """Run it: any exit code but a crash, and of faults one line."""
    if task == "demo":
        with contextlib.suppress(UserError):
            Desk(runs.load(run), run, 0, 4)
        return
    words = ["--task", task, "--run", str(run), "--output", str(out), *COMMANDS[task]]
    if task == "train":
        step = str(checkpoints.path_of(run, 2))
        words = ["--output", str(out), "--resume", step]
    capsys.readouterr()
    code = launch.main(words)
    printed = capsys.readouterr().err
    assert code in (0, 1) or (code == 2 and "error: " in printed), printed  # a bar may share its line
    assert "Traceback" not in printed


def _cases(every: int) -> Iterator[tuple[str, str, int, str]]:
    """Class, parameter, number of the value, command: a share of all, in which each of them has its turn."""
    count = len(_values(Path("/")))
    everything = itertools.product(PARAMETERS, range(count), COMMANDS)
    for number, ((kind, parameter), value, task) in enumerate(everything):
        if number % every == 0:
            yield kind, parameter, value, task


@pytest.fixture
def inside(stranger, tmp_path, monkeypatch) -> Path:
    """The working folder is the stranger's; caches are empty, and no network is asked."""
    monkeypatch.chdir(stranger)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    return stranger


def test_every_string_parameter_has_its_place():
    assert {kind for kind, _ in PARAMETERS} == set(PLACES) and len(PARAMETERS) > 25


def test_the_commands_read_the_run(inside, tmp_path):
    """Each does what it is for with the run as it is: it doesn't stop before it has read the folder."""
    for task, options in COMMANDS.items():
        if task not in ("train", "demo"):
            words = ["--task", task, "--run", str(inside), "--output", str(tmp_path / task), *options]
            words += ["--set", "Evaluation.extractor=@DigitsClassifier()"] if task == "evaluate" else []
            assert launch.main(words) == 0, task


@pytest.mark.parametrize("every", [61, pytest.param(17, marks=pytest.mark.slow)])
def test_no_string_is_run(inside, tmp_path, capsys, every):
    text, values = (inside / "config.gin").read_text(), _values(inside)
    tried = set()
    try:
        for kind, parameter, value, task in _cases(every):
            _write(inside, text, kind, f"{kind}.{parameter} = {values[value]}")
            began = time.monotonic()
            _command(inside, task, tmp_path / f"out{len(tried)}", capsys)
            case = f"{kind}.{parameter} = {values[value]}, {task}"
            assert not (inside / "executed").exists(), case
            assert time.monotonic() - began < 60, case
            tried.add(case)
    finally:
        (inside / "config.gin").write_text(text)
    print(f"{len(tried)} commands on {len(PARAMETERS)} parameters: none executed")
    assert len(tried) > 100


CODE = (
    'ModuleFeatures.model = "os.makedirs"\nModuleFeatures.arguments = {{"name": {0!r}}}',
    'MODEL = "os.makedirs"\nModuleFeatures.model = %MODEL\nModuleFeatures.arguments = {{"name": {0!r}}}',
    'ModuleFeatures.model = "evil.boom"',
    'ModuleFeatures.model = "torch.hub.load"\n'
    'ModuleFeatures.arguments = {{"repo_or_dir": ".", "model": "boom", "source": "local"}}',
)


@pytest.mark.parametrize("task", COMMANDS)
def test_a_model_that_would_run_is_refused_by_file_and_line(inside, tmp_path, capsys, task):
    """The attack itself, by every command that builds the run: one line with the file, the line, the path."""
    text = (inside / "config.gin").read_text()
    try:
        for number, lines in enumerate(CODE):
            _write(inside, text, "ModuleFeatures", lines.format(str(inside / "executed")))
            line = 1 + (inside / "config.gin").read_text().splitlines().index(
                'MODEL = "os.makedirs"' if "MODEL" in lines.split()[0] else lines.split("\n")[0]
            )
            _command(inside, task, tmp_path / f"out{number}", capsys)
            assert not (inside / "executed").exists()
            with pytest.raises(UserError, match=rf"config\.gin:{line}: ModuleFeatures\.\w+ = .*would be run"):
                runs.load(inside)
    finally:
        (inside / "config.gin").write_text(text)


def test_the_code_runs_where_it_is_trusted(inside, tmp_path):
    """Else nothing above would tell that it does not: the folder's own module, by --trust-imports."""
    text = (inside / "config.gin").read_text()
    try:
        _write(inside, text, "ModuleFeatures", 'ModuleFeatures.model = "evil.boom"')
        words = ["--task", "evaluate", "--run", str(inside), "--output", str(tmp_path / "out"), "--num", "2"]
        assert launch.main([*words, "--trust-imports"]) == 2  # imported, and no network
        assert (inside / "executed").exists()
    finally:
        (inside / "config.gin").write_text(text)
        shutil.rmtree(inside / "executed", ignore_errors=True)
