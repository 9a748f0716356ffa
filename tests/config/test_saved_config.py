"""A configuration saves to a text that loads back to the same, runs no code and reads no file."""

import pytest

from modules import config
from modules.core.checks import ConfigurationError
from tests.config.toys import write

SAVED = """\
LONG = 3
ToyModel.sampler = @s/ToySampler()
ToyModel.parts = {"zeta": (1,), "alpha": [-1.5e-3, None, True, "it's \\"so\\"", @ToySampler], "x": %LONG,
                  "wide": ("aaaaaaaaaaaaaaaaaaaa", "bbbbbbbbbbbbbbbbbbbb", "ccccccccccccccccccccc")}
ToyModel.size = 1e999
s/ToySampler.num_steps = %LONG
ToySampler.rate = 1
"""


def test_a_saved_text_loads_back_to_the_same(folder):
    write(folder, "x.gin", SAVED)
    first = config.load(["x.gin"])
    model = first.build("ToyModel")
    text = first.text
    assert "import" not in text and "include" not in text
    assert max(map(len, text.splitlines())) <= 110
    again = config.load_text(text)
    copy = again.build("ToyModel")
    assert again.text == text
    assert list(copy.parts) == ["zeta", "alpha", "x", "wide"]  # order kept
    assert {**copy.parts, "alpha": 0} == {**model.parts, "alpha": 0}
    assert copy.parts["alpha"][:4] == [-1.5e-3, None, True, 'it\'s "so"']
    assert copy.size == float("inf")
    assert vars(copy.sampler) == vars(model.sampler) == {"num_steps": 3, "rate": 1, "kind": "plain"}


def test_a_saved_text_does_not_depend_on_how_it_was_put_together(folder):
    write(folder, "x.gin", 'include "good.gin"\nSTEPS = 6')
    assert config.load(["x.gin"]).text == config.load(["good.gin"], ["STEPS=6"]).text


def test_tasks_check_only_the_command_line(folder):
    text = config.load(["good.gin"], ["ToyModel.size=2"]).text
    loaded = config.load_text(text, ["ToySampler.rate=2.0"])
    assert loaded.value("ToyModel.sampler").rate == 2.0
    loaded.check_used()  # ToyModel.size was not used: no fault
    other = config.load_text(text, ["ToyModel.size=3"])
    other.value("ToyModel.sampler")
    with pytest.raises(ConfigurationError, match=r'^--set "ToyModel.size=3": ToyModel.size is never used'):
        other.check_used()


@pytest.mark.parametrize("line", ["import os", "from os import path", 'include "good.gin"'])
def test_a_saved_text_runs_no_code_and_reads_no_file(folder, line):
    with pytest.raises(ConfigurationError, match=r"^config\.gin:2: "):
        config.load_text(f"ToyModel.size = 1\n{line}\n")


def test_a_saved_text_with_unknown_names_has_its_line(folder):
    with pytest.raises(ConfigurationError, match=r"^runs/a/config\.gin:2: ToyModel has no parameter 'sizes'"):
        config.load_text("\nToyModel.sizes = 1", name="runs/a/config.gin")
