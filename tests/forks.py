"""Children forked from one parent that has imported everything: a process that trains starts in a moment.

with forks.parent() as parent:
    child = parent.start("launch:main", [["--gin", "tiny.gin"]], folder, log)
    os.kill(child, signal.SIGKILL)
    parent.wait(child)         # -9
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]


class Parent:
    """The process that forks; it answers a line of JSON with a line of JSON."""

    def __init__(self) -> None:
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.forks"],
            cwd=ROOT,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def start(
        self,
        function: str,
        arguments: Sequence[Any],
        folder: Path,
        log: Path,
        environment: Mapping[str, str] | None = None,
    ) -> int:
        """Call "module:function" in a child with its own working folder, output going to `log`; the pid."""
        order = {"function": function, "arguments": list(arguments), "folder": str(folder), "log": str(log)}
        return self._ask({**order, "environment": dict(environment or {})})

    def wait(self, pid: int) -> int:
        """A child's exit code when it has ended, negative for a signal."""
        return self._ask({"wait": pid})

    def run(self, function: str, arguments: Sequence[Any], folder: Path, log: Path) -> int:
        """Start, and wait."""
        return self.wait(self.start(function, arguments, folder, log))

    def _ask(self, order: dict[str, Any]) -> int:
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write(json.dumps(order) + "\n")
        self.process.stdin.flush()
        return int(self.process.stdout.readline())


class Fork:
    """`python launch.py WORDS` as a child of this very process, where subprocess.Popen would start it.

    Args:
        command: whose words after launch.py are launch.main's. stdout: an open file. env: of the child.
    """

    def __init__(self, command: Sequence[str], stdout: Any, env: Mapping[str, str], **_: object) -> None:
        import launch

        assert Path(command[1]).name == "launch.py"
        self.code: int | None = None
        self.pid = os.fork()
        if self.pid == 0:
            os.setsid()
            order = {"log": stdout.name, "folder": os.getcwd(), "environment": dict(env)}
            _child({**order, "arguments": [list(command[2:])]}, launch.main)

    def poll(self) -> int | None:
        """The exit code of a child that has ended."""
        if self.code is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            self.code = os.waitstatus_to_exitcode(status) if pid else None
        return self.code

    def send_signal(self, number: int) -> None:
        os.kill(self.pid, number)

    def terminate(self) -> None:
        os.kill(self.pid, signal.SIGTERM)


@contextmanager
def parent() -> Iterator[Parent]:
    """A parent, which ends with its last child."""
    made = Parent()
    try:
        yield made
    finally:
        made.process.stdin.close()
        made.process.wait(60)


def _import_everything() -> None:
    import matplotlib.pyplot  # noqa: F401
    import pandas  # noqa: F401, by the first table that pyarrow reads
    import pytest
    import torch
    import torch._dynamo  # by the first optimizer
    from PIL import Image

    import launch  # noqa: F401
    import modules.runs
    import modules.tasks.train
    import modules.training.trainer  # noqa: F401
    from modules.config.imports import import_components
    from modules.data.digits import Digits
    from tests.light import lighten

    torch.set_num_threads(1)
    Image.init()
    import_components()
    importlib.import_module("torch.utils.tensorboard")
    Digits().open()  # reads the file
    lighten(pytest.MonkeyPatch())


def _serve() -> None:
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # nothing else may write among the answers
    _import_everything()
    for line in sys.stdin:
        order = json.loads(line)
        if "wait" in order:
            _, status = os.waitpid(order["wait"], 0)
            answers.write(f"{os.waitstatus_to_exitcode(status)}\n")
        else:
            module, function = order["function"].split(":")
            call = getattr(importlib.import_module(module), function)  # here, for all children
            pid = os.fork()
            if pid == 0:
                _child(order, call)
            answers.write(f"{pid}\n")
        answers.flush()


def _child(order: dict[str, Any], call: Callable[..., Any]) -> None:
    code = 70
    try:
        log = os.open(order["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        for handle in (1, 2):
            os.dup2(log, handle)
        os.chdir(order["folder"])
        os.environ.update(order["environment"])
        code = int(call(*order["arguments"]) or 0)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    _serve()
