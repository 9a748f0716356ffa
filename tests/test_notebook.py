"""The notebook runs from its first cell to its last, cut to two steps; what it shows is of such a run."""

from __future__ import annotations

import json
import os
import re
import sys
from pathlib import Path

from tests.browser import needs_package

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOK = ROOT / "examples" / "first_run.ipynb"
SMALL = [
    *("NUM_STEPS=2", "RECOVERY_START=1", "BATCH_SIZE=4", "energy/Muon.warmup_steps=0", "UNetEnergy.dim=8"),
    *("UNetEnergy.groups=4", "LANGEVIN_STEPS=1", "Trainer.sample_every=0"),
]
FEWER = {"range(60)": "range(12)", "generate(60,": "generate(12,", "arange(200)": "arange(8)"}


def _code() -> list[dict]:
    cells = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    return [cell for cell in cells if cell["cell_type"] == "code"]


def test_it_is_kept_with_what_its_cells_show():
    """Each but the installation, in order and without a fault."""
    cells = _code()
    assert [cell["execution_count"] for cell in cells[1:]] == list(range(1, len(cells)))
    outputs = [output for cell in cells[1:] for output in cell["outputs"]]
    assert all(cell["outputs"] for cell in cells[1:])
    assert {output["output_type"] for output in outputs} == {"stream", "display_data"}
    assert {output.get("name", "stdout") for output in outputs} == {"stdout"}  # no warnings
    assert NOTEBOOK.stat().st_size < 200_000


@needs_package("nbclient", "notebook")
@needs_package("ipykernel", "notebook")
def test_it_runs(tmp_path, monkeypatch):
    import nbformat
    from nbclient import NotebookClient

    notebook = nbformat.read(NOTEBOOK, 4)
    program = f'!"{sys.executable}" "{ROOT / "launch.py"}"'
    settings = " ".join(f"--set {setting}" for setting in SMALL)
    for long, short in FEWER.items():
        assert any(long in cell.source for cell in notebook.cells)
        for cell in notebook.cells:
            cell.source = cell.source.replace(long, short)
    for cell in notebook.cells:
        cell.source = re.sub(r"^!recovery-likelihood(.*)", rf"{program}\1 {settings}", cell.source)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]))
    client = NotebookClient(
        notebook, timeout=300, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}
    )
    client.execute()  # raises what a cell raises
    shown = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    assert (tmp_path / "runs/digits/samples").parent.joinpath("checkpoints").is_dir()
    assert sum("image/png" in output.get("data", {}) for output in shown) == 5
    printed = "".join(output.get("text", "") for output in shown)
    assert re.search(r"digits: +-?\d+\.\d nats", printed)
