"""Gin files compose as written, and what they say is built."""

import gin
import pytest

from modules import config
from modules.core.checks import ConfigurationError
from tests.config.toys import ToySampler, built, write


def test_overrides_win_over_files_and_files_over_their_parts(folder):
    write(folder, "parts/mine.gin", 'include "good.gin"\nSTEPS = 7\nToySampler.rate = 0.5\n')
    assert built(["parts/mine.gin"]).sampler.num_steps == 7
    sampler = built(["parts/mine.gin"], ["STEPS=9", "STEPS=11"]).sampler
    assert (sampler.num_steps, sampler.rate) == (11, 0.5)


def test_a_later_file_overrides_an_earlier_one(folder):
    write(folder, "y.gin", "STEPS = 8")
    assert built(["good.gin", "y.gin"]).sampler.num_steps == 8


def test_includes_resolve_from_the_file_itself_and_from_the_working_folder(folder):
    write(folder, "deep/top.gin", 'include "part.gin"\ninclude "good.gin"\n')
    write(folder, "deep/part.gin", "ToyModel.size = 4")
    model = built(["deep/top.gin"])
    assert (model.size, model.sampler.num_steps) == (4, 5)


def test_files_resolve_from_the_repository_and_its_gin_folder(folder, monkeypatch):
    from modules.config import files as config_files

    repository = folder / "repository"
    write(repository, "gin/base/one.gin", "ToyModel.size = 6")
    write(repository, "gin/two.gin", 'include "gin/base/one.gin"')
    write(repository, "gin/three.gin", 'include "base/one.gin"')
    elsewhere = folder / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    monkeypatch.setattr(config_files, "REPOSITORY", repository)
    assert built(["gin/two.gin"]).size == built(["three.gin"]).size == 6


def test_a_part_included_twice_does_not_undo_what_overrides_it(folder):
    write(folder, "base.gin", "SIZE = 1\nToyModel.size = %SIZE")
    write(folder, "a.gin", 'include "base.gin"\nSIZE = 2')
    write(folder, "b.gin", 'include "base.gin"\nToyModel.parts = 3')
    write(folder, "top.gin", 'include "a.gin"\ninclude "b.gin"')
    model = built(["top.gin"])
    assert (model.size, model.parts) == (2, 3)


def test_a_replaced_component_leaves_its_settings_idle_without_fault(folder):
    """One override swaps a component: the settings of the old one are not mistakes."""
    write(folder, "mine.gin", "ToyModel.sampler = @other/ToySampler()\nother/ToySampler.num_steps = 2")
    write(
        folder,
        "x.gin",
        'ToyModel.parts = @ToyFolder()\nWHERE = "here"\nToyFolder.path = %WHERE\nToyFolder.depth = 1',
    )
    assert built(["x.gin"], ["ToyModel.parts=None"]).parts is None
    assert built(["good.gin", "mine.gin"]).sampler.num_steps == 2


@gin.register
class HeirSampler(ToySampler):
    """A user's subclass of a component, which takes what its base takes."""


def test_a_subclass_in_the_place_of_its_base_is_told_what_it_does_not_inherit(folder):
    """The recipe's settings of the base reach nobody: said one by one, until each is bound or left out."""
    write(folder, "mine.gin", 'include "good.gin"\nToySampler.rate = 0.5')
    swap = "ToyModel.sampler=@HeirSampler()"
    with pytest.raises(ConfigurationError) as caught:
        built(["mine.gin"], [swap, "HeirSampler.num_steps=3"])
    expected = "ToySampler.rate has no effect: HeirSampler is built in the place of its base ToySampler"
    assert expected in str(caught.value) and "bind HeirSampler.rate" in str(caught.value)
    model = built(["mine.gin"], [swap, "HeirSampler.num_steps=3", "HeirSampler.rate=0.2"])
    assert (model.sampler.num_steps, model.sampler.rate) == (3, 0.2)


def test_an_override_of_a_replaced_component_is_a_fault(folder):
    with pytest.raises(ConfigurationError, match=r"ToySampler\.rate is never used"):
        built(["good.gin"], ["ToyModel.sampler=None", "ToySampler.rate=3"])


