"""What several test files share."""

from __future__ import annotations

from pathlib import Path

import pytest

import launch
from tests.tiny import TINY


@pytest.fixture(scope="session")
def tiny_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a class-conditional run of four steps. Tests write nothing into it."""
    folder = tmp_path_factory.mktemp("tiny")
    (folder / "tiny.gin").write_text(TINY)
    command = ["--gin", str(folder / "tiny.gin"), "--set", "NUM_CLASSES=10", "--output", str(folder / "run")]
    assert launch.main(command) == 0
    return folder / "run"
