"""Ports that are free, and that nobody else is given meanwhile."""

from __future__ import annotations

import itertools
import os
import socket

# below 32768, from where systems give ports to whoever asks for any: between a look at such a port and its
# use another program may get it
_LOWEST, _COUNT = 10_000, 20_000
_number = itertools.count()


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens at; another one at each call and in each process of tests."""
    while True:
        port = _LOWEST + (97 * os.getpid() + next(_number)) % _COUNT
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        return port
