"""Long-run chains as one picture: energy, displacement, mixing, images over time, a row for each level."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from modules.analysis.chains import LongChains
from modules.analysis.mixing import over_time
from modules.analysis.verdict import Verdict
from modules.report.curves import figure
from modules.report.pictures import grid

_ROWS, _COLUMNS = 8, 12  # chains whose images are shown, and frames of each
_FAR = 1e4


def save_chains(
    runs: Sequence[tuple[LongChains, Verdict]],
    every: int,
    burn_in: float,
    path: Path,
    recognised: Sequence[Sequence[float]] = (),
) -> None:
    """Draw the chains and their verdicts; the burn-in is shaded.

    Args:
        every: steps between two records.
        burn_in: share of the records that the verdict leaves out.
        recognised: of each run, the share recognised in each frame; empty: no judge is at hand.
    """
    width, height = 20, 3.4 * len(runs)
    fig, axes = figure(len(runs), 4, width, height)
    fig.subplots_adjust(0.05, 0.6 / height, 0.99, 1 - 0.4 / height, hspace=0.45, wspace=0.14)
    for number, (row, (chains, verdict)) in enumerate(zip(axes, runs, strict=True)):
        steps = torch.arange(len(chains.energy)) * every
        panels = (
            (row[0], chains.energy, f"{chains.name}: energy U: {verdict.word}"),
            (row[1], chains.displacement, "displacement from the start (rms)"),
        )
        for axis, series, title in panels:
            _band(axis, steps, series)
            axis.axvspan(0, burn_in * float(steps[-1]), color="0.9", zorder=-1)
            axis.set(title=title, xlabel="step")
        _mixing(row[2], chains, every, recognised[number] if recognised else None)
        _frames(row[3], chains, every)
    fig.savefig(path, dpi=80)


def _band(axis: Any, steps: Tensor, series: Tensor) -> None:
    """Median of the chains, and the range of nine in ten of them; logarithmic where some fly far."""
    low, high = (torch.nanquantile(series, q, 1) for q in (0.05, 0.95))
    axis.fill_between(steps.numpy(), low.numpy(), high.numpy(), alpha=0.25, linewidth=0)
    axis.plot(steps.numpy(), torch.nanmedian(series, 1).values.numpy(), linewidth=1)
    if float((high - low).nan_to_num(0.0).max()) > _FAR:
        axis.set_yscale("symlog", linthresh=100)


def _mixing(axis: Any, chains: LongChains, every: int, recognised: Sequence[float] | None) -> None:
    """The energy's autocorrelation time over time, and the share recognised."""
    times = over_time(chains.energy)
    centres = (torch.arange(len(times)) + 0.5) * (len(chains.energy) - 1) * every / len(times)
    axis.plot(centres.numpy(), (every * times).numpy(), marker="o", markersize=3, linewidth=1)
    axis.set(title="autocorrelation time of the energy (steps)", xlabel="step", yscale="log")
    if recognised is not None:
        shares = axis.twinx()
        steps = [record * every for record in chains.frame_records]
        shares.plot(steps, recognised, color="tab:green", marker="s", markersize=3, linewidth=1)
        shares.set(ylim=(0, 1.02))
        axis.set(title="autocorrelation time (blue, steps), recognised share (green)")


def _frames(axis: Any, chains: LongChains, every: int) -> None:
    """Images, one row a chain; or points, the first and the last ones."""
    axis.set(xticks=[], yticks=[])
    every_nth = -(-(len(chains.frame_records) - 1) // (_COLUMNS - 1))
    kept = sorted({*range(0, len(chains.frame_records), every_nth), len(chains.frame_records) - 1})
    labels = [chains.frame_records[frame] * every for frame in kept]
    if chains.frames.ndim == 3:
        for frame, name in ((0, "start"), (-1, "end")):
            points = chains.frames[frame].numpy()
            axis.scatter(points[:, 0], points[:, -1], s=4, linewidths=0, label=name)
        axis.legend(fontsize=7, loc="upper left")
        axis.set(title="points", aspect="equal")
        return
    shown = chains.frames[kept][:, :_ROWS].transpose(0, 1).flatten(0, 1)
    axis.imshow(np.asarray(grid(shown.nan_to_num(-1.0), len(labels)).convert("RGB")), aspect="auto")
    axis.set(title=f"x_s of {min(_ROWS, chains.frames.shape[1])} chains, steps {labels[0]} to {labels[-1]:,}")
