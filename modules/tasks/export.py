"""Write a run as a folder to give away: averaged weights, configuration, model card."""

from __future__ import annotations

import argparse
from pathlib import Path

from modules.tasks import _options


def add_arguments(parser: argparse._ArgumentGroup) -> None:
    """Options of sharing."""
    _options.add_sharing(parser)


def run(arguments: argparse.Namespace) -> int:
    """Write --output; see Run.save_pretrained."""
    trained = _options.as_it_is(arguments)
    trained.runtime.use_threads()
    folder = Path(arguments.output or f"{arguments.run.rstrip('/')}_shared")
    trained.save_pretrained(folder, arguments.license, arguments.num)
    print(f"step {trained.step:,} in {folder}; README.md is its model card")
    return 0
