"""The benchmark of saving measures steps and real saves."""

from __future__ import annotations

from benchmarks.save_time import measure
from modules import config
from modules.storage import checkpoints
from tests.training.test_resume import POINTS


def test_it_measures_every_step_and_save(tmp_path, capsys):
    (tmp_path / "points.gin").write_text(POINTS)
    trainer = config.load([tmp_path / "points.gin"]).build("Trainer")
    seconds = measure(trainer, 10, tmp_path / "run")
    assert {name: len(values) for name, values in seconds.items()} == {"step": 10, "save": 2, "curves": 2}
    assert all(value > 0 for values in seconds.values() for value in values)
    saved = [checkpoints.step_of(path) for path in checkpoints.of_run(tmp_path / "run")]
    assert saved == [5, 10, 15]
