"""Every task runs on one energy as on any run, and by any number of levels (spec §13)."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch

import launch
from modules import runs
from modules.core.checks import ConfigurationError
from modules.energies.normalized import NormalizedEnergy
from modules.storage import checkpoints

torch.set_num_threads(1)


def _task(name: str, run: Path, output: Path, *options: str) -> int:
    return launch.main(["--task", name, "--run", str(run), "--output", str(output), *options])


def test_the_run_watched_each_part_in_its_phase(one_run):
    rows = [json.loads(line) for line in (one_run / "metrics.jsonl").read_text().splitlines()]
    rows = [row for row in rows if "energy_loss" in row or "score_loss" in row]
    assert ["energy_positive" in row for row in rows] == [False, False, True, True]
    assert all("score_loss" in row and "level_loss" in row for row in rows)
    assert (one_run / "curves.png").stat().st_size > 10_000


def test_both_constants_are_in_the_checkpoint(one_run):
    """Of live and averaged weights, a number for no label and one for each class."""
    tensors, _ = checkpoints.load(checkpoints.latest(one_run))
    live, average = tensors["energy"]["constant"], tensors["energy_ema"]["constant"]
    assert live.shape == (11,) and live.isfinite().all() and (live != 0).all()
    assert (average != 0).all() and not torch.equal(live, average)
    for weights, constant in (("live", live), ("ema", average)):
        energy = runs.load(one_run, weights=weights).energy
        assert isinstance(energy, NormalizedEnergy) and torch.equal(energy.constant, constant)


def _drawn(folder: Path) -> np.ndarray:
    (path,) = folder.glob("*.npz")
    return next(iter(np.load(path).values()))


def test_generation_by_any_number_of_levels(one_run, tmp_path, capsys):
    """--ladder T draws what the run with T levels draws; as trained without it."""
    options = ["--num", "4", "--label", "3", "--format", "npz"]
    for name, ladder in (("trained", []), ("six", ["--ladder", "6"]), ("nine", ["--ladder", "9"])):
        assert _task("generate", one_run, tmp_path / name, *options, *ladder) == 0
    trained, six, nine = (_drawn(tmp_path / name) for name in ("trained", "six", "nine"))
    assert np.array_equal(trained, six) and not np.array_equal(trained, nine)
    run = runs.load(one_run)
    longer = run.with_ladder(9)
    assert (run.method.schedule.num_levels, longer.method.schedule.num_levels) == (6, 9)
    assert len(longer.generate(2, label=3).levels) == 10 and len(run.generate(2, label=3).levels) == 7
    for wrong in (0, -3):
        with pytest.raises(ConfigurationError, match="ladder must be"):
            run.with_ladder(wrong)


WALKS = "Generation.qualities={'fast': (3, 0), 'best': (4, 3)}"


def test_quality_is_levels_and_steps_by_name(one_run, tmp_path, capsys):
    """--quality draws what --ladder T --steps K draws; "default" what the run draws; in evaluations too."""
    options, named = ["--num", "4", "--label", "3", "--format", "npz"], ["--set", WALKS, "--quality"]
    by = {"fast": ["--ladder", "3", "--steps", "0"], "best": ["--ladder", "4", "--steps", "3"], "default": []}
    drawn = []
    for name, walk in by.items():
        assert _task("generate", one_run, tmp_path / name, *options, *named, name) == 0
        assert _task("generate", one_run, tmp_path / f"{name} by hand", *options, *walk) == 0
        drawn.append(_drawn(tmp_path / name))
        assert np.array_equal(drawn[-1], _drawn(tmp_path / f"{name} by hand"))
    assert not np.array_equal(drawn[0], drawn[1]) and not np.array_equal(drawn[1], drawn[2])
    capsys.readouterr()
    for words, expected in {
        (
            "--quality",
            "best",
        ): "recipe has no quality 'best': give levels and chain steps (--ladder T --steps K)",
        (*named, "fast", "--ladder", "3"): "--quality chooses levels and chain steps: leave --ladder out",
        (*named, "fast", "--steps", "3"): "leave --steps out",
        ("--set", "Generation.qualities={'fast': (3,)}"): "must be (levels, chain steps), got (3,)",
        ("--set", "Generation.qualities={'quick': (3, 0)}"): "must be one of 'fast', 'best'",
        ("--set", "Generation.qualities={'fast': (0, 0)}"): "'s levels must be at least 1",
    }.items():
        assert _task("generate", one_run, tmp_path / "refused", *words) == 2, words
        printed = capsys.readouterr().err
        assert expected in printed and printed.count("\n") == 1, printed


def test_quality_of_a_fixed_ladder_is_refused(tiny_run, tmp_path, capsys):
    assert _task("generate", tiny_run, tmp_path / "refused", "--set", WALKS, "--quality", "fast") == 2
    printed = capsys.readouterr().err
    assert "the run was trained on the 6 of a CosineSchedule: take fewer chain steps" in printed
    assert printed.count("\n") == 1


def test_evaluation_by_another_ladder(one_run, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    options = [
        "--metrics",
        "fid",
        "--num",
        "12",
        "--ladder",
        "9",
        "--set",
        "Evaluation.extractor=@RawPixels()",
    ]
    assert _task("evaluate", one_run, tmp_path / "out", *options) == 0
    (path,) = (tmp_path / "out").glob("*.json")
    protocol = json.loads(path.read_text())["protocol"]
    assert "_ladder9" in path.name and protocol["ladder"] == 9
    assert protocol["schedule"]["num_levels"] == 9


@pytest.mark.parametrize(
    ("task", "options"),
    [
        ("generate", ["--num", "2"]),
        ("evaluate", ["--num", "2", "--metrics", "fid", "--set", "Evaluation.extractor=@RawPixels()"]),
        ("chains", ["--num", "2"]),
    ],
)
def test_a_fixed_ladder_is_kept(tiny_run, tmp_path, capsys, task, options):
    assert _task(task, tiny_run, tmp_path / "out", *options, "--ladder", "9") == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1
    assert "the 6 levels of a CosineSchedule" in error and "leave --ladder out" in error
    assert not (tmp_path / "out").exists()


def test_guidance_is_the_energys(one_run):
    """Chains and proposals are guided: a scale changes samples, 0 is the label's own."""
    run = runs.load(one_run)
    plain, none = run.generate(3, label=3, guidance=0.0), run.generate(3)
    strong = run.generate(3, label=3, guidance=4.0)
    assert plain.x.isfinite().all() and strong.x.isfinite().all()
    assert not torch.equal(plain.x, none.x) and not torch.equal(plain.x, strong.x)


