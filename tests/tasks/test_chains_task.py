"""`--task chains` writes figures and a picture, the same whatever the batch size; faults are one line."""

from __future__ import annotations

import json
import shutil

import pytest
import torch

import launch

torch.set_num_threads(1)
SHORT = ["--steps", "40", "--every", "1", "--num", "5"]


def half(images: torch.Tensor) -> torch.Tensor:
    """A judge that recognises what is dark on average."""
    return images.mean((1, 2, 3)) < 0


def colours(images: torch.Tensor) -> torch.Tensor:
    """A judge of images of three channels."""
    return half(images.reshape(-1, 3, 4, 4))


def darkness(images: torch.Tensor) -> torch.Tensor:
    """A judge whose answer is a number, not yes or no."""
    return images.mean((1, 2, 3))


def sides(images: torch.Tensor) -> torch.Tensor:
    """A judge of three classes, the left half's brightness, and of what is nothing."""
    return ((images[..., : images.shape[-1] // 2].mean((1, 2, 3)) + 1) * 30).long().remainder(4) - 1


def _chains(run, output, *options: str) -> dict:
    command = ["--task", "chains", "--run", str(run), "--output", str(output), *SHORT, *options]
    assert launch.main(command) == 0
    assert (output / "chains.png").exists()
    return json.loads((output / "chains.json").read_text())


@pytest.mark.usefixtures("drawn")
def test_it_writes_figures_that_no_batch_size_changes(tiny_run, tmp_path, capsys):
    judge = ["--judge", "tests.tasks.test_chains_task:half", "--along", "conditional", "--level", "2"]
    one = _chains(tiny_run, tmp_path / "one", *judge)
    assert (tmp_path / "one" / "chains.png").stat().st_size > 10_000
    other = _chains(tiny_run, tmp_path / "other", *judge, "--batch-size", "2")
    (level,) = one["levels"]
    assert level["level"] == 2 and len(level["energy"]) == 41
    assert level["recognised_start"] == other["levels"][0]["recognised_start"] == 0.6
    assert f"level 2 from data: {level['verdict']}" in capsys.readouterr().out
    torch.testing.assert_close(level["energy"], other["levels"][0]["energy"], rtol=1e-4, atol=1e-4)
    assert level["displacement"][0] == 0 and level["displacement"][-1] > 0
    assert one["seed"] == 0 and one["step"] == 4


@pytest.mark.parametrize("start", ["noise", "samples"])
def test_other_starts_and_the_ladder(tiny_run, tmp_path, start):
    longer = ["--sampler", "Langevin", "--set", "chains/Langevin.step_factor=2.0"]
    along = ["--along", "ladder"] if start == "samples" else longer
    written = _chains(tiny_run, tmp_path / "out", "--start", start, *along)
    wanted = [5, 4, 3, 2, 1, 0] if start == "samples" else [0]
    assert [level["level"] for level in written["levels"]] == wanted
    if (
        start == "noise"
    ):  # the setting reaches the chains: a first step's noise is twice as long, its drift four times
        plain = _chains(tiny_run, tmp_path / "plain", "--start", start)["levels"][0]["displacement"]
        assert 2 <= written["levels"][0]["displacement"][1] / plain[1] <= 4


def test_the_run_s_own_sampler_unless_another_is_asked_for(tiny_run, tmp_path, capsys):
    """That of training, with the steps between two records; the figures say by what they are."""
    own = _chains(tiny_run, tmp_path / "own")
    assert own["sampler"]["class"] == "Langevin" and own["sampler"]["num_steps"] == 1
    assert "chains by Langevin(num_steps=1)" in capsys.readouterr().out
    named = _chains(tiny_run, tmp_path / "named", "--sampler", "Langevin")
    assert named["levels"] == own["levels"]
    shorter = _chains(tiny_run, tmp_path / "shorter", "--set", "Langevin.step_factor=0.5")
    assert shorter["sampler"]["step_factor"] == 0.5 and shorter["levels"] != own["levels"]


def test_chains_of_an_exact_sampler_tell_their_acceptance(tiny_run, tmp_path, capsys):
    options = ["--sampler", "AdjustedLangevin", "--set", "chains/AdjustedLangevin.num_warmup=60"]
    ladder = _chains(tiny_run, tmp_path / "out", *options, "--along", "ladder")
    shares = [level["acceptance"] for level in ladder["levels"]]
    assert len(shares) == 6 and all(0.3 < share < 0.9 for share in shares)
    assert capsys.readouterr().out.count("% accepted)") == 6
    assert _chains(tiny_run, tmp_path / "plain")["levels"][0]["acceptance"] is None
    capsys.readouterr()
    for wrong, words in (("EMA", "EMA"), ("Langevine", "Langevine")):
        command = ["--task", "chains", "--run", str(tiny_run), *SHORT, "--sampler", wrong]
        assert launch.main([*command, "--output", str(tmp_path / "wrong")]) == 2
        error = capsys.readouterr().err
        assert error.count("\n") == 1 and words in error
    assert not (tmp_path / "wrong").exists()


def test_tempered_chains_exchange_states_and_changes_of_class_are_counted(one_run, tmp_path, capsys):
    judge = ["--judge", "tests.tasks.test_chains_task:sides"]
    options = [*judge, "--sampler", "AdjustedLangevin", "--ladder", "12", "--level", "4", "--every", "1"]
    options += ["--set", "chains/AdjustedLangevin.num_warmup=20"]
    long, short = ["--steps", "40", "--frames", "41"], ["--steps", "20", "--burn-in", "0"]
    one = _chains(one_run, tmp_path / "one", *options, *long, "--temper", "1")
    (level,) = one["levels"]
    assert level["level"] == 4 and len(level["energy"]) == 41 and len(level["swaps_taken"]) == 7
    assert one["temper"] == 1 and any(0 < share < 1 for share in level["swaps_taken"])
    assert level["class_changes_per_1000_steps"] > 0 and level["round_trips_per_chain"] >= 0
    printed = capsys.readouterr().out
    assert "swaps taken: " in printed and "class changes per 1000 steps: " in printed
    other = _chains(one_run, tmp_path / "other", *options, *short, "--temper", "1", "--batch-size", "2")
    torch.testing.assert_close(level["energy"][:5], other["levels"][0]["energy"][:5], rtol=1e-3, atol=1e-3)
    alone = _chains(one_run, tmp_path / "alone", *options, *short)["levels"][0]
    assert "swaps_taken" not in alone and alone["energy"][0] == pytest.approx(level["energy"][0], rel=1e-5)


def test_several_levels_and_starts_in_one_batch_are_those_alone(tiny_run, tmp_path):
    both = ["--level", "1", "3", "--start", "data", "noise"]
    found = _chains(tiny_run, tmp_path / "all", *both)["levels"]
    named = [(one["start"], one["level"]) for one in found]
    assert named == [("data", 1), ("data", 3), ("noise", 1), ("noise", 3)]
    alone = _chains(tiny_run, tmp_path / "alone", "--level", "3", "--start", "noise")["levels"][0]
    torch.testing.assert_close(found[3]["energy"], alone["energy"], rtol=1e-4, atol=1e-4)
    assert alone["start"] == "noise" and found[3]["energy"][0] != found[1]["energy"][0]
    ladder = _chains(tiny_run, tmp_path / "ladder", "--along", "ladder", "--start", "data", "noise")["levels"]
    assert [one["start"] for one in ladder] == ["data"] * 6 + ["noise"] * 6


def test_each_level_has_a_folder_of_its_own(tiny_run, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(tiny_run, run)
    for options in (["--level", "1"], [], ["--along", "conditional"]):
        assert launch.main(["--task", "chains", "--run", str(run), *SHORT, *options]) == 0
    names = {f"chains_{kind}_data_every1_num5_steps40" for kind in ("level1", "level0", "conditional0")}
    assert {path.name for path in run.glob("chains_*")} == names


FAULTS = {
    "no run": (["--task", "chains"], "needs a trained run: --run runs/NAME"),
    "level": (["--level", "6"], "--level 6: the run has levels 0..5"),
    "ladder": (["--along", "ladder", "--level", "1"], "--along ladder runs at all levels: leave --level out"),
    "multiple": (["--every", "7"], "--steps 40 must be a multiple of --every 7"),
    "short": (["--every", "2"], "fewer than 20 records are left after the burn-in"),
    "burn-in": (["--burn-in", "1"], "--burn-in must be at least 0 and below 1"),
    "judge": (
        ["--judge", "tests.tasks.test_chains_task:whole"],
        "whole' is not to be found",
    ),
    "no judge": (["--judge", "tests.tasks.test_chains_task"], "must be MODULE:NAME of a function"),
    "no module": (["--judge", ":x"], "--judge :x must be MODULE:NAME of a function"),
    "a judge of others": (
        ["--judge", "tests.tasks.test_chains_task:colours"],
        "--judge tests.tasks.test_chains_task:colours fails on images (5, 1, 8, 8): RuntimeError: shape",
    ),
    "a judge's answer": (
        ["--judge", "tests.tasks.test_chains_task:darkness"],
        "must return bool or int64 (5,) of images (5, 1, 8, 8), one each, not float32 (5,)",
    ),
    "one frame": (["--frames", "1"], "--frames must be at least 2"),
    "swaps between records": (
        ["--temper", "3", "--every", "2"],
        "--temper 3: --every 2 must be a multiple of it",
    ),
    "swaps of conditionals": (["--temper", "1", "--along", "conditional"], "leave --along conditional out"),
    "swaps of several": (
        ["--temper", "1", "--level", "0", "2"],
        "--temper is of one --level and one --start",
    ),
    "twice": (["--level", "2", "2"], "--level: the same one is given twice"),
    "nothing above": (["--temper", "1", "--level", "5"], "--temper: level 5 is the noisiest"),
    "unused": (["--set", "other/Langevin.step_factor=2.0"], "other/Langevin.step_factor"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_one_line_and_writes_nothing(tiny_run, tmp_path, monkeypatch, capsys, fault):
    options, expected = FAULTS[fault]
    run = [] if fault == "no run" else ["--run", str(tiny_run)]
    command = ["--task", "chains", *run, "--output", str(tmp_path / "out"), *SHORT, *options]
    assert launch.main(command) == 2
    printed = capsys.readouterr().err
    assert printed.startswith("error: ") and printed.count("\n") == 1 and expected in printed
    assert not (tmp_path / "out").exists()
