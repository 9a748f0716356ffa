"""What the page computes is what the tasks compute, and its faults are one line before any compute."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

import launch
from modules import runs
from modules.core.checks import ConfigurationError
from modules.data.quantization import to_bytes
from modules.demo import answers
from modules.demo.answers import IN_TURN, NO_CLASS, Settings
from modules.demo.walks import walk_of


def silent(done: int, total: int) -> None:
    """A report that nobody reads."""


@pytest.fixture(scope="module")
def run(tiny_run):
    return runs.load(tiny_run)


@pytest.fixture(scope="module")
def plain(unlabelled):
    return runs.load(unlabelled)


def test_the_same_seed_is_the_picture_of_generate(run, tiny_run, tmp_path):
    options = ["--num", "12", "--seed", "3", "--guidance", "1.5", "--steps", "1"]
    command = ["--task", "generate", "--run", str(tiny_run), "--output", str(tmp_path), *options]
    assert launch.main(command) == 0
    drawn = answers.sample(run, 12, Settings(3, IN_TURN, 1.5, 1), silent)
    written = [np.asarray(Image.open(path)) for path in sorted(tmp_path.glob("0*.png"))]
    assert np.array_equal(to_bytes(drawn.x)[:, 0].numpy(), np.stack(written))
    assert not torch.equal(drawn.x, answers.sample(run, 12, Settings(4, IN_TURN, 1.5, 1), silent).x)


def test_untouched_controls_are_the_run_as_configured(run, plain):
    """The first values of the controls change nothing."""
    scale, steps = answers.configured_guidance(run), answers.configured_steps(run)
    assert (scale, steps) == (0.0, 2)
    x = answers.sample(run, 5, Settings(1, "3", scale, steps), silent).x
    assert torch.equal(x, run.generate(5, label=3, seed=1).x)
    assert answers.configured_guidance(plain) is None
    x = answers.sample(plain, 5, Settings(1, steps=answers.configured_steps(plain)), silent).x
    assert torch.equal(x, plain.generate(5, seed=1).x)


def test_classes_have_names_and_can_be_typed(run, plain):
    assert answers.classes(run)[3] == ("3", "3") and len(answers.classes(run)) == 10
    assert answers.classes(plain) == []


def test_a_composition_is_that_of_its_task(run):
    x = answers.compose(run, [("4", 2.0), ("9", -1.0)], 3, Settings(2), silent).x
    assert torch.equal(x, run.with_conditions([4, 9], [2.0, -1.0]).generate(3, seed=2).x)
    one = answers.compose(run, [("4", 1.0)], 3, Settings(2), silent).x
    assert torch.allclose(one, run.generate(3, label=4, guidance=0.0, seed=2).x, atol=1e-4)


def test_completions_are_those_of_the_task(run):
    image, known = torch.linspace(-1, 1, 64).view(1, 8, 8), torch.arange(8).expand(8, 8) < 5
    settings = Settings(2, "7", 0.5, 1)
    found = answers.inpaint(run, image, known, 3, settings, silent)
    assert found.x.shape == (3, 1, 8, 8)
    assert len(found.levels) == run.method.schedule.num_levels + 1
    assert torch.equal(found.x[..., :5], image[..., :5].expand(3, 1, 8, 5))
    expected = run.with_steps(1).inpaint(image[None], known, 3, 7, 0.5, seed=2)[0]
    assert torch.equal(found.x, expected) and not torch.equal(found.x[0], found.x[1])


def test_the_report_comes_once_a_level_of_each_batch_and_can_stop(run):
    heard = []
    answers.sample(run, 5, Settings(batch_size=2), lambda *said: heard.append(said))
    total = 3 * run.method.schedule.num_levels
    assert heard == [(done, total) for done in range(total)]

    class StoppedError(Exception):
        pass

    def stop(done: int, total: int) -> None:
        if done == 2:
            raise StoppedError

    with pytest.raises(StoppedError):
        answers.sample(run, 5, Settings(), stop)
    assert run.generation.sampler.num_steps == 2  # the run itself is as it was


def test_a_walk_shows_every_level_of_all(run):
    drawn = answers.sample(run, 4, Settings(label="1"), silent)
    walk = walk_of(drawn)
    top = run.method.schedule.num_levels
    assert len(walk.frames) == len(walk.names) == top + 2
    assert walk.names[0] == f"level {top} of {top}, noise" and walk.names[-1] == "samples, denoised"
    for i, stage in enumerate([*drawn.levels, drawn.x]):
        pixels = np.asarray(walk.frames[i])
        assert np.array_equal(pixels[2:10, 2:10], to_bytes(stage)[0, 0].numpy())
        factor = walk.picture(i).height // walk.frames[i].height
        assert factor >= 15 and np.array_equal(
            np.asarray(walk.picture(i)), pixels.repeat(factor, 0).repeat(factor, 1)
        )
    assert walk.strip.size == (2 + 10 * (top + 2), 2 + 10 * 4)


def test_the_film_has_a_frame_a_level(run, tmp_path):
    walk = walk_of(answers.sample(run, 4, Settings(), silent))
    with Image.open(walk.film(tmp_path / "walk.gif")) as film:
        assert (film.format, film.n_frames, film.size) == ("GIF", len(walk.frames), walk.picture(0).size)


FAULTS = {
    "label out of range": (Settings(label="10"), "a label must be in 0..9 (-1 = none), got 10"),
    "no such name": (Settings(label="tree"), "no class is named 'tree'"),
    "no seed": (Settings(seed=None), "the seed must be an integer, got None"),
    "guidance": (Settings(guidance=float("nan")), "guidance must be finite"),
    "steps": (Settings(steps=-1), "steps must be at least 0"),
    "guidance without labels": (Settings(guidance=1.0), "trained without labels: guidance has nothing"),
    "classes without labels": (Settings(label=IN_TURN), "trained without labels: there are no classes"),
    "a label without labels": (Settings(label="1"), "trained without labels (NUM_CLASSES = 0)"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_found_before_any_compute(run, plain, fault):
    settings, expected = FAULTS[fault]
    heard = []
    with pytest.raises(ConfigurationError) as raised:
        answers.sample(
            plain if "without labels" in fault else run, 2, settings, lambda *said: heard.append(said)
        )
    assert expected in str(raised.value) and heard == []


def test_faults_of_numbers_masks_and_compositions(run, plain):
    image, nothing = torch.zeros(1, 8, 8), torch.ones(8, 8, dtype=torch.bool)
    with pytest.raises(ConfigurationError, match="the number of samples must be at most 64, got 65"):
        answers.sample(run, 65, Settings(), silent)
    with pytest.raises(ConfigurationError, match="nothing is to be found: paint"):
        answers.inpaint(run, image, nothing, 3, Settings(label=NO_CLASS), silent)
    with pytest.raises(ConfigurationError, match="completions must be at least 1"):
        answers.inpaint(run, image, ~nothing, 0, Settings(), silent)
    with pytest.raises(ConfigurationError, match="a composition needs a class"):
        answers.compose(run, [], 3, Settings(), silent)
    with pytest.raises(ConfigurationError, match="the weight of 3 must be finite"):
        answers.compose(run, [("3", float("inf"))], 3, Settings(), silent)
    with pytest.raises(ConfigurationError, match="trained without labels: there are none to compose"):
        answers.compose(plain, [("3", 1.0)], 3, Settings(), silent)