def test_composition_of_conditions_and_of_runs(one_run, tmp_path):
    run = runs.load(one_run)
    both = run.with_conditions([3, 5], [1.0, 1.0]).generate(2)
    assert both.x.isfinite().all() and not torch.equal(both.x, run.generate(2, label=3).x)
    # one half of itself, twice, is the run
    twice = run.composed_with([runs.load(one_run)], [0.5, 0.5])
    torch.testing.assert_close(twice.generate(2, label=3).x, run.generate(2, label=3).x, rtol=1e-3, atol=1e-3)
    assert _task("compose", one_run, tmp_path, "--num", "3", "--labels", "3", "5") == 0
    assert any(tmp_path.iterdir())


def test_mixtures_and_exclusions(one_run, tiny_run, tmp_path, capsys):
    """A mixture of one is it; of a class with itself too; the other forms are samples of their own."""
    run = runs.load(one_run)
    by_class = run.generate(3, label=3).x
    torch.testing.assert_close(run.with_any([3, 3], [1.0, 2.0]).generate(3).x, by_class, rtol=1e-3, atol=1e-3)
    twice = run.mixed_with([runs.load(one_run)], [1.0, 1.0])
    torch.testing.assert_close(twice.generate(3, label=3).x, by_class, rtol=1e-3, atol=1e-3)
    rest = run.without(3, strength=2.0).generate(3).x
    assert rest.isfinite().all() and not torch.equal(rest, run.generate(3).x)
    for options in (["--labels", "3", "5", "--mix"], ["--without", "3"]):
        assert _task("compose", one_run, tmp_path / options[0], "--num", "3", *options) == 0
    written = json.loads((tmp_path / "--labels" / "compose.json").read_text())
    assert written["mixture"] and written["without"] is None
    capsys.readouterr()
    for options, words in (
        (["--mix"], "--task compose needs"),
        (["--labels", "3", "--without", "5"], "leave --labels and --with out"),
        (["--labels", "3", "5", "--mix"], "mixtures need a run whose energy proposes by itself"),
    ):
        assert _task("compose", tiny_run, tmp_path / "no", *options) == 2
        error = capsys.readouterr().err
        assert error.count("\n") == 1 and words in error


