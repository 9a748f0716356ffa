"""The model card of a shared run: what it is of, how it was measured, how it is used."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from modules.data.hub import HuggingFaceData
from modules.runs.trained import Trained

LIBRARY, PICTURE = "recovery-likelihood", "samples.png"


def text(run: Trained, configuration: str, license: str, has_picture: bool) -> str:
    """The card, Markdown with the Hub's header."""
    kind = "image" if len(run.data.shape) == 3 else "point"
    header: dict[str, Any] = {
        "license": license,
        "library_name": LIBRARY,
        "tags": ["energy-based-model", "recovery-likelihood"],
    }
    if kind == "image":
        header["pipeline_tag"] = "unconditional-image-generation"
    data = _data(run)
    if isinstance(run.data, HuggingFaceData) and not Path(run.data.source).exists():
        header["datasets"] = [run.data.source]
    networks = ", ".join(
        f"{type(network).__name__} ({sum(p.numel() for p in network.parameters()):,} parameters)"
        for network in run.method.networks().values()
    )
    which, method = "averaged" if run.weights == "ema" else "last", type(run.method).__name__
    shape = " x ".join(map(str, run.data.shape))
    front = "\n".join(f"{key}: {json.dumps(value)}" for key, value in header.items())
    picture = f"\n![{kind.capitalize()}s of seed 0]({PICTURE})\n" if has_picture else ""
    return f"""---
{front}
---

# An energy-based model of {data}

{networks}, trained by {method} for {run.step:,} steps; {run.schedule.num_levels} levels of noise,
{kind}s of {shape}, {_labels(run)}. These are the {which} weights.
{picture}
## Use

```python
from modules import runs

run = runs.from_pretrained("USER/NAME")
samples = run.generate(16, seed=0).x
```

By the library {LIBRARY}. Sample i of a seed is the same whatever the batch size. No code of this repository
is run: weights are safetensors, the configuration is data.

## Measured

{_measured(run.folder)}
## Configuration

```
{configuration.strip()}
```
"""


def _data(run: Trained) -> str:
    source = run.data.source if isinstance(run.data, HuggingFaceData) else ""
    if source and Path(source).exists():
        return "pictures of its author's own"
    return source or type(run.data).__name__


def _labels(run: Trained) -> str:
    classes = run.energy.num_classes
    return f"{classes} classes (`label=`, `guidance=`)" if classes else "without classes"


def _measured(folder: Path) -> str:
    """A table of every evaluation in the run's folder, each with its protocol."""
    parts = []
    for file in sorted((folder / "evaluations").glob("*.json")):
        try:
            found = json.loads(file.read_text(encoding="utf-8"))
            rows = [f"| {name} | {entry['value']:.5g} |" for name, entry in found["values"].items()]
            protocol = json.dumps(found["protocol"])
        except (OSError, ValueError, KeyError, TypeError):
            continue  # the folder is the user's: what isn't an evaluation isn't quoted
        parts.append("\n".join(["| metric | value |", "|---|---|", *rows, "", f"Protocol: `{protocol}`", ""]))
    return "\n".join(parts) or "Nothing yet: `python launch.py --task evaluate --run runs/NAME`.\n"
