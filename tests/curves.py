"""Curves of runs: a blank picture in tests, since to draw them takes longer than to train a tiny run.

Those of runs that are looked at are drawn: `with curves.drawn():`. That odd numbers are drawn without a fault
is for report/test_curves.py.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
from PIL import Image

from modules.methods.shown import Panel
from modules.report.curves import save_curves
from modules.training import diary


def _save_blank(journal: Path, path: Path, panels: Sequence[Panel] = ()) -> None:
    Image.new("L", (8, 8)).save(path)


@contextmanager
def blank() -> Iterator[None]:
    """Runs of this process leave a blank curves.png."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(diary, "save_curves", _save_blank)
        yield


@contextmanager
def drawn() -> Iterator[None]:
    """They draw it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(diary, "save_curves", save_curves)
        yield
