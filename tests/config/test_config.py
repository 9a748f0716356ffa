"""Gin files compose as written and save to a text that loads back; a fault is one line with its place."""

import subprocess
import sys
from pathlib import Path

import gin
import pytest
import torch
from torch import nn

from modules import config
from modules.config import imports as config_imports
from modules.core.checks import (
    ConfigurationError,
    DataError,
    UserError,
    check_choice,
    check_instance,
    check_integer,
    check_number,
)

ROOT = Path(config.__file__).parents[2]


@gin.register
class ToySampler:
    def __init__(self, num_steps, rate=0.1, kind="plain"):
        check_integer("ToySampler.num_steps", num_steps, low=1)
        check_number("ToySampler.rate", rate, above=0)
        check_choice("ToySampler.kind", kind, ("plain", "mirror"))
        self.num_steps, self.rate, self.kind = num_steps, rate, kind


@gin.register
class ToyFolder:
    """Refuses what it is given in other ways than by a check of its own arguments."""

    def __init__(self, path, *, depth):
        if path == "missing":
            raise DataError(f"no data in {path!r}")
        if path == "odd":
            raise KeyError("a bug,\nin two lines")
        self.path, self.depth = path, depth


@gin.register
class ToyModel:
    def __init__(self, sampler=None, parts=None, size=1, make=None):
        if sampler is not None:
            check_instance("ToyModel.sampler", sampler, ToySampler)
        self.sampler, self.parts, self.size, self.make = sampler, parts, size, make


@gin.register
class ToyNetwork(nn.Module):
    def __init__(self, widths, depth):
        super().__init__()
        rows, columns = widths
        for index in range(depth):  # as lazy as a real one before it is filled
            self.register_parameter(str(index), nn.Parameter(torch.empty(rows * 1000, columns * 1000)))


