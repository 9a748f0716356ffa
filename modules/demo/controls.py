"""The controls that tabs share, with what the run is configured with as their first values."""

from __future__ import annotations

from typing import Any

from modules.demo import answers
from modules.demo.answers import IN_TURN, NO_CLASS
from modules.runs import Run


def number(run: Run) -> Any:
    """How many samples."""
    import gradio as gr

    first = 16 if answers.is_of_images(run) else 1000
    return gr.Slider(1, answers.most(run), first, step=1, label="Number")


def label(run: Run, in_turn: bool = False) -> Any:
    """A class by name or number, or none; with in_turn also, and at first, all classes in turn."""
    import gradio as gr

    choices = [("no class", NO_CLASS), *answers.classes(run)]
    if in_turn and run.energy.num_classes:
        choices = [("all classes in turn", IN_TURN), *choices]
    return gr.Dropdown(
        choices,
        value=choices[0][1],
        label="Class",
        allow_custom_value=True,  # a number or a name, typed
        visible=run.energy.num_classes > 0,
        min_width=160,
    )


def guidance(run: Run) -> Any:
    """w; not shown where labels or classifier-free guidance are not the run's."""
    import gradio as gr

    scale = answers.configured_guidance(run)
    return gr.Slider(
        -1,
        max(5.0, scale or 0.0),
        scale,
        step=0.1,
        label="Guidance",
        info="0: conditional; more: more typical",
        visible=scale is not None,
        min_width=160,
    )


def steps(run: Run) -> Any:
    """K per level; not shown where the sampler has none."""
    import gradio as gr

    num_steps = answers.configured_steps(run)
    return gr.Slider(
        0,
        max(30, 2 * (num_steps or 0)),
        num_steps,
        step=1,
        label="Chain steps a level",
        info=f"{num_steps} as configured",
        visible=num_steps is not None,
        min_width=160,
    )


def seed(value: int) -> Any:
    """Of all noise."""
    import gradio as gr

    return gr.Number(value, precision=0, label="Seed", min_width=100)


def buttons(name: str) -> tuple[Any, Any]:
    """To start and to stop; the first has the element id go-NAME, the second stop-NAME."""
    import gradio as gr

    with gr.Row():
        go = gr.Button(name, variant="primary", elem_id=f"go-{name.lower()}", min_width=100)
        stop = gr.Button("Stop", elem_id=f"stop-{name.lower()}", min_width=80, scale=0)
    return go, stop


def picture(meaning: str, elem_id: str) -> Any:
    """A picture to be shown: lossless, with hard pixels."""
    import gradio as gr

    return gr.Image(
        label=meaning,
        show_label=False,  # it would lie on the picture
        format="png",
        image_mode=None,
        interactive=False,
        buttons=["download", "fullscreen"],
        elem_id=elem_id,
        elem_classes="crisp",
    )
