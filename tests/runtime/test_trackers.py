"""accelerate's trackers, by name or as a user's own instances."""

from __future__ import annotations

from pathlib import Path

import pytest
from accelerate.tracking import GeneralTracker

from modules.core.checks import ConfigurationError
from modules.runtime.runtime import Runtime


class Notes(GeneralTracker):
    """A user's tracker that keeps what it is sent."""

    name, requires_logging_directory = "notes", False

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[tuple[int | None, dict]] = []
        self.ended = False

    @property
    def tracker(self):
        return self.rows

    def store_init_configuration(self, values):
        pass

    def log(self, values, step=None, **kwargs):
        self.rows.append((step, values))

    def finish(self):
        self.ended = True


def test_an_instance_is_sent_what_is_tracked(tmp_path: Path) -> None:
    notes = Notes()
    runtime = Runtime(trackers=(notes,))
    runtime.start_trackers(tmp_path, 0)
    runtime.track({"loss": 0.5}, 3)
    runtime.track_again(2)
    assert not notes.ended
    runtime.end_trackers()
    assert notes.rows == [(3, {"loss": 0.5})] and notes.ended


def test_what_is_neither_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"Runtime.trackers' entries must be one of .*'tensorboard'"):
        Runtime(trackers=(Notes,))
