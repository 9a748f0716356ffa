"""Without a network everything runs but a first download, which ends in one line with the command for it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from datasets import Dataset

from tests.tiny import TINY

ROOT = Path(__file__).resolve().parents[1]

# Fails at any use of a socket for other than this machine's own processes, and says who asked.
BLOCKED = """\
import socket, sys

class Reached(BaseException):
    pass

def refuse(*arguments, **named):
    raise Reached(f"the network was asked for: {arguments}")

socket.socket.connect = socket.socket.connect_ex = socket.socket.sendto = refuse
socket.getaddrinfo = socket.gethostbyname = socket.create_connection = refuse
import launch
"""


def _python(program: str, folder: Path, offline: bool = True) -> subprocess.CompletedProcess[str]:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("HF_")}
    environment |= {"HF_HOME": str(folder / "home"), "PYTHONPATH": str(ROOT)}
    if offline:
        environment["HF_HUB_OFFLINE"] = "1"
    return subprocess.run(
        [sys.executable, "-c", program],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )


def blocked() -> None:
    """A run, gone on with and sampled, in a process that was forked; nothing tells it to stay offline."""
    scope: dict[str, Any] = {}
    exec(BLOCKED, scope)
    for words in (
        "--gin tiny.gin --output run --dry-run",
        "--gin tiny.gin --output run --set Trainer.sample_every=1",
        "--gin tiny.gin --output run --resume --allow-changes --set NUM_STEPS=3",
        "--task generate --run run --num 2 --output images",
    ):
        assert scope["launch"].main(words.split()) == 0


def test_training_resuming_and_sampling_ask_for_no_network(tmp_path, parent):
    (tmp_path / "tiny.gin").write_text(TINY.replace("NUM_STEPS = 4", "NUM_STEPS = 2"))
    log = tmp_path / "log"
    assert parent.run("tests.test_offline:blocked", [], tmp_path, log) == 0, log.read_text()[-2000:]
    assert (tmp_path / "run" / "checkpoints" / "step_00000003").is_dir()
    assert (tmp_path / "images" / "000001.png").exists()


def test_the_block_blocks(tmp_path):
    """The test above could not fail otherwise."""
    for use in ("create_connection(('localhost', 80))", "socket().connect(('127.0.0.1', 80))"):
        done = _python(f"{BLOCKED}\nsocket.{use}", tmp_path)
        assert done.returncode != 0 and "the network was asked for" in done.stderr


HUB = """\
include "data/cifar10.gin"
include "methods/drl.gin"
NUM_STEPS = 1
BATCH_SIZE = 4
LANGEVIN_STEPS = 1
RecoveryLikelihood.energy = @RecoveryResNet()
RecoveryResNet.shape = %SHAPE
RecoveryResNet.channels = 8
RecoveryResNet.num_blocks = 1
Trainer.sample_every = 0
"""


@pytest.mark.parametrize(
    "offline",
    [
        pytest.param(True, id="by choice"),
        pytest.param(False, id="by fate", marks=pytest.mark.slow),  # the library tries again for 25 s
    ],
)
def test_a_first_download_is_one_line_with_the_command_that_fetches_it(tmp_path, offline):
    (tmp_path / "hub.gin").write_text(HUB)
    # by fate: names are not resolved, as without a network
    unplugged = (
        ""
        if offline
        else (
            "import socket\n"
            "def lost(*arguments, **named):\n"
            "    raise socket.gaierror(-3, 'Temporary failure in name resolution')\n"
            "socket.getaddrinfo = lost\n"
        )
    )
    program = f"{unplugged}import sys, launch\nsys.exit(launch.main(['--gin', 'hub.gin']))"
    done = _python(program, tmp_path, offline)
    assert done.returncode == 2, done.stderr[-2000:]
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1 and "Traceback" not in done.stderr
    assert "hf download --repo-type dataset uoft-cs/cifar10 --local-dir DIR" in errors[0]
    assert 'HuggingFaceData.source = "DIR"' in errors[0]


def test_a_set_that_was_downloaded_once_opens_offline(tmp_path):
    """From the library's cache, laid out here as a download does it, and from a folder of the Hub's files."""
    digits = str(ROOT / "modules" / "data" / "digits.parquet")
    made = tmp_path / "made"
    Dataset.from_parquet(digits, cache_dir=str(made)).to_parquet(
        str(tmp_path / "DIR" / "plain_text" / "train-00000-of-00001.parquet")
    )
    info = next(made.rglob("dataset_info.json"))
    info.write_text(json.dumps({**json.loads(info.read_text()), "config_name": "plain_text"}))
    cached = tmp_path / "home" / "datasets" / "nobody___digits" / "plain_text" / "0.0.0" / "1234abcd"
    shutil.copytree(info.parent, cached)
    next(cached.glob("*.arrow")).rename(cached / "digits-train.arrow")
    program = f"""{BLOCKED}
from modules.data import HuggingFaceData
for source in ("nobody/digits", "DIR"):
    assert len(HuggingFaceData(source, (1, 8, 8), num_classes=10).open()) == 1797
try:
    HuggingFaceData("nobody/digits", (1, 8, 8), config="other").open()
except Exception as error:
    print(error)
"""
    done = _python(program, tmp_path)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "cannot be opened offline" in done.stdout and "hf download --repo-type dataset" in done.stdout
