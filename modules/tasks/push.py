"""Upload a run to the Hugging Face Hub: averaged weights, configuration, model card."""

from __future__ import annotations

import argparse

from modules.core.checks import ConfigurationError
from modules.tasks import _options


def add_arguments(parser: argparse._ArgumentGroup) -> None:
    """Options of sharing, and where to."""
    parser.add_argument("--to", metavar="USER/NAME", help="the repository on the Hub, made where it is new")
    parser.add_argument("--private", action="store_true", help="make a new repository private")
    _options.add_sharing(parser)


def run(arguments: argparse.Namespace) -> int:
    """Upload; see Run.push_to_hub. The token is that of `hf auth login` or HF_TOKEN."""
    if not arguments.to:
        raise ConfigurationError("--task push needs a repository: --to user/name")
    trained = _options.as_it_is(arguments)
    trained.runtime.use_threads()
    print(trained.push_to_hub(arguments.to, arguments.license, arguments.num, arguments.private))
    return 0