def test_macros_of_parts_may_be_left_unread(folder):
    write(folder, "data.gin", "NUM_CLASSES = 10\nSHAPE = (1, 8, 8)")
    write(folder, "top.gin", 'include "data.gin"\nToyModel.size = %SHAPE')
    assert built(["top.gin"]).size == (1, 8, 8)


def test_a_required_macro_is_filled_below_the_include(folder):
    write(folder, "part.gin", "SIZE = %gin.REQUIRED\nToyModel.size = %SIZE")
    write(folder, "top.gin", 'include "part.gin"\nSIZE = 3')
    assert built(["top.gin"]).size == 3
    assert built(["part.gin"], ["SIZE=4"]).size == 4


def test_scopes_and_references_inside_dictionaries(folder):
    write(
        folder,
        "x.gin",
        'ToyModel.parts = {"f": @f/ToySampler(), "g": [@g/ToySampler()]}\n'
        "ToySampler.num_steps = 4\nf/ToySampler.rate = 1.0\ng/ToySampler.rate = 2.0\n",
    )
    parts = built(["x.gin"]).parts
    assert [parts["f"].rate, parts["g"][0].rate] == [1.0, 2.0]
    assert parts["f"].num_steps == parts["g"][0].num_steps == 4


def test_an_unscoped_reference_keeps_the_scope_of_its_reader(folder):
    write(
        folder,
        "x.gin",
        "ToyModel.parts = @inner/ToyModel()\ninner/ToyModel.sampler = @ToySampler()\n"
        "inner/ToyModel.parts = None\ninner/ToySampler.num_steps = 6\n",
    )
    assert built(["x.gin"]).parts.sampler.num_steps == 6


def test_an_uncalled_reference_is_bound_when_it_is_called(folder):
    write(folder, "x.gin", "ToyModel.make = @ToySampler\nToySampler.rate = 3.0")
    loaded = config.load(["x.gin"])
    model = loaded.build("ToyModel")
    with pytest.raises(ConfigurationError, match="never used"):
        loaded.check_used()
    assert model.make(2).rate == 3.0


def test_given_arguments_win_and_their_bindings_are_then_unused(folder):
    loaded = config.load(["good.gin"], ["ToyModel.size=3"])
    assert loaded.build("ToyModel", {"size": 5}).size == 5
    with pytest.raises(ConfigurationError, match="whoever builds ToyModel gives size itself"):
        loaded.check_used()


def test_values_are_read_one_by_one(folder):
    loaded = config.load(["good.gin"])
    assert loaded.value("STEPS") == 5
    assert loaded.value("ToySampler.num_steps") == 5
    assert loaded.value("any/ToySampler.num_steps") == 5
    assert loaded.value("ToyModel.sampler") is not loaded.value("ToyModel.sampler")
    with pytest.raises(ConfigurationError, match=r"nothing is bound to ToySampler\.rate"):
        loaded.value("ToySampler.rate")
    with pytest.raises(ConfigurationError, match=r"STEP.*Did you mean 'STEPS'"):
        loaded.value("STEP")


def test_two_configurations_do_not_mix(folder):
    first = config.load(["good.gin"])
    second = config.load(["good.gin"], ["STEPS=9", "ToyModel.size=2"])
    assert second.build("ToyModel").sampler.num_steps == 9
    assert first.build("ToyModel").sampler.num_steps == 5
    first.check_used()
    second.check_used()
    assert "num_steps = 9" in second.resolved() and "num_steps = 5" in first.resolved()


def test_the_resolved_configuration_shows_values_defaults_and_places(folder):
    write(
        folder,
        "x.gin",
        'include "good.gin"\nToyModel.parts = {"a": [@b/ToySampler()]}\nb/ToySampler.rate = 2.0',
    )
    loaded = config.load(["x.gin"], ["STEPS=7"])
    loaded.build("ToyModel")
    lines = loaded.resolved().splitlines()
    assert 'ToySampler.num_steps = 7  # --set "STEPS=7"' in lines
    assert 'b/ToySampler.num_steps = 7  # --set "STEPS=7"' in lines
    assert "b/ToySampler.rate = 2.0  # x.gin:3" in lines
    assert "ToySampler.rate = 0.1  # default" in lines
    assert "ToyModel.sampler = @ToySampler()  # good.gin:3" in lines
    assert "ToyModel.parts = {'a': [@b/ToySampler()]}  # x.gin:2" in lines
