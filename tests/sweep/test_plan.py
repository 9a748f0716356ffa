"""The runs of a sweep: their order and folders, which are finished, and a folder that remembers."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from modules.core.checks import CheckpointError, ConfigurationError
from modules.sweep import plan
from modules.sweep.axes import axes_of
from tests.tiny import TINY


@pytest.fixture
def tiny(tmp_path) -> Path:
    (tmp_path / "tiny.gin").write_text(TINY)
    return tmp_path / "tiny.gin"


def _plan(tiny: Path, *axes: str, seeds=(None,), overrides=()) -> plan.Plan:
    return plan.Plan(tiny.parent / "sweep", [str(tiny)], overrides, [], axes_of(axes), list(seeds))


def test_runs_go_by_seeds_and_say_what_they_set(tiny):
    found, lines = _plan(tiny, "LANGEVIN_STEPS=1,3", seeds=(4, 2), overrides=("NUM_STEPS=9",)).check()
    assert [str(run.folder.relative_to(tiny.parent / "sweep")) for run in found] == [
        *("LANGEVIN_STEPS=1/seed_4", "LANGEVIN_STEPS=3/seed_4"),
        *("LANGEVIN_STEPS=1/seed_2", "LANGEVIN_STEPS=3/seed_2"),
    ]
    assert found[3].overrides == ("NUM_STEPS=9", "LANGEVIN_STEPS=3", "Trainer.seed=2")
    assert "LANGEVIN_STEPS = 3\n" in found[3].text and "Trainer.seed = 2\n" in found[3].text
    assert all(run.num_steps == 9 for run in found)
    assert len(lines) == 2 and "UNet of" in lines[0]
    (single,) = _plan(tiny).check()[0]
    assert (single.folder, single.log) == (
        tiny.parent / "sweep" / "as_configured",
        tiny.parent / "sweep" / "as_configured.log",
    )


def test_a_run_is_finished_at_its_last_step_by_its_configuration(tiny, unlabelled):
    settings = ("NUM_STEPS=1", "Trainer.sample_every=0")
    (run,) = _plan(tiny, overrides=settings).check()[0]
    assert not run.is_begun and not run.is_finished
    shutil.copytree(unlabelled, run.folder)
    assert run.is_begun and run.is_finished
    (longer,) = _plan(tiny, overrides=("NUM_STEPS=2", settings[1])).check()[0]
    assert longer.is_begun and not longer.is_finished
    (other,) = _plan(tiny, overrides=(*settings, "ENERGY_LR=1.0")).check()[0]
    assert not other.is_finished
    (file,) = (run.folder / "checkpoints").glob("step_*/energy.safetensors")
    file.write_bytes(b"")
    best = list((run.folder / "checkpoints").glob("best_*"))
    assert run.is_finished == bool(best)


def test_a_folder_remembers_what_is_swept(tiny):
    first, second = (_plan(tiny, f"LANGEVIN_STEPS={values}", seeds=(0, 1)) for values in ("1,2", "2,3"))
    folder = first.folder
    folder.mkdir()
    definition, other = (p.definition(p.check()[0], "python launch.py") for p in (first, second))
    assert plan.saved(folder) is None
    for _ in range(2):
        plan.remember(folder, definition, allow_changes=False)
    assert plan.saved(folder) == definition
    # another order, or the same settings by another file, is the same sweep
    backwards = _plan(tiny, "LANGEVIN_STEPS=2,1", seeds=(0, 1))
    plan.remember(folder, backwards.definition(backwards.check()[0], "python launch.py"), allow_changes=False)
    with pytest.raises(ConfigurationError, match=r"\(- LANGEVIN_STEPS=1; \+ LANGEVIN_STEPS=3\)"):
        plan.remember(folder, other, allow_changes=False)
    tiny.write_text(TINY.replace("EMA_DECAY = 0.5", "EMA_DECAY = 0.25"))
    edited = first.definition(first.check()[0], "python launch.py")
    with pytest.raises(
        ConfigurationError, match=r"LANGEVIN_STEPS=1: - EMA_DECAY = 0\.5; .*\+ EMA_DECAY = 0\.25"
    ):
        plan.remember(folder, edited, allow_changes=False)
    plan.remember(folder, other, allow_changes=True)
    assert plan.saved(folder) == other


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{",
        '{"points": {"a": 1}}',
        '{"points": {}, "seeds": 1, "command": ""}',
        "\xff" * 9,
        "[" * 9999,
    ],
)
def test_a_damaged_memory_is_one_line(tmp_path, text):
    (tmp_path / plan.FILE).write_bytes(text.encode("latin-1"))
    with pytest.raises(CheckpointError, match=r"sweep\.json") as caught:
        plan.remember(tmp_path, {"seeds": [], "points": {}, "command": ""}, allow_changes=True)
    assert "\n" not in str(caught.value)
    assert (tmp_path / plan.FILE).read_bytes() == text.encode("latin-1")
