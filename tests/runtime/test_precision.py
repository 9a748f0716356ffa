"""Runtime.precision = "auto": taken from what this machine multiplies fast, once for a whole run."""

from __future__ import annotations

import shutil

import pytest

import launch
from modules.runtime import precision
from modules.runtime.runtime import Runtime
from tests.tiny import TINY

WORDS = [
    "--gin",
    "tiny.gin",
    "--set",
    "Trainer.best=None",
    "--set",
    'Runtime.precision="auto"',
    "--output",
    "run",
]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    (tmp_path / "tiny.gin").write_text(TINY)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def _speed(monkeypatch, speed: float) -> None:
    monkeypatch.setattr(precision, "bf16_speed", lambda: speed)


@pytest.mark.parametrize(("speed", "taken"), [(2.1, "bf16"), (1.2, "bf16"), (1.1, "no"), (0.1, "no")])
def test_the_faster_one_is_taken(monkeypatch, speed, taken):
    _speed(monkeypatch, speed)
    assert Runtime("auto").precision == taken
    name, line = precision.chosen()
    assert name == taken and "\n" not in line and f"{speed:.1f} times" in line


def test_what_is_measured_is_a_ratio_of_times():
    """Of this processor, whatever it has: a number that a processor can have."""
    assert 0.001 < precision.bf16_speed() < 50


@pytest.mark.parametrize(("before", "after"), [(2.0, 0.1), (0.1, 2.0)])
def test_a_run_keeps_what_it_took(folder, monkeypatch, capsys, before, after):
    """Recorded at the first start; by its own configuration or by the files named, on another machine too."""
    name = "bf16" if before > 1 else "no"
    _speed(monkeypatch, before)
    assert launch.main(WORDS) == 0
    assert f"in bf16 this CPU is {before:.1f} times" in capsys.readouterr().out
    text = (folder / "run" / "config.gin").read_text()
    assert f"Runtime.precision = '{name}'" in text and "auto" not in text.split("Runtime.precision")[1][:9]
    assert f"Runtime.precision = '{name}'" in (folder / "run" / "operative.gin").read_text()

    _speed(monkeypatch, after)
    for again in (["--output", "run", "--resume", "auto"], [*WORDS, "--resume"]):
        shutil.rmtree(folder / "run" / "checkpoints" / "step_00000004")
        assert launch.main(again) == 0
        said = capsys.readouterr().out
        assert ("goes on slowly" in said) == (name == "bf16"), said
        assert f"Runtime.precision = '{name}'" in (folder / "run" / "config.gin").read_text()
