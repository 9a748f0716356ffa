"""All public names from one import, which finds the project's package whoever else's is in front."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from pathlib import Path

import recovery_likelihood

ROOT = Path(__file__).resolve().parents[1]
EXPECTED = """
    AdamW Batch Chain ContinuousSchedule CopyInitializer CosineSchedule Data EMA Energy Evaluation FID
    Generation Guidance Initializer Langevin LossOutput MemoryExamples Method NetworkEnergy NormalizedEnergy
    OneEnergy RecoveryLikelihood Run Runtime Sampler SetMetric TorchData Trainer UNet UNetEnergy load
"""


def test_each_name_is_one_rooms():
    """Which one is meant is never a question of order: no two rooms hand on things of one name."""
    for name in EXPECTED.split():
        assert callable(vars(recovery_likelihood).get(name) or getattr(recovery_likelihood, name)), name
    things: dict[str, set[int]] = {}
    for room in recovery_likelihood._ROOMS:
        module = importlib.import_module(f"modules.{room}")
        for name in module.__all__:
            things.setdefault(name, set()).add(id(getattr(module, name)))
    assert [name for name, found in things.items() if len(found) > 1] == []
    assert set(EXPECTED.split()) < set(dir(recovery_likelihood))


def _python(program: str, folder: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": f"{folder}{os.pathsep}{ROOT}"}
    command = [sys.executable, "-c", program]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=120)


def test_another_package_of_that_name_in_front_hides_nothing(tmp_path):
    """The command's help lists our tasks, and the library hands on our names, without torch."""
    (tmp_path / "modules").mkdir()
    (tmp_path / "modules" / "__init__.py").write_text("raise SystemExit('theirs was imported')\n")
    program = (
        "import sys, recovery_likelihood as rl\n"
        "assert 'torch' not in sys.modules\n"
        "print(rl.Noise.__module__, rl.command.__name__)\n"
        "sys.argv = ['recovery-likelihood', '--task', 'nothing']\n"
        "sys.exit(rl.command())\n"
    )
    done = _python(program, tmp_path)
    assert done.stdout == "modules.core.noise command\n", done.stderr
    assert done.returncode == 2 and "Tasks: chains, compose" in done.stderr


def test_one_that_is_in_use_already_is_named_in_one_line(tmp_path):
    (tmp_path / "modules").mkdir()
    (tmp_path / "modules" / "__init__.py").write_text("")
    done = _python("import modules\nimport recovery_likelihood\n", tmp_path)
    last = done.stderr.splitlines()[-1]
    assert last.startswith("ImportError: a package `modules` of another project is in use, ")
    assert str(tmp_path / "modules") in last and str(ROOT / "modules") in last
