"""A run on one page: values, curves, samples, how they were measured, configuration. One file, no scripts."""

from __future__ import annotations

import base64
import html
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from modules.report.curves import figure
from modules.report.journal import measured, read

PAGE, VALUES = "page.html", "values.png"
SHOWN = 6  # sample pictures, from the first to the last

_STYLE = """
body { font: 15px/1.5 sans-serif; color: #222; max-width: 75em; margin: 2em auto; padding: 0 1em }
img { max-width: 100%; image-rendering: pixelated } figure { margin: 1em 0 }
table { border-collapse: collapse } td, th { padding: .15em .8em; text-align: left; vertical-align: top }
tr:nth-child(odd) { background: #f4f4f4 } pre { background: #f4f4f4; padding: 1em; overflow-x: auto }
.wide { overflow-x: auto } .wide td { white-space: nowrap }
.grids { display: flex; flex-wrap: wrap; gap: 1em } .grids figure { flex: 1 1 30em }
"""


def save_page(folder: Path) -> None:
    """Write page.html of what a run folder holds, pictures inside it, and values.png of what was measured."""
    files = sorted((folder / "evaluations").glob("*.json"))
    values = [(path, json.loads(path.read_text())) for path in files]
    parts = [f"<h1>{html.escape(folder.resolve().name)}</h1>"]
    if values:
        _draw_values(folder)
        parts += ["<h2>Values</h2>", _value_table(values)]
        if (folder / VALUES).exists():
            parts.append(_picture(folder / VALUES, "values against steps and seconds"))
    if (folder / "curves.png").exists():
        parts += ["<h2>Curves</h2>", _picture(folder / "curves.png", "curves of training")]
    samples = sorted((folder / "samples").glob("*.png"))
    if samples:
        last = len(samples) - 1
        chosen = sorted({round(i * last / (SHOWN - 1)) for i in range(SHOWN)})
        grids = [_picture(samples[i], f"samples of fixed seeds, {samples[i].stem}") for i in chosen]
        parts += ["<h2>Samples</h2>", f'<div class="grids">{"".join(grids)}</div>']
    proposals = sorted((folder / "proposals").glob("*.png"))
    if proposals:
        caption = "x_t, proposals y⁰, revised samples y⁻ and x_s of a batch, the cleanest levels first"
        newest_of = _picture(proposals[-1], f"{caption}, {proposals[-1].stem}")
        parts += ["<h2>What the chain adds</h2>", newest_of]
    if values:
        path, newest = values[-1]
        parts += [f"<h2>How {html.escape(path.name)} was measured</h2>", _table(newest["protocol"])]
    config = folder / "config.gin"
    if config.exists():
        text = html.escape(config.read_text(encoding="utf-8"))
        parts += ["<h2>Configuration</h2>", f"<pre>{text}</pre>"]
    head = f'<meta charset="utf-8"><title>{html.escape(folder.resolve().name)}</title><style>{_STYLE}</style>'
    body = "\n".join(parts)
    text = f'<!DOCTYPE html>\n<html lang="en"><head>{head}</head><body>\n{body}\n</body></html>\n'
    (folder / PAGE).write_text(text, encoding="utf-8")


def _draw_values(folder: Path) -> None:
    """values.png: what was measured during training, against steps and against seconds."""
    journal = folder / "metrics.jsonl"
    rows = [row for row in read(journal) if "evaluation_seconds" in row] if journal.exists() else []
    names = measured(rows)
    if not names:
        return
    fig, axes = figure(2, len(names), width=3.5 * len(names) + 1, height=6)
    fig.subplots_adjust(hspace=0.45)
    for column, name in enumerate(names):
        for axis, over in zip(axes[:, column], ("step", "seconds"), strict=True):
            having = [row for row in rows if name in row]
            axis.plot([row[over] for row in having], [row[name] for row in having], marker=".")
            if f"{name}_real" in rows[-1]:
                axis.axhline(rows[-1][f"{name}_real"], linestyle="--", linewidth=1, color="grey")
            axis.set(title=name, xlabel=over)
    fig.savefig(folder / VALUES, dpi=90)


def _picture(path: Path, caption: str) -> str:
    data = base64.b64encode(path.read_bytes()).decode()
    text = html.escape(caption)
    source = f"data:image/png;base64,{data}"
    return f'<figure><img alt="{text}" src="{source}"><figcaption>{text}</figcaption></figure>'


def _value_table(measured: list[tuple[Path, dict[str, Any]]]) -> str:
    """A row an evaluation, a column a value, 95% in brackets; a star for a note, and the notes below."""
    names = list(dict.fromkeys(name for _, found in measured for name in found["values"]))
    head = "".join(f"<th>{html.escape(name)}</th>" for name in ("", *names))
    rows = []
    for path, found in measured:
        cells = [f"<td>{html.escape(path.stem)}</td>"]
        cells += [f"<td>{_value(found['values'].get(name))}</td>" for name in names]
        rows.append(f"<tr>{''.join(cells)}</tr>")
    entries = [entry for _, found in measured for entry in found["values"].values()]
    notes = list(dict.fromkeys(entry["note"] for entry in entries if "note" in entry))
    below = f"<p>* {html.escape('; '.join(notes))}</p>" if notes else ""
    return f'<div class="wide"><table><tr>{head}</tr>{"".join(rows)}</table></div>{below}'


def _value(entry: Mapping[str, Any] | None) -> str:
    if entry is None:
        return ""
    spread = f" ± {entry['sd']:.2g}" if "sd" in entry else ""
    if "interval_95" in entry:
        low, high = entry["interval_95"]
        spread += f" [{low:.4g}, {high:.4g}]"
    return f"{entry['value']:.4g}{spread}{' *' if 'note' in entry else ''}"


def _table(entries: Mapping[str, Any]) -> str:
    """Names and values, tables within tables."""
    rows = []
    for name, value in entries.items():
        if isinstance(value, list) and value and isinstance(value[0], dict):
            inside = "".join(_table(item) for item in value)
        else:
            inside = _table(value) if isinstance(value, dict) else html.escape(str(value))
        rows.append(f"<tr><th>{html.escape(name)}</th><td>{inside}</td></tr>")
    return f"<table>{''.join(rows)}</table>"
