"""What .ci/run tells of the slow tests."""

import importlib.util
import json
import subprocess
import sys
from datetime import date
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / ".ci" / "slow_record.py"


@pytest.fixture(scope="module")
def slow_record():
    spec = importlib.util.spec_from_file_location("slow_record", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_run_is_counted_as_pytest_counted_it(slow_record, tmp_path):
    (tmp_path / "test_four.py").write_text(
        "import pytest\n"
        "def test_a(): pass\n"
        "def test_b(): assert False\n"
        "def test_c(): pytest.skip()\n"
        "@pytest.fixture\n"
        "def broken(): raise ValueError\n"
        "def test_d(broken): pass\n"
    )
    report, record = tmp_path / "tests.xml", tmp_path / "slow.json"
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-p",
        "no:cacheprovider",
        "--junitxml",
        str(report),
        str(tmp_path),
    ]
    assert subprocess.run(command, capture_output=True).returncode == 1
    slow_record.write(report, record, "0123456789abcdef", date(2026, 11, 1))
    found = json.loads(record.read_text())
    assert (found["passed"], found["failed"], found["skipped"]) == (1, 2, 1)
    line = slow_record.tell(record, date(2026, 11, 15))
    assert line == "slow tests: 14 days ago, of 0123456: 1 passed, 2 failed, 1 skipped in 0 minutes"


def test_what_is_overdue_is_said(slow_record, tmp_path):
    assert "never ran" in slow_record.tell(tmp_path / "none.json", date(2026, 11, 15))
    record = tmp_path / "slow.json"
    (tmp_path / "tests.xml").write_text('<testsuites><testsuite tests="3" time="119.0"/></testsuites>')
    slow_record.write(tmp_path / "tests.xml", record, "f" * 40, date(2026, 11, 1))
    assert "3 passed, 0 failed, 0 skipped in 2 minutes" in slow_record.tell(record, date(2026, 11, 2))
    assert slow_record.tell(record, date(2026, 11, 16)).endswith("overdue: start .ci/slow")


def test_ci_tells_it():
    assert "slow_record.py tell" in (SCRIPT.parent / "run").read_text()
    assert "slow_record.py write" in (SCRIPT.parent / "slow").read_text()
