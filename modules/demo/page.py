"""The page: a tab for each thing that a run can do."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from modules.demo import answers, tabs
from modules.demo.desk import Desk
from modules.demo.inpaint_tab import inpaint_tab
from modules.report.protocol import named
from modules.runs import Run

if TYPE_CHECKING:
    from gradio import Blocks

CSS = """
.gradio-container { max-width: 1240px !important; width: 100% !important; margin: auto }
.crisp img, .crisp canvas { image-rendering: pixelated }
"""


def page(run: Run, folder: Path, seed: int = 0, batch_size: int = 256) -> Blocks:
    """The page of a run, to be launched with `theme()` and CSS.

    Args:
        run: the trained run.
        folder: where films are written.
        seed: what the controls start with. batch_size: images at once on a device.
    """
    import gradio as gr

    desk = Desk(run, folder, seed, batch_size)
    with gr.Blocks(title=f"{run.folder.name}: demo", analytics_enabled=False) as blocks:
        gr.Markdown(f"# {run.folder.name}\n{_about(run)}")
        walk = gr.State(None)
        with gr.Tabs():
            with gr.Tab("Samples"):
                events = [tabs.samples(desk, walk)]
            with gr.Tab("Compose"):
                events += tabs.compose(desk, walk)
            with gr.Tab("Inpaint"):
                events += inpaint_tab(desk, walk)
            with gr.Tab("Levels"):
                tabs.levels(desk, walk, events)
    blocks.queue(default_concurrency_limit=1, api_open=False)
    return blocks


def theme() -> Any:
    """gradio's default with the system's fonts, so that none is fetched."""
    import gradio as gr

    return gr.themes.Default(font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"])


def _about(run: Run) -> str:
    shape = " x ".join(map(str, run.energy.shape))
    what = f"images of {shape}" if answers.is_of_images(run) else f"points of dimension {shape}"
    classes = run.energy.num_classes
    known = f"{classes} classes" if classes else "without labels"
    levels = run.method.schedule.num_levels
    by = named(run.generation.sampler)
    return f"Step {run.step:,} · {what} · {known} · {levels} levels · by {by} · on {run.runtime.device}"
