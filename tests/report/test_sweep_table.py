"""The table and the plot of a sweep: arithmetic, what is left out, what is drawn."""

from __future__ import annotations

import csv
import io
import itertools
import json
import statistics
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from modules.core.checks import ConfigurationError
from modules.report.measured import Measured
from modules.report.sweep_plot import save_plot
from modules.report.sweep_table import Row, final, rounded, table


def _run(folder: Path, fid: float | None, seconds: float, recognised: float = 0.5) -> Path:
    """What a run of 20 steps leaves that was evaluated twice, with `fid` at the end."""
    rows: list[dict] = [
        {"step": 10, "seconds": 1.0, "gap": 4.0, "gap/3": 1.0},
        {"step": 10, "seconds": 1.5, "fid": 999.0, "fid_real": 0.0, "evaluation_seconds": 0.1},
        {"step": 20, "seconds": seconds, "gap": 2.0, "gap/3": 7.0},
    ]
    if fid is not None:
        values = {"fid": fid, "fid_real": 0.0, "recognised": recognised}
        rows.append({"step": 20, "seconds": seconds + 1, **values, "evaluation_seconds": 0.1})
        note = {"fid": "biased: N = 500 < 10,000"}
        Measured(values, {}, note).write(folder / "evaluations" / "step_00000020.json")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


FIDS = {"1": (10.0, 12.5, 20.5), "5": (3.0, 3.5, 3.25), "10": (7.0,)}


@pytest.fixture
def rows(tmp_path) -> list[Row]:
    return [
        Row({"K": k}, [_run(tmp_path / f"{k}_{n}", fid, 30.0 + n) for n, fid in enumerate(fids)])
        for k, fids in FIDS.items()
    ]


def test_means_and_deviations_are_those_of_the_last_values(rows):
    found = list(csv.DictReader(io.StringIO(table(rows).csv())))
    assert list(found[0]) == [
        *("K", "seeds", "fid", "fid_sd", "recognised", "recognised_sd", "steps", "steps_sd", "seconds"),
        "seconds_sd",
    ]
    for row, (k, fids) in zip(found, FIDS.items(), strict=True):
        assert (row["K"], row["seeds"]) == (k, str(len(fids)))
        assert float(row["fid"]) == pytest.approx(statistics.mean(fids), rel=1e-6)
        assert float(row["seconds"]) == pytest.approx(31 + statistics.mean(range(len(fids))))
        if len(fids) > 1:
            assert float(row["fid_sd"]) == pytest.approx(statistics.stdev(fids), rel=1e-6)
            assert (row["recognised_sd"], row["steps"]) == ("0", "20")
        else:
            assert row["fid_sd"] == ""


def test_the_markdown_rounds_to_the_spread_and_says_what_is_biased(rows):
    lines = table(rows).markdown().splitlines()
    assert lines[0] == "| K | seeds | fid | recognised | steps | seconds |"
    assert lines[2] == "| 1 | 3 | 14.3 ± 5.5 | 0.5 ± 0 | 20 ± 0 | 32.0 ± 1.0 |"
    assert lines[4] == "| 10 | 1 | 7 | 0.5 | 20 | 31 |"
    assert lines[-1].endswith("fid: biased: N = 500 < 10,000.")
    assert rounded(0.123456, 0.00123) == "0.1235 ± 0.0012"
    assert rounded(1234.5, 99.6) == "1234 ± 100"
    assert rounded(float("nan"), float("nan")) == "nan"


def test_a_value_that_some_runs_lack_and_a_point_without_runs(tmp_path, rows):
    rows[1].runs.append(_run(tmp_path / "not measured", None, 40.0))
    rows.append(Row({"K": "20"}, []))
    made = table(rows)
    lines = made.markdown().splitlines()
    assert lines[3].startswith("| 5 | 4 | 252 ± 498 | 0.5 ± 0 (of 3) |")
    assert lines[5] == "| 20 | 0 |  |  |  |  |"
    assert made.csv().splitlines()[-1] == "20,0,,,,,,,,"
    save_plot(made, tmp_path / "plot.png")


