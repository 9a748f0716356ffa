"""Serve a local page on a trained run: sample, compose, inpaint by mouse, watch the levels."""

from __future__ import annotations

import argparse

from modules.core.checks import ConfigurationError
from modules.tasks import _options


def add_arguments(parser: argparse._ArgumentGroup) -> None:
    """Options of the demo page."""
    add = parser.add_argument
    add("--port", type=int, default=7860, help="to listen on (default 7860)")
    add(
        "--host",
        default="127.0.0.1",
        help="address to listen on; 0.0.0.0 lets in all who reach this machine (default 127.0.0.1)",
    )
    _options.add_run_options(parser)


def run(arguments: argparse.Namespace) -> int:
    """Serve the page until Ctrl-C."""
    if not 1 <= arguments.port <= 65535:
        raise ConfigurationError(f"--port must be in 1..65535, got {arguments.port}")

    from modules.demo import server

    server.need_gradio()
    server.need_port(arguments.host, arguments.port)
    trained = _options.load_run(arguments)
    if trained.runtime.num_processes > 1:
        raise ConfigurationError("--task demo is one process: start it with python, not accelerate launch")
    return server.serve(trained, arguments.host, arguments.port, arguments.seed, arguments.batch_size)
