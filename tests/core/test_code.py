"""What a name leads to is looked at before it is called; packages come from the environment."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import launch
from modules.core.checks import ConfigurationError
from modules.core.code import module_named, object_named

ROOT = Path(launch.__file__).parent


def test_a_path_leads_to_what_is_allowed_and_to_nothing_else(tmp_path):
    assert object_named("os.path.join", "--judge", callable, "a function") is os.path.join
    assert object_named("os:getcwd", "--judge", callable, "a function") is os.getcwd
    for path, expected in {
        "os.sep": "must be a function",
        "os.getcwdd": "is not to be found. Did you mean 'getcwd'",
        "nowhere.at_all": "No module named 'nowhere'",
        "os": "is not to be found. Give the path of a function",
        "": "is not to be found",
        "os.path.": "is not to be found",
    }.items():
        with pytest.raises(ConfigurationError, match="--judge '") as fault:
            object_named(path, "--judge", callable, "a function")
        assert expected in str(fault.value)


def test_the_working_folder_is_on_the_path_for_the_users_module_alone(tmp_path, monkeypatch):
    (tmp_path / "beside_the_users.py").write_text("here = 1\n")
    (tmp_path / "of_the_user.py").write_text("import sys, beside_the_users\nseen = list(sys.path)\n")
    monkeypatch.chdir(tmp_path)
    before = list(sys.path)
    module = module_named("of_the_user")
    assert module.seen[-1] in (str(tmp_path), str(ROOT)) and str(tmp_path) in module.seen
    assert module.beside_the_users.here == 1
    assert sys.path == before


OPTIONAL = ("torch_fidelity", "torchvision", "timm", "gradio", "wandb", "polars")


@pytest.mark.parametrize(
    "way", ["the repository", "an empty entry of PYTHONPATH, a module of the user's", "-m"]
)
def test_a_package_where_the_command_is_started_is_none(tmp_path, tiny_run, way):
    """Folders with the names of optional packages, of the command's and of its libraries', stay unread."""
    ran = tmp_path / "ran"
    for name in OPTIONAL:
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text(f"open({str(ran)!r}, 'a').write({name!r})\n")
    (tmp_path / "my").mkdir()
    (tmp_path / "my" / "module.py").write_text("open('mine', 'w').close()\n")
    (tmp_path / "weights.pth").write_bytes(b"")
    settings = ["Evaluation.extractor=@InceptionV3()", "InceptionV3.weights='weights.pth'"]
    words = ["--task", "evaluate", "--run", str(tiny_run), "--metrics", "fid", "--num", "2"]
    words += ["--output", "out", *(word for setting in settings for word in ("--set", setting))]
    program = [sys.executable, str(ROOT / "launch.py")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep if way.startswith("an empty") else ""}
    if way.endswith("a module of the user's"):
        words += ["--import", "my.module"]
    elif way == "the repository":
        shutil.copy(ROOT / "launch.py", tmp_path)
        (tmp_path / "modules").symlink_to(ROOT / "modules")
        program = [sys.executable, "launch.py"]
    elif way == "-m":
        program, environment["PYTHONPATH"] = [sys.executable, "-m", "launch"], str(ROOT)
    done = subprocess.run(
        [*program, *words], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 2 and "weights.pth" in done.stderr, done.stderr  # after it looked for packages
    assert not ran.exists(), ran.read_text()
    assert (tmp_path / "mine").exists() == way.endswith("a module of the user's")
