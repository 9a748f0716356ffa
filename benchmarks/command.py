"""What the scripts have in common: a user's error is one line, and the exit code 2."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable

from modules.core.checks import UserError, one_line


def run(act: Callable[[argparse.Namespace], None], arguments: argparse.Namespace) -> int:
    """Do what a script is for; the exit code."""
    try:
        act(arguments)
    except UserError as error:
        print(f"error: {one_line(error)}", file=sys.stderr)
        return error.exit_code
    return 0
