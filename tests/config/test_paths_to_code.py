"""A path to code counts where the user typed it; in a saved text it is data, refused by its place."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

import launch
from modules import runs
from modules.config import load, load_text
from modules.core.checks import ConfigurationError
from modules.features.module import ModuleFeatures

MODEL = 'ModuleFeatures.model = "torch.nn.AvgPool2d"\n'
SIZE = 'ModuleFeatures.arguments = {"kernel_size": 8}\n'
SAVED = f"Evaluation.extractor = @ModuleFeatures()\n{MODEL}{SIZE}"
TYPED = ["ModuleFeatures.model='torch.nn.AvgPool2d'", "ModuleFeatures.arguments={'kernel_size': 8}"]

REFUSED = {
    "a model": (f"Evaluation.extractor = @ModuleFeatures()\n{MODEL}", [], "2: ModuleFeatures.model = "),
    "its arguments": (SAVED, TYPED[:1], "3: ModuleFeatures.arguments = "),
    "the model alone": (SAVED, TYPED[1:], "2: ModuleFeatures.model = "),
    "behind a macro": (
        'M = "os.system"\nEvaluation.extractor = @ModuleFeatures()\nModuleFeatures.model = %M\n',
        [],
        "1: ModuleFeatures.model = 'os.system' (from M)",
    ),
    "behind two": (
        'A = "os.system"\nB = %A\nEvaluation.extractor = @ModuleFeatures()\nModuleFeatures.model = %B\n',
        [],
        "1: ModuleFeatures.model = 'os.system' (from A)",
    ),
    "a macro in a dictionary that is typed": (
        f'NAME = "hf-hub:evil/x"\n{SAVED}',
        [TYPED[0], "ModuleFeatures.arguments={'model_name': %NAME}"],
        "1: ModuleFeatures.arguments = 'hf-hub:evil/x' (from NAME)",
    ),
    "in a scope": (
        'Evaluation.extractor = @a/ModuleFeatures()\na/ModuleFeatures.model = "os.system"\n',
        TYPED[:1],
        "2: a/ModuleFeatures.model = ",
    ),
    "an extractor behind a macro": (
        f"E = @ModuleFeatures()\nEvaluation.extractor = %E\n{MODEL}",
        [],
        "3: ModuleFeatures.model = ",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_a_saved_text_says_is_refused_by_its_place(case):
    text, overrides, expected = REFUSED[case]
    config = load_text(text, overrides, name="x/config.gin")
    with pytest.raises(ConfigurationError, match="would be run as code, and nobody typed it") as fault:
        config.value("Evaluation.extractor")
    assert f"x/config.gin:{expected}" in str(fault.value) and "\n" not in str(fault.value)
    assert "--trust-imports" in str(fault.value)


def test_what_is_typed_or_trusted_counts(tmp_path):
    (tmp_path / "mine.gin").write_text(SAVED)
    (tmp_path / "outer.gin").write_text('include "mine.gin"\n')
    for config in (
        load([tmp_path / "mine.gin"]),
        load([tmp_path / "outer.gin"]),
        load_text(SAVED, TYPED),
        load_text('M = "os.system"\nEvaluation.extractor = @ModuleFeatures()\n', TYPED),
        load_text(SAVED.replace('"torch.nn.AvgPool2d"', "%M"), ["M='torch.nn.AvgPool2d'", TYPED[1]]),
        load_text(SAVED, trusted=True),
    ):
        extractor = config.value("Evaluation.extractor")
        assert isinstance(extractor, ModuleFeatures) and extractor.model == "torch.nn.AvgPool2d"
        assert config.names_code


def test_what_is_not_built_is_no_matter():
    config = load_text(SAVED, ["Evaluation.extractor=@RawPixels()"])
    assert type(config.value("Evaluation.extractor")).__name__ == "RawPixels"
    assert not load_text("NUM = 1\n").names_code


@pytest.fixture(scope="module")
def measured(tiny_run, tmp_path_factory) -> Path:
    """A run whose configuration names a model."""
    folder = Path(shutil.copytree(tiny_run, tmp_path_factory.mktemp("measured") / "run"))
    text = (folder / "config.gin").read_text()
    (folder / "config.gin").write_text(
        f"{text}\nTrainer.evaluation = @Evaluation()\nEvaluation.metrics = [@FID()]\n"
        f"{SAVED}ModuleFeatures.mean = (0.5,)\nModuleFeatures.std = (0.5,)\n"
    )
    return folder


def test_a_run_of_ones_own_is_used_with_a_word_more(measured, tmp_path, capsys):
    line = (measured / "config.gin").read_text().splitlines().index(MODEL.strip()) + 1
    resume = ["--output", str(tmp_path / "on"), "--resume", str(measured / "checkpoints/step_00000002")]
    evaluate = ["--task", "evaluate", "--run", str(measured), "--num", "4", "--output", str(tmp_path / "out")]
    for words in (resume, evaluate):
        capsys.readouterr()
        assert launch.main(words) == 2
        printed = capsys.readouterr().err
        assert re.search(rf"config\.gin:{line}: ModuleFeatures\.model = 'torch\.nn\.AvgPool2d'", printed)
        assert printed.count("\n") == 1
    assert not (tmp_path / "on").exists() and not (tmp_path / "out").exists()
    typed = [word for setting in TYPED for word in ("--set", setting)]
    assert launch.main([*evaluate, *typed]) == 0
    assert launch.main([*evaluate, "--trust-imports"]) == 0
    (tmp_path / "mine.gin").write_text((measured / "config.gin").read_text())
    capsys.readouterr()
    assert launch.main([*resume, "--gin", str(tmp_path / "mine.gin")]) == 0
    assert "--num 64 --trust-imports" in capsys.readouterr().out  # as the next command has to say
    assert runs.load(measured, trust_imports=True).extractor.model == "torch.nn.AvgPool2d"
    with pytest.raises(ConfigurationError, match="nobody typed it"):
        runs.load(measured)