TASKS = {
    "inpaint": ["--num", "2", "--completions", "2", "--mask", "left", "--label", "own", "--ladder", "4"],
    "interpolate": ["--num", "2", "--frames", "3"],
    "chains": ["--num", "3", "--steps", "40", "--every", "1"],
    "landscape": ["--points", "5"],
}


@pytest.mark.usefixtures("drawn")
@pytest.mark.parametrize("name", TASKS)
def test_other_tasks(one_run, tmp_path, name):
    assert _task(name, one_run, tmp_path, *TASKS[name]) == 0
    assert any(path.stat().st_size > 1_000 for path in tmp_path.iterdir())


def test_inpainting_keeps_what_is_given(one_run):
    run = runs.load(one_run)
    images, _ = run.data.open().rows(torch.arange(2))
    mask = torch.zeros(1, 8, 8)
    mask[:, :, :4] = 1
    filled = run.inpaint(images, mask, completions=2)
    assert torch.equal(filled[..., :4], images[:, None, ..., :4].expand(2, 2, 1, 8, 4))
    assert filled.isfinite().all() and not torch.equal(filled[:, 0], filled[:, 1])


def test_chains_along_the_ladder_start_from_own_proposals(one_run, tmp_path):
    options = ["--num", "3", "--steps", "40", "--every", "1", "--along", "ladder", "--start", "noise"]
    assert _task("chains", one_run, tmp_path, *options) == 0
    assert len(list(tmp_path.iterdir())) >= 2


def test_detection_by_likelihood(one_run, tmp_path):
    """-log p, in nats, beside the error of the energy's own denoising."""
    options = [
        "--num",
        "20",
        "--against",
        "uniform",
        "--score",
        "LikelihoodScore",
        "--score",
        "TypicalityScore",
        "--score",
        "DenoisingScore",
    ]
    assert _task("detect", one_run, tmp_path, *options) == 0
    with (tmp_path / "scores.csv").open() as file:
        rows = list(csv.DictReader(file))
    found = torch.tensor([float(row["LikelihoodScore"]) for row in rows])
    assert len(rows) == 40 and found.isfinite().all() and found.std() > 0
    # typicality: the distance from one number, which is near the inliers' mean
    far = torch.tensor([float(row["TypicalityScore"]) for row in rows])
    both = [(found - far), (found + far)]  # H, where U is above it, and where it is below
    entropy = both[0][far.argmax()] if found[far.argmax()] > found.mean() else both[1][far.argmax()]
    torch.testing.assert_close((found - entropy).abs(), far, rtol=1e-3, atol=1e-2)
    assert abs(entropy - found[:20].mean()) < 4 * found[:20].std()
    areas = (tmp_path / "areas.md").read_text().splitlines()
    assert areas[0] == "| AUROC against | uniform |" and [line.split("`")[1] for line in areas[2:]] == [
        "LikelihoodScore",
        "TypicalityScore",
        "DenoisingScore",
    ]
    assert torch.tensor([float(row["DenoisingScore"]) for row in rows]).isfinite().all()


def test_likelihoods_need_a_constant(tiny_run, tmp_path, capsys):
    options = ["--num", "20", "--against", "uniform", "--score", "LikelihoodScore"]
    assert _task("detect", tiny_run, tmp_path / "out", *options) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "LikelihoodScore needs an energy that knows its constant" in error


def test_an_own_proposal_isnt_weighed_with_a_network(one_run, tiny_run):
    with pytest.raises(ConfigurationError) as caught:
        runs.load(one_run).composed_with([runs.load(tiny_run)], [1.0, 1.0])
    assert "\n" not in str(caught.value)
