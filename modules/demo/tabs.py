"""The tabs of samples, of compositions, and of the levels of all that is drawn."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from modules.core.checks import ConfigurationError
from modules.demo import answers, controls
from modules.demo.answers import NO_CLASS
from modules.demo.desk import LOOKING, Desk, told
from modules.demo.walks import Walk, walk_of
from modules.demo.watched import Report

_CONDITIONS = 4  # rows of the composition


def samples(desk: Desk, walk: Any) -> Any:
    """Plain and guided samples; returns the event that fills the state `walk`."""
    import gradio as gr

    run = desk.run
    with gr.Row():
        with gr.Column(scale=2, min_width=280):
            num, label, guidance = controls.number(run), controls.label(run, True), controls.guidance(run)
            steps, seed = controls.steps(run), controls.seed(desk.seed)
            buttons = controls.buttons("Sample")
        with gr.Column(scale=5):
            shown = controls.picture("Samples", "samples-picture")

    def answer(num: int, label: str, guidance: Any, steps: Any, seed: int, report: Report) -> Any:
        made = walk_of(answers.sample(run, num, desk.settings(seed, label, guidance, steps), report))
        return made.picture(-1), made

    return desk.on(buttons, answer, [num, label, guidance, steps, seed], [shown, walk])


def compose(desk: Desk, walk: Any) -> list[Any]:
    """Compositions of classes; returns the event that fills the state `walk`, if there is one."""
    import gradio as gr

    run = desk.run
    if run.energy.num_classes == 0:
        gr.Markdown("This run was trained without labels: there are no classes to compose.")
        return []
    choices, parts = [("-", ""), *answers.classes(run)], []
    with gr.Row():
        with gr.Column(scale=2, min_width=320):
            gr.Markdown("Weight 1 conditions on a class, more makes it surer, below 0 means *not this*.")
            for i in range(_CONDITIONS):
                first = choices[i + 1][1] if i < 2 and i + 1 < len(choices) else ""
                with gr.Row():
                    parts += [
                        gr.Dropdown(choices, value=first, label=f"Class {i + 1}", min_width=100),
                        gr.Slider(-4, 4, 1, step=0.1, label="Weight", min_width=140, scale=2),
                    ]
            buttons = controls.buttons("Compose")
        with gr.Column(scale=5):
            with gr.Row():
                num, steps, seed = controls.number(run), controls.steps(run), controls.seed(desk.seed)
            shown = controls.picture("Samples of the composition", "compose-picture")

    def answer(num: int, steps: Any, seed: int, *rest: Any) -> Any:
        *given, report = rest
        conditions = [(name, weight) for name, weight in zip(given[::2], given[1::2], strict=True) if name]
        settings = desk.settings(seed, NO_CLASS, None, steps)
        made = walk_of(answers.compose(run, conditions, num, settings, report))
        return made.picture(-1), made

    return [desk.on(buttons, answer, [num, steps, seed, *parts], [shown, walk])]


def levels(desk: Desk, walk: Any, events: list[Any]) -> None:
    """The walk of the last samples, filled after each of `events`."""
    import gradio as gr

    last = desk.run.method.schedule.num_levels + 1
    gr.Markdown("The last samples, composition or completions on their way down the levels, from noise.")
    stage = gr.Slider(0, last, last, step=1, label="From noise (0) to samples", elem_id="stage")
    name = gr.Markdown("Nothing has been sampled yet.", elem_id="stage-name")
    with gr.Row():
        shown = controls.picture("All samples at a level", "stage-picture")
        film = controls.picture("The walk", "film")
    gr.Markdown("The first of them level by level, a row each:")
    strip = controls.picture("The first samples, level by level", "strip")

    def look(walk: Walk | None, stage: int) -> Any:
        if walk is None:
            raise ConfigurationError("there are no samples yet: sample, compose or inpaint something first")
        return walk.names[int(stage)], walk.picture(int(stage))

    def fill(walk: Walk, stage: int) -> Any:
        with tempfile.NamedTemporaryFile(dir=desk.folder, suffix=".gif", delete=False) as file:
            path = walk.film(Path(file.name))
        return *look(walk, stage), str(path), walk.strips()

    stage.change(told(look), [walk, stage], [name, shown], trigger_mode="always_last", **LOOKING)
    for event in events:
        event.success(told(fill), [walk, stage], [name, shown, film, strip], **LOOKING)