GOOD = """\
# A model with one sampler.
STEPS = 5
ToyModel.sampler = @ToySampler()
ToySampler.num_steps = %STEPS
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A working folder, outside the repository, with good.gin."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "good.gin").write_text(GOOD)
    return tmp_path


def write(folder, name, text):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return name


def built(files, overrides=(), imports=()):
    loaded = config.load(files, overrides, imports)
    model = loaded.build("ToyModel")
    loaded.check_used()
    return model


# What is in x.gin, and what its one line of error must hold.
FILE_FAULTS = {
    "unknown component": ("ToyModle.size = 2", ["x.gin:1", "'ToyModle'", "'ToyModel'"]),
    "unknown reference": ("\nToyModel.sampler = @ToySamler()", ["x.gin:2", "'ToySamler'", "'ToySampler'"]),
    "unknown reference deep inside": (
        'ToyModel.parts = {"a": [1, (@b/ToySamplr(),)]}',
        ["x.gin:1", "'ToySamplr'", "'ToySampler'"],
    ),
    "unknown parameter": (
        "ToyModel.size = 2\n\nToySampler.num_step = 2",
        ["x.gin:3", "'num_step'", "'num_steps'"],
    ),
    "unknown parameter, none near": ("ToyModel.qqq = 2", ["x.gin:1", "'qqq'", "sampler, parts, size, make"]),
    "unknown parameter in a block": ("ToyModel:\n  size = 1\n  parst = 2", ["x.gin:3", "'parst'", "'parts'"]),
    "unused component": (
        "ToyModel.size = 2\nToySampler.num_steps = 3",
        ["x.gin:2", "ToySampler.num_steps", "never used"],
    ),
    "unused scope": (
        "ToyModel.parts = [@energy/ToySampler()]\nToySampler.num_steps = 1\nenrgy/ToySampler.rate = 1",
        ["x.gin:3", "'enrgy'", "'energy'"],
    ),
    "hidden by nearer scopes": (
        "ToyModel.sampler = @a/ToySampler()\nToySampler.num_steps = 1\na/ToySampler.num_steps = 2",
        ["x.gin:2", "no effect", "a/ToySampler.num_steps", "x.gin:3"],
    ),
    "unused macro": (
        "STEPS = 1\nSTEP = 2\nToyModel.size = %STEPS",
        ["x.gin:2", "STEP ", "nothing reads", "'STEPS'"],
    ),
    "undefined macro": ("STEPS = 1\nToyModel.size = %STEP", ["x.gin:2", "%STEP", "'STEPS'"]),
    "required macro": (
        "STEPS = %gin.REQUIRED\nToyModel.size = %STEPS",
        ["x.gin:1", "STEPS must be set", '--set "STEPS='],
    ),
    "required parameter": ("ToyModel.size = %gin.REQUIRED", ["x.gin:1", "ToyModel.size must be set"]),
    "wrong type": (
        'ToyModel.sampler = @ToySampler()\nToySampler.num_steps = "5"',
        ["x.gin:2", "ToySampler.num_steps must be an integer", "'5'"],
    ),
    "wrong type in a scope": (
        "ToyModel.sampler = @a/ToySampler()\na/ToySampler.num_steps = 0.5\nToySampler.rate = 1",
        ["x.gin:2", "ToySampler.num_steps must be an integer", "0.5"],
    ),
    "wrong type behind a macro": (
        "STEPS = 0\nToyModel.sampler = @ToySampler()\nToySampler.num_steps = %STEPS",
        ["x.gin:1", "ToySampler.num_steps must be at least 1", "from STEPS"],
    ),
    "wrong choice": (
        'ToyModel.sampler = @ToySampler()\nToySampler.num_steps = 1\nToySampler.kind = "plane"',
        ["x.gin:3", "ToySampler.kind", "'plain'"],
    ),
    "class for an instance": ("ToyModel.sampler = @ToySampler", ["x.gin:1", "the class", "@ToySampler()"]),
    "forgotten @": ('ToyModel.sampler = "ToySampler"', ["x.gin:1", "ToyModel.sampler", "@ToySampler()"]),
    "quoted reference": ('ToyModel.size = "@ToySampler()"', ["x.gin:1", "without quotes"]),
    "quoted call": ('ToyModel.size = "ToySampler()"', ["x.gin:1", "@ToySampler()", "without quotes"]),
    "bare component": ("\nToyModel.sampler = ToySampler", ["x.gin:2", "@ToySampler()"]),
    "bare macro": ("STEPS = 3\nToyModel.size = STEPS", ["x.gin:2", "%STEPS"]),
    "bare boolean": ("ToyModel.size = true", ["x.gin:1", "true", "'True'"]),
    "doubled": ("ToyModel.size = 1\n# here\nToyModel.size = 2", ["x.gin:3", "ToyModel.size", "line 1"]),
    "doubled under its full name": (
        f"ToyModel.size = 1\n{__name__}.ToyModel.size = 2",
        ["x.gin:2", "set twice", "line 1"],
    ),
    "doubled macro": ("STEPS = 1\nSTEPS = 2\nToyModel.size = %STEPS", ["x.gin:2", "STEPS", "line 1"]),
    "missing include": ('\ninclude "good2.gin"', ["x.gin:2", "'good2.gin'", "'good.gin'"]),
    "override above its include": (
        'STEPS = 3\ninclude "good.gin"',
        ["x.gin:1", "STEPS", "good.gin:2", "below the include"],
    ),
    "circle": ('include "x.gin"', ["x.gin:1", "circle"]),
    "macro of itself": ("SIZE = [%SIZE]\nToyModel.size = %SIZE", ["x.gin:1", "SIZE goes in a circle"]),
    "macros in a circle, unread": (
        "A = %B\nB = (1, {2: %A})\nToyModel.size = 1",
        ["x.gin:2", "B goes in a circle"],
    ),
    "component of itself": (
        "ToyModel.size = 1\nToyModel.parts = [@a/ToyModel()]",
        ["x.gin:2", "ToyModel.parts goes in a circle, back to ToyModel"],
    ),
    "circle through a macro": (
        "MODEL = @ToyModel()\nToyModel.parts = %MODEL",
        ["x.gin:2", "ToyModel.parts goes in a circle, back to MODEL"],
    ),
    "deep nesting": ("ToyModel.size = " + "[" * 60 + "]" * 60, ["x.gin:1", "more than 50 lists"]),
    "deeper than Python goes": ("\nToyModel.size = " + "(" * 9999, ["x.gin:2", "more than 50 lists"]),
    "a list as a key": ("ToyModel.size = {[]: 1}", ["x.gin:1", "unhashable"]),
    "an object as a number": (
        "ToyModel.sampler = @ToySampler()\nToySampler.num_steps = @ToyModel",
        ["x.gin:2", "ToySampler.num_steps must be an integer, got the class ToyModel"],
    ),
    "more than 64 bits": (
        "ToyModel.sampler = @ToySampler()\nToySampler.num_steps = 9223372036854775808",
        ["x.gin:2", "ToySampler.num_steps must be an integer of at most 64 bits"],
    ),
    "infinity": (
        "ToyModel.sampler = @ToySampler()\nToySampler.num_steps = 1\nToySampler.rate = 1e999",
        ["x.gin:3", "ToySampler.rate must be finite, got inf"],
    ),
    "weights beyond all memory": (
        "ToyModel.parts = @ToyNetwork()\nToyNetwork.widths = (2, 2000000000)\nToyNetwork.depth = 2",
        ["x.gin:2", "ToyNetwork is too large for this machine's memory: lower ToyNetwork.widths"],
    ),
    "weights beyond this machine's memory": (
        "ToyModel.parts = @ToyNetwork()\nToyNetwork.widths = (2, 3000)\nToyNetwork.depth = 1000000",
        [
            "x.gin:3",
            "ToyNetwork is too large for this machine's memory: lower ToyNetwork.depth, which is 1000000",
        ],
    ),
    "no value": ("ToyModel.size = 1\nToyModel.parts =", ["x.gin:2", "ToyModel.parts ="]),
    "no equals sign": ("ToyModel.size = 1\nToyModel.parts 3", ["x.gin:2", "ToyModel.parts 3"]),
    "unclosed bracket": ("ToyModel.size = 1\n# list\nToyModel.parts = [1,\n2\n", ["x.gin:3", "not closed"]),
    "unclosed string": ('ToyModel.size = 1\nToyModel.parts = "a\n', ["x.gin:2", "ToyModel.parts"]),
    "parameter without component": ("make = 3", ["x.gin:1", "make", "ToyModel.make"]),
    "value of a component": ("ToySampler = 3", ["x.gin:1", "ToySampler.parameter"]),
    "missing argument": ("ToyModel.parts = @ToySampler()", ["x.gin:1", "ToySampler.num_steps must be set"]),
    "missing keyword": (
        'ToyModel.parts = @ToyFolder()\nToyFolder.path = "here"',
        ["x.gin:1", "ToyFolder.depth must be set"],
    ),
    "an exception of another kind": (
        'ToyModel.parts = @ToyFolder()\nToyFolder.path = "odd"\nToyFolder.depth = 1',
        ["x.gin:1", "ToyFolder", "KeyError", "a bug"],
    ),
    "unknown import": ("\nimport no_such_module", ["x.gin:2", "no module 'no_such_module'"]),
    "dynamic registration": ("from __gin__ import dynamic_registration", ["x.gin:1", "@gin.register"]),
}


@pytest.mark.parametrize("fault", FILE_FAULTS)
def test_a_fault_in_a_file_is_one_line_with_its_place_and_remedy(folder, fault):
    text, expected = FILE_FAULTS[fault]
    write(folder, "x.gin", text)
    with pytest.raises(UserError) as caught:
        built(["x.gin"])
    message = str(caught.value)
    assert "\n" not in message and len(message) < 300
    assert message.startswith(expected[0] + ":"), message
    for part in expected[1:]:
        assert part in message


# What stands after --set, with good.gin.
OVERRIDE_FAULTS = {
    "no equals sign": ("ToySampler.num_steps", ['"="', "ToySampler.num_steps=VALUE"]),
    "no name": ("=3", ["Name.parameter=VALUE"]),
    "no value": ("ToyModel.size=", ["ToyModel.size=VALUE"]),
    "two bindings": ("ToyModel.size=1\nToyModel.parts=2", ["one binding"]),
    "unknown component": ("ToyModle.size=1", ["'ToyModel'"]),
    "unknown parameter": ("ToySampler.num_step=1", ["'num_steps'"]),
    "wrong type": ('STEPS="a"', ["ToySampler.num_steps must be an integer", "from STEPS"]),
    "unquoted string": ("ToySampler.kind=mirror", ['"mirror"', "quotes"]),
    "unused": ("b/ToySampler.rate=1", ["b/ToySampler.rate", "never used"]),
    "unused macro": ("STEP=3", ["STEP", "'STEPS'"]),
    "an include": ('include "a=b.gin"', ["one binding"]),
}


@pytest.mark.parametrize("fault", OVERRIDE_FAULTS)
def test_a_fault_in_an_override_is_one_line_that_repeats_it(folder, fault):
    override, expected = OVERRIDE_FAULTS[fault]
    with pytest.raises(ConfigurationError) as caught:
        built(["good.gin"], [override])
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith(f'--set "{" ".join(override.split())}"'), message
    for part in expected:
        assert part in message


def test_the_good_file_of_the_fault_tables_is_good(folder):
    assert built(["good.gin"]).sampler.num_steps == 5


def test_missing_files_name_the_nearest(folder):
    with pytest.raises(
        ConfigurationError, match=r"^--gin goood\.gin: no such file\. Did you mean 'good\.gin'"
    ):
        config.load(["goood.gin"])


def test_an_error_keeps_its_class(folder):
    write(folder, "x.gin", 'ToyModel.parts = @ToyFolder()\nToyFolder.path = "missing"\nToyFolder.depth = 1')
    with pytest.raises(DataError) as caught:
        built(["x.gin"])
    assert str(caught.value) == "no data in 'missing'"


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


USER = """\
import gin


