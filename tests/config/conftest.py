"""What the tests of config share."""

import pytest

from tests.config.toys import GOOD


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A working folder, outside the repository, with good.gin."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "good.gin").write_text(GOOD)
    return tmp_path
