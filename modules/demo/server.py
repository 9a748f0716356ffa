"""Serves the page on this machine, and asks no other for anything."""

from __future__ import annotations

import errno
import importlib.util
import os
import socket
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from modules.core.checks import ConfigurationError

if TYPE_CHECKING:
    from modules.runs import Run


def need_gradio() -> None:
    """Raise where gradio isn't installed."""
    try:
        found = importlib.util.find_spec("gradio") is not None
    except ValueError:  # barred from being imported
        found = False
    if not found:
        raise ConfigurationError('the demo page needs the package gradio: pip install -e ".[demo]"')


def need_port(host: str, port: int) -> None:
    """Raise unless the port of this host can be listened on."""
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except socket.gaierror:
        raise ConfigurationError(f"--host {host} is no address: 127.0.0.1 is this machine's") from None
    except OSError as fault:
        other = "--host" if fault.errno == errno.EADDRNOTAVAIL else "--port"
        raise ConfigurationError(
            f"port {port} of {host} cannot be listened on ({fault.strerror}): name another by {other}"
        ) from None


def serve(run: Run, host: str, port: int, seed: int, batch_size: int) -> int:
    """Serve the page until a signal asks to stop; returns its exit code."""
    with tempfile.TemporaryDirectory(prefix="demo-") as folder:
        _keep_to_this_machine(Path(folder))

        from modules.data.images import refuse_other_formats
        from modules.demo.page import CSS, page, theme

        refuse_other_formats()  # gradio opens what the page's editor sends by itself
        blocks = page(run, Path(folder), seed, batch_size)
        blocks.launch(
            server_name=host,
            server_port=port,
            theme=theme(),
            css=CSS,
            share=False,
            quiet=True,
            inbrowser=False,
            prevent_thread_lock=True,
            show_error=True,
            footer_links=[],
            ssr_mode=False,
            pwa=False,
            mcp_server=False,
            enable_monitoring=False,
            allowed_paths=[folder],
            state_session_capacity=32,
        )
        try:
            print(f"{run.folder} of step {run.step:,}: http://{host}:{port} (Ctrl-C ends it)", flush=True)
            with run.runtime.signals.noted():  # a computation stops at its next level
                while not run.runtime.signals.code:
                    time.sleep(0.2)
        finally:
            blocks.close(verbose=False)
        return run.runtime.signals.code


def _keep_to_this_machine(folder: Path) -> None:
    """gradio reads these when it is imported: no analytics, its files in `folder`, no proxy to ourselves."""
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    os.environ["GRADIO_RUN_HISTORY"] = "False"
    os.environ["GRADIO_TEMP_DIR"] = str(folder / "files")
    os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
    for name in ("no_proxy", "NO_PROXY"):
        os.environ[name] = ",".join(filter(None, [os.environ.get(name), "127.0.0.1,localhost"]))
