"""What goes wrong at the Hub is one line, with the command that fetches."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import datasets
import pytest

from modules.core.checks import DataError
from modules.data.sources import _hub_faults

pytestmark = pytest.mark.usefixtures("own_cache")


def test_the_hub_out_of_reach_tells_the_command(tmp_path):
    """And importing the package reads no library that takes seconds."""
    program = (
        "import sys, modules.data\n"
        "assert not {'datasets', 'PIL', 'pyarrow'} & set(sys.modules)\n"
        "modules.data.HuggingFaceData('nobody/nothing', (3, 8, 8)).open()\n"
    )
    environment = {
        **os.environ,
        "HF_HUB_OFFLINE": "1",
        "HF_HOME": str(tmp_path / "home"),
        "PYTHONPATH": str(Path(__file__).parents[2]),
    }
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, timeout=120
    )
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("modules.core.checks.DataError: the Hub is out of reach")
    assert "hf download --repo-type dataset nobody/nothing --local-dir DIR" in last


def test_what_goes_wrong_at_the_hub_is_one_line(monkeypatch):
    """Out of reach, missing, and anything else; offline with the command that fetches."""
    from datasets.exceptions import DatasetNotFoundError

    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", False)
    fetch = "hf download --repo-type dataset me/pets --local-dir DIR"
    for error, words in (
        (ConnectionError("no route"), ["the Hub is out of reach", "'me/pets' is not cached", fetch]),
        (TimeoutError(), ["the Hub is out of reach", fetch]),
        (DatasetNotFoundError("gone\nmore"), ["'me/pets' is neither a path here nor", "read: gone"]),
        (OSError("no space\nleft"), ["'me/pets' of the Hub cannot be opened: no space"]),
        (KeyError(), ["of the Hub cannot be opened: KeyError"]),
    ):
        with pytest.raises(DataError) as caught, _hub_faults("me/pets"):
            raise error
        assert all(word in str(caught.value) for word in words), str(caught.value)
        assert "\n" not in str(caught.value) and caught.value.__cause__ is error
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    words = r"cannot be opened offline \(no cache\): with a network run `hf download"
    with pytest.raises(DataError, match=words), _hub_faults("me/pets"):
        raise ValueError("other") from ValueError("no cache")
    with _hub_faults("me/pets"):
        pass