def test_columns_are_chosen_by_name(rows):
    assert table(rows, ["gap", "gap/3", "seconds"]).csv().splitlines()[3] == "10,1,2,,7,,31,"
    with pytest.raises(
        ConfigurationError, match=r"no run has a figure 'fdi'\. Did you mean 'fid'\?"
    ) as caught:
        table(rows, ["fdi"])
    assert "\n" not in str(caught.value)
    with pytest.raises(ConfigurationError, match=r"--task evaluate has run\. Figures: .*, seconds, "):
        table(rows, ["not_yet_measured:x"])


def test_runs_without_figures_are_not_said_to_have_some(tmp_path):
    with pytest.raises(ConfigurationError, match=r"no run has a figure 'fid'\. They have none at all$"):
        table([Row({"K": "1"}, [tmp_path])], ["fid"])


def test_evaluations_made_afterwards_of_the_last_step_are_columns_too(tmp_path):
    run = _run(tmp_path, 5.0, 30.0)
    for name, value in (("step_00000020_fid_n9", 4.0), ("step_00000010_fid_n9", 8.0), ("judged", 0.25)):
        Measured({"fid": value}, {}).write(run / "evaluations" / f"{name}.json")
    (run / "evaluations" / "half.json").write_text('{"values": {"fid"')
    figures, chief = final(run)
    assert {k: v for k, v in figures.items() if "fid" in k} == {
        "fid": 5.0, "fid_real": 0.0, "fid_n9:fid": 4.0, "judged:fid": 0.25,
    }  # fmt: skip
    assert chief == ["fid", "recognised"]


def test_an_evaluation_of_a_step_since_passed_is_none_of_the_run(tmp_path):
    run = _run(tmp_path, 5.0, 30.0)
    for name, step in (("judged", 10), ("judged_again", 20)):
        Measured({"recognised": 0.5}, {"step": step}).write(run / "evaluations" / f"{name}.json")
    figures, _ = final(run)
    assert "judged:recognised" not in figures and figures["judged_again:recognised"] == 0.5


def test_notes_of_evaluations_made_afterwards_are_told_too(tmp_path):
    run = _run(tmp_path, 5.0, 30.0)
    for name, note in (("step_00000020_fid_n9", "biased: N = 9 < 10,000"), ("step_00000010_fid_n9", "old")):
        Measured({"fid": 4.0}, {}, {"fid": note}).write(run / "evaluations" / f"{name}.json")
    text = table([Row({"K": "1"}, [run])], ["fid_n9:fid"]).markdown()
    assert text.endswith("denominator. fid_n9:fid: biased: N = 9 < 10,000.\n")


def test_the_plot_goes_along_numbers_and_shows_every_seed(tmp_path, rows):
    """A panel a figure, from left to right; another seed far off changes its panel alone."""

    def drawn(rows: list[Row]) -> np.ndarray:
        save_plot(table(rows, ["fid", "seconds"]), tmp_path / "plot.png")
        return np.asarray(Image.open(tmp_path / "plot.png").convert("RGB"), int)

    before = drawn(rows)
    _run(tmp_path / "1_0", 40.0, 30.0)
    after = drawn(rows)
    changed = np.nonzero(abs(after - before).sum((0, 2)))[0]
    assert len(changed) > 20 and changed.max() < before.shape[1] / 2


def test_the_plot_takes_categories_and_several_axes(tmp_path, rows):
    runs = [run for row in rows for run in row.runs]
    names = itertools.product(("short name", "a rather long name of a point"), ("1", "100"), ("a", "b"))
    grid = [Row(dict(zip(("variant", "K", "c"), of, strict=True)), runs[:n]) for n, of in enumerate(names)]
    for name, some in {
        "grid": grid,
        "single": [Row({}, runs)],
        "names": [Row({"variant": "x"}, runs)],
    }.items():
        save_plot(table(some), tmp_path / f"{name}.png")
        assert Image.open(tmp_path / f"{name}.png").size[0] > 400
