"""A wheel brings the gin files and the command, and finds them where it is installed."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
BUILD = "import sys; from setuptools import build_meta; build_meta.build_wheel(sys.argv[1])"


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> Path:
    """A folder with what a wheel of the sources holds."""
    folder = tmp_path_factory.mktemp("wheel")
    sources = folder / "sources"
    sources.mkdir()
    for name in ("modules", "gin"):
        shutil.copytree(ROOT / name, sources / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in (
        "launch.py",
        "recovery_likelihood.py",
        "setup.py",
        "pyproject.toml",
        "MANIFEST.in",
        "README.md",
        "LICENSE",
    ):
        shutil.copy(ROOT / name, sources)
    done = subprocess.run(
        [sys.executable, "-c", BUILD, folder], cwd=sources, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "site")
    return folder / "site"


def _gin_files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*.gin")}


def test_a_wheel_holds_gin_files_data_and_the_command(installed):
    assert _gin_files(installed / "modules/recipes/gin") == _gin_files(ROOT / "gin")
    assert not (installed / "gin").exists()  # the package gin-config's place
    assert (installed / "modules/data/digits.parquet").is_file()
    assert (installed / "modules/features/digits_classifier.safetensors").is_file()
    assert {path.name for path in installed.iterdir() if not path.name.endswith(".dist-info")} == {
        *("modules", "launch.py", "recovery_likelihood.py"),
    }
    (entry,) = installed.glob("*.dist-info/entry_points.txt")
    assert "recovery-likelihood = recovery_likelihood:command" in entry.read_text()


def test_an_installed_program_reads_its_gin_files(installed, tmp_path):
    program = (
        f"import sys; sys.path.insert(0, {str(installed)!r})\n"
        "import launch, modules\n"
        "from modules.config.files import read_files\n"
        f"assert modules.__path__[0].startswith({str(installed)!r})\n"
        "print(len(launch.gin_files()), len(read_files(['gin/one_digits.gin']).bindings) > 20)\n"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-c", program], cwd=tmp_path, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [str(len(list((ROOT / "gin").glob("*.gin")))), "True"]


def test_mutants_are_tested_beside_all_that_is_no_room() -> None:
    """mutmut's copy needs every loose module: without one the tests import the sources and notice nothing."""
    project = (ROOT / "pyproject.toml").read_text("utf-8")
    loose, copied = (
        set(re.findall(r'"([\w.]+)"', re.search(rf"^{key} = \[(.*)\]", project, re.M)[1]))
        for key in ("py-modules", "also_copy")
    )
    assert loose and {f"{name}.py" for name in loose} <= copied