@gin.register
class {name}:
    def __init__(self, depth=2):
        self.depth = depth
"""


def test_a_users_file_is_imported_by_path_and_found_again_from_elsewhere(folder, monkeypatch):
    write(folder, "toy_by_path.py", USER.format(name="ToyByPath"))
    write(folder, "x.gin", "ToyModel.parts = @ToyByPath()\nToyByPath.depth = 3")
    loaded = config.load(["x.gin"], imports=["toy_by_path.py"])
    assert loaded.build("ToyModel").parts.depth == 3
    assert loaded.imports == (str(folder / "toy_by_path.py"),)
    elsewhere = folder / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    again = config.load_text(loaded.text, imports=loaded.imports)
    assert again.build("ToyModel").parts.depth == 3


def test_a_users_module_is_imported_by_name_from_the_working_folder(folder):
    write(folder, "toy_package/__init__.py", "")
    write(folder, "toy_package/part.py", USER.format(name="ToyByName"))
    write(folder, "x.gin", "import toy_package.part\nToyModel.parts = @ToyByName()")
    loaded = config.load(["x.gin"])
    assert loaded.build("ToyModel").parts.depth == 2
    assert loaded.imports == ("toy_package.part",)


def test_faults_of_a_users_module(folder):
    write(folder, "toy_broken.py", "import gin\n\nraise RuntimeError('two\\nlines')\n")
    write(folder, "toy_syntax.py", "x = = 1\n")
    write(folder, "toy_lacks.py", "import no_such\n")
    for name, expected in {
        "toy_broken.py": "--import toy_broken.py: toy_broken.py:3: RuntimeError: two",
        "toy_syntax.py": "--import toy_syntax.py: toy_syntax.py:1: SyntaxError: invalid syntax",
        "toy_lacks": "--import toy_lacks: toy_lacks.py:1: ModuleNotFoundError: No module named 'no_such'",
        "toy_brokn.py": "--import toy_brokn.py: no such file toy_brokn.py. Did you mean 'toy_broken.py'?",
    }.items():
        with pytest.raises(ConfigurationError) as caught:
            config.load([], imports=[name])
        assert str(caught.value) == expected
    with pytest.raises(ConfigurationError, match=r"^--import toy_absent: no module 'toy_absent'"):
        config.load([], imports=["toy_absent"])


def test_a_name_that_two_modules_register_must_be_written_in_full(folder):
    write(folder, "toy_one.py", USER.format(name="ToyTwin"))
    write(folder, "toy_two.py", USER.format(name="ToyTwin"))
    imports = ["toy_one.py", "toy_two.py"]
    write(folder, "x.gin", "ToyModel.parts = @ToyTwin()")
    with pytest.raises(ConfigurationError, match=r"^x\.gin:1: .*toy_one\.ToyTwin, toy_two\.ToyTwin"):
        config.load(["x.gin"], imports=imports)
    write(folder, "x.gin", "ToyModel.parts = @toy_two.ToyTwin()\ntoy_two.ToyTwin.depth = 5")
    loaded = config.load(["x.gin"], imports=imports)
    assert loaded.build("ToyModel").parts.depth == 5
    assert config.load_text(loaded.text).build("ToyModel").parts.depth == 5


def test_every_registered_class_of_the_project_is_imported():
    """A component whose module is not in the list of config_imports would be unknown to gin files."""
    config_imports.import_components()
    for path in sorted((ROOT / "modules").rglob("*.py")):
        if "\n@gin.register" in path.read_text(encoding="utf-8"):
            name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
            assert name.removesuffix(".__init__") in sys.modules, f"{name} is missing from COMPONENTS"


def test_without_gin_config_the_folder_of_gin_files_is_not_mistaken_for_it():
    """Without site-packages `import gin` finds the repository's gin/ and succeeds."""
    program = (
        f"import sys; sys.path = [{str(ROOT)!r}] + [p for p in sys.path if 'site-packages' not in p]\n"
        "import gin; assert not hasattr(gin, 'register')\n"
        "from modules.core.checks import ConfigurationError\n"
        "try:\n    from modules.config import load\n"
        "except ConfigurationError as error:\n    print(error)\n"
    )
    done = subprocess.run([sys.executable, "-S", "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "the package gin-config is not installed: pip install gin-config\n"
