"""The tab of completions: an image to paint on, and what the model puts where it was painted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from modules.core.checks import DataError, check_integer, one_line
from modules.data.images import MODES, read_image
from modules.demo import answers, controls, drawing
from modules.demo.desk import LOOKING, Desk, told
from modules.demo.walks import walk_of
from modules.sampling import masks

_COLOUR = "#e8374a"


def inpaint_tab(desk: Desk, walk: Any) -> list[Any]:
    """An image of the data or an uploaded one, a brush, masks by name, and completions.

    Returns the event that fills the state `walk`, if there is one.
    """
    import gradio as gr

    run, shape = desk.run, desk.run.energy.shape
    if not answers.is_of_images(run):
        gr.Markdown("Inpainting is for images; this run's data are points.")
        return []
    if shape[0] not in MODES:
        gr.Markdown(f"Only images of 1, 3 or 4 channels can be painted on; this run's have {shape[0]}.")
        return []
    at_hand = not isinstance(desk.examples, DataError)
    first = desk.example(0)[0] if at_hand else torch.zeros(shape)
    image = gr.State(first)
    with gr.Row():
        with gr.Column(scale=3, min_width=420):
            board = _board(first)
            with gr.Row():
                index = gr.Number(
                    0,
                    precision=0,
                    label="Image of the data",
                    info=_count(desk),
                    interactive=at_hand,
                    min_width=120,
                    elem_id="index",
                )
                upload = gr.UploadButton("Upload a picture", file_types=["image"], min_width=120)
            source = gr.Markdown(_of_the_data(desk, 0) if at_hand else "", elem_id="source")
        with gr.Column(scale=4):
            with gr.Row():
                known = gr.Dropdown(
                    [(meaning, name) for name, meaning in masks.NAMES.items()],
                    value="all",
                    label="Known, but for what is painted",
                    min_width=220,
                )
                completions = gr.Slider(
                    1, answers.MOST_COMPLETIONS, 10, step=1, label="Completions", min_width=160
                )
            with gr.Row():
                label, guidance = controls.label(run), controls.guidance(run)
            with gr.Row():
                steps, seed = controls.steps(run), controls.seed(desk.seed)
            buttons = controls.buttons("Inpaint")
            gr.Markdown("The image, what is known of it, and completions:")
            shown = controls.picture("The image, what is known of it, completions", "inpaint-picture")

    def load(index: Any) -> Any:
        image, _ = desk.example(index)
        return _unpainted(image), image, _of_the_data(desk, index)

    def read(path: str) -> Any:
        image = read_image(Path(path), shape)
        return _unpainted(image), image, f"{Path(path).name}, fitted to {shape[2]} x {shape[1]}"

    taken = [board, image, source]
    index.change(told(load), [index], taken, trigger_mode="always_last", **LOOKING)
    upload.upload(told(read), [upload], taken, **LOOKING)

    def answer(board: Any, image: Tensor, known: str, completions: int, *rest: Any) -> Any:
        label, guidance, steps, seed, report = rest
        check_integer("the seed", seed)  # the mask "random" is drawn from it before anything else is
        settings = desk.settings(seed, label, guidance, steps)
        mask = drawing.known_part(board["layers"] if board else [], known, shape, seed)
        found = answers.inpaint(run, image, mask, completions, settings, report)
        return drawing.completed(image, mask, found.x), walk_of(found)

    inputs = [board, image, known, completions, label, guidance, steps, seed]
    return [desk.on(buttons, answer, inputs, [shown, walk])]


def _board(image: Tensor) -> Any:
    """What is painted on: a brush as wide as a pixel or two, an eraser, one layer."""
    import gradio as gr

    cell = drawing.canvas(image).height // image.shape[1]
    return gr.ImageEditor(
        _unpainted(image),
        label="Paint over what is to be found",
        type="pil",
        format="png",
        sources=(),
        transforms=(),
        layers=False,
        buttons=[],
        brush=gr.Brush(default_size=max(cell, 24), colors=[_COLOUR], color_mode="fixed"),
        height=520,
        elem_id="board",
        elem_classes="crisp",
    )


def _unpainted(image: Tensor) -> Any:
    return {"background": drawing.canvas(image), "layers": [], "composite": None}


def _of_the_data(desk: Desk, index: int) -> str:
    _, names = desk.example(index)
    return f"image {index:,} of the data" + (f": {', '.join(names)}" if names else "")


def _count(desk: Desk) -> str:
    if isinstance(desk.examples, DataError):
        return f"not at hand: {one_line(desk.examples)}"
    return f"0 to {len(desk.examples) - 1:,}"
