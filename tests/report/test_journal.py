"""The journal keeps what was written, survives a torn line, and goes on from a step."""

from __future__ import annotations

import math

from modules.report.journal import Journal, read


def test_rows_come_back_in_order(tmp_path):
    journal = Journal(tmp_path / "metrics.jsonl")
    journal.write({"step": 1, "loss": 1 / 3, "seconds": 2.0})
    journal.write({"step": 2, "loss": math.nan, "name": "word"})
    first, second = read(journal.path)
    assert first == {"step": 1, "loss": 0.3333333, "seconds": 2.0}
    assert second["step"] == 2 and math.isnan(second["loss"]) and second["name"] == "word"


def test_going_on_drops_later_rows_and_a_torn_line(tmp_path):
    path = tmp_path / "metrics.jsonl"
    journal = Journal(path)
    for step in range(1, 5):
        journal.write({"step": step, "seconds": 10.0 * step})
    with path.open("a") as file:
        file.write('{"step": 5, "seco')
    again = Journal(path, first_step=3)
    assert again.seconds_before == 30.0
    again.write({"step": 4, "seconds": 31.0})
    assert [(row["step"], row["seconds"]) for row in read(path)] == [(1, 10), (2, 20), (3, 30), (4, 31)]


def test_a_new_run_starts_an_empty_journal(tmp_path):
    path = tmp_path / "metrics.jsonl"
    Journal(path).write({"step": 1, "seconds": 5.0})
    assert Journal(path).seconds_before == 0.0 and read(path) == []
