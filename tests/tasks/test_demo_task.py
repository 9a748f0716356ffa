"""`--task demo`: its faults are one line, and it ends in order when told to."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

import launch
from modules.demo import server
from tests.browser import needs_package
from tests.ports import free_port

ROOT = Path(__file__).resolve().parents[2]
needs_gradio = needs_package("gradio", "demo")


def _demo(run: Path, *options: str) -> int:
    return launch.main(["--task", "demo", "--run", str(run), *options])


def _one_line(capsys) -> str:
    printed = capsys.readouterr().err
    assert printed.startswith("error: ") and printed.count("\n") == 1
    return printed


def test_without_gradio_the_line_says_how_to_get_it(tiny_run, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "gradio", None)  # its import fails, as where it isn't installed
    assert _demo(tiny_run) == 2
    assert 'the demo page needs the package gradio: pip install -e ".[demo]"' in _one_line(capsys)


@pytest.mark.parametrize("port", ["0", "-1", "65536"])
def test_a_port_that_there_is_not(tiny_run, capsys, port):
    assert _demo(tiny_run, "--port", port) == 2
    assert f"--port must be in 1..65535, got {port}" in _one_line(capsys)


def test_a_taken_port_and_a_host_that_is_none():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(server.ConfigurationError, match=f"port {port} of 127.0.0.1 cannot be") as fault:
            server.need_port("127.0.0.1", port)
    assert "(Address already in use): name another by --port" in str(fault.value)
    server.need_port("127.0.0.1", port)  # free again
    with pytest.raises(server.ConfigurationError, match="name another by --host"):
        server.need_port("192.0.2.1", port)  # of no machine, by RFC 5737
    with pytest.raises(server.ConfigurationError, match="--host no such host is no address"):
        server.need_port("no such host", port)


@needs_gradio
def test_it_serves_this_machine_alone_until_ctrl_c(tiny_run, tmp_path):
    port = free_port()
    command = [sys.executable, "launch.py", "--task", "demo", "--run", str(tiny_run), "--port", str(port)]
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    with subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            assert f"http://127.0.0.1:{port}" in process.stdout.readline()
            page = urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=60).read().decode()
            assert "run: demo" in page
            with socket.socket() as elsewhere, pytest.raises(OSError):
                elsewhere.settimeout(5)
                elsewhere.connect(("127.0.0.2", port))  # bound to one address alone
            process.send_signal(signal.SIGINT)
            begun = time.monotonic()
            _, errors = process.communicate(timeout=60)
        finally:
            process.kill()
    assert process.returncode == 130
    assert errors == "" and time.monotonic() - begun < 30
    assert list(tmp_path.iterdir()) == []  # it leaves no files
