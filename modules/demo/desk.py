"""Where the page's events arrive: one computation at a time, with progress, and faults in one line."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from modules.core.checks import ConfigurationError, DataError, UserError, one_line
from modules.data.base import Examples
from modules.demo import answers
from modules.demo.answers import NO_CLASS, Settings
from modules.demo.watched import Report
from modules.runs import Run
from modules.runtime.signals import SamplingStoppedError


class StoppedError(UserError):
    """The visitor pressed Stop."""


class Desk:
    """One run and its data, for all tabs.

    Args:
        run, folder, seed, batch_size: see modules.demo.page.page.
    Attributes:
        examples: the run's opened data, or why they can't be.
    """

    def __init__(self, run: Run, folder: Path, seed: int, batch_size: int) -> None:
        self.run, self.folder, self.seed, self.batch_size = run, folder, seed, batch_size
        self.examples: Examples | DataError
        try:
            self.examples = run.open_data()
        except DataError as fault:
            self.examples = fault
        self._stop = threading.Event()

    def settings(self, seed: Any, label: Any, guidance: Any, steps: Any) -> Settings:
        """Of the controls' values; a control that isn't shown has no say."""
        if answers.configured_guidance(self.run) is None:
            guidance = None
        if answers.configured_steps(self.run) is None:
            steps = None
        return Settings(seed, label or NO_CLASS, guidance, steps, self.batch_size)

    def example(self, index: Any) -> tuple[Tensor, list[str]]:
        """An image (c, h, w) of the data, and the names of its classes.

        Raises:
            ConfigurationError, DataError: an index there isn't; data that can't be opened.
        """
        if isinstance(self.examples, DataError):
            raise self.examples
        last = len(self.examples) - 1
        if not isinstance(index, int) or not 0 <= index <= last:
            raise ConfigurationError(f"the data have images 0..{last}, not {index}")
        images, labels = self.examples.rows(torch.tensor([index]))
        known = dict(enumerate(self.examples.class_names))
        return images[0], [known.get(i, str(i)) for i in labels[0].tolist() if i >= 0]

    def on(self, buttons: tuple[Any, Any], answer: Callable, inputs: list[Any], outputs: list[Any]) -> Any:
        """Compute when the first button is pressed, until done or the second is; returns the event.

        Args:
            answer: of the inputs' values and a Report.
        """
        import gradio as gr

        def compute(*values: Any, progress: Any = gr.Progress()) -> Any:  # noqa: B008 (so gradio finds it)
            self._stop.clear()
            return answer(*values, self._report_to(progress))

        go, stop = buttons
        # not queued: it would wait for what it is to stop
        stop.click(self._stop.set, queue=False, api_visibility="private", show_progress="hidden")
        one_at_a_time: dict[str, Any] = {"concurrency_id": "run", "concurrency_limit": 1}
        return go.click(told(compute), inputs, outputs, api_visibility="private", **one_at_a_time)

    def _report_to(self, progress: Callable) -> Report:
        def report(done: int, total: int) -> None:
            if self._stop.is_set():
                raise StoppedError("stopped, as you asked")
            progress((done, total), desc="walking down the levels", unit="levels")

        return report


LOOKING: dict[str, Any] = {
    "concurrency_id": "look",
    "concurrency_limit": 4,
    "api_visibility": "private",
    "show_progress": "hidden",
}
"""Of events that only show what there is: they don't wait for a computation."""


def told(function: Callable) -> Callable:
    """The function, its faults shown in the page as one line."""
    import gradio as gr

    @wraps(function)
    def inner(*values: Any) -> Any:
        try:
            return function(*values)
        except (UserError, SamplingStoppedError) as fault:
            stopped = isinstance(fault, (StoppedError, SamplingStoppedError))
            title, seconds = ("Stopped", 4) if stopped else ("Error", 12)
            raise gr.Error(one_line(fault), seconds, title=title, print_exception=False) from fault

    return inner
