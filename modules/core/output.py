"""What a program says, where the terminal, the pipe or the disk that hears it may go away."""

from __future__ import annotations

import io
import os
import sys
from typing import Any, TextIO


def outlive_listeners() -> None:
    """Have prints, bars and warnings of this process go on in silence once nobody can hear them.

    A closed terminal, a `| tee` that was killed or a full disk would make the next print an error, which
    would end a training before it is saved, and change the exit code of one that was.
    """
    sys.stdout, sys.stderr = _lasting(sys.stdout), _lasting(sys.stderr)


def _lasting(stream: TextIO) -> TextIO:
    if not isinstance(stream, io.TextIOWrapper):  # none, or somebody's own
        return stream
    stream.flush()
    raw = _Unfailing(os.dup(stream.fileno()), "w")  # the old stream closes its own
    buffer = io.BufferedWriter(raw)  # type: ignore[type-var]  # `write` takes fewer kinds of bytes
    return io.TextIOWrapper(buffer, stream.encoding, stream.errors, line_buffering=stream.line_buffering)


class _Unfailing(io.FileIO):
    """A file that takes everything, and loses what can't be written."""

    def write(self, data: Any, /) -> int:
        try:
            return super().write(data)
        except OSError:
            return len(data)
