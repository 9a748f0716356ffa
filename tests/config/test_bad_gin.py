"""500 mutated gin files and overrides: each builds, or ends in one line; none hangs or runs code."""

from __future__ import annotations

import re
import resource
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

import launch
from modules import config
from tests.mutations import CANARY, mutated_file, mutated_override
from tests.tiny import TINY

SECONDS = 20  # of a case; the slowest good one takes about a tenth of one
ROOM = 3 * 2**30  # bytes of memory that the cases may take in all
POINTS = """\
include "data/checkerboard.gin"
include "methods/drl.gin"
NUM_STEPS = 1
BATCH_SIZE = 8
LANGEVIN_STEPS = 1
RecoveryLikelihood.energy = @MLPEnergy()
MLPEnergy.shape = %SHAPE
MLPEnergy.width = 8
"""


@pytest.fixture
def confined(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A working folder with what code would be run from, and a limit to memory."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / f"{CANARY}.py").write_text(f"open({CANARY!r}, 'w')\n")
    old = resource.getrlimit(resource.RLIMIT_AS)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + ROOM, old[1]))
    yield tmp_path
    resource.setrlimit(resource.RLIMIT_AS, old)


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Good files: two that include parts, and both with all their bindings in one."""
    folder, found = tmp_path_factory.mktemp("good"), []
    for name, text in (("tiny.gin", TINY), ("points.gin", POINTS)):
        (folder / name).write_text(text)
        found += [text, config.load([folder / name]).text]
    return found


class Late(BaseException):
    """Not an Exception, which would pass for a constructor's fault."""


def _late(number: int, frame: object) -> None:
    raise Late(f"the case took more than {SECONDS} s")


def check(words: list[str], folder: Path, capsys: pytest.CaptureFixture[str]) -> int:
    """A dry run of `words` describes a run, or is refused in one line; nothing else happens."""
    before = {path.name for path in folder.iterdir()}
    old = signal.signal(signal.SIGALRM, _late)
    signal.alarm(SECONDS)
    try:
        code = launch.main([*words, "--dry-run"])
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, old)
    printed = capsys.readouterr()
    assert {path.name for path in folder.iterdir()} == before, words
    if code:
        assert code == 2 and printed.out == "", words
        assert re.fullmatch(r"error: [^\n\r\x00]{10,1500}\n", printed.err), printed.err[:2000]
    else:
        assert printed.err == "" and "steps: " in printed.out, words
    return code


def check_file(number: int, texts: list[str], folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "mutated.gin").write_bytes(mutated_file(number, texts[number // 22 % 4]))
    check(["--gin", "mutated.gin"], folder, capsys)


def check_override(number: int, texts: list[str], folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "good.gin").write_text(texts[number % 4])
    bindings = [line for line in texts[number % 4].splitlines() if re.match(r"[\w/.]+ = \S", line)]
    check(["--gin", "good.gin", "--set", mutated_override(number, bindings)], folder, capsys)


@pytest.mark.parametrize("number", range(0, 300, 5))
def test_a_mutated_file(number, texts, confined, capsys):
    check_file(number, texts, confined, capsys)


@pytest.mark.parametrize("number", range(0, 200, 5))
def test_a_mutated_override(number, texts, confined, capsys):
    check_override(number, texts, confined, capsys)


@pytest.mark.slow
def test_all_mutated_files_and_overrides(texts, confined, capsys):
    for number in range(300):
        check_file(number, texts, confined, capsys)
    for number in range(200):
        check_override(number, texts, confined, capsys)


def test_the_mutations_are_many_and_repeatable(texts):
    files = [mutated_file(number, texts[0]) for number in range(300)]
    assert len(set(files)) > 250 and files[:50] == [mutated_file(number, texts[0]) for number in range(50)]
