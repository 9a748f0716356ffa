"""A fault in a gin file or an override is one line with its place and its remedy."""

import pytest

from modules import config
from modules.core.checks import ConfigurationError, DataError, UserError
from tests.config.toys import ToyModel, built, write

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
        f"ToyModel.size = 1\n{ToyModel.__module__}.ToyModel.size = 2",
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


LOOKALIKES = {
    "ToyModel.size\u00a0= 2": "x.gin:2: there is a no-break space (U+00A0): type it anew: ToyModel.size",
    "ToyModel.size = \u200b2": "x.gin:2: there is a zero width space (U+200B): type it anew",
    "ToySampler.kind = \u201cmirror\u201d": "x.gin:2: there is a left double quotation mark (U+201C)",
    "ToyModel.size = \u22122": "x.gin:2: there is a minus sign (U+2212): type it anew",
}


@pytest.mark.parametrize("line", LOOKALIKES)
def test_a_character_that_only_looks_right_is_named(folder, line):
    """Not where it is right: in comments and strings."""
    write(folder, "x.gin", f"# a \u201cword\u201d\u00a0\n{line}")
    with pytest.raises(ConfigurationError) as caught:
        built(["x.gin"])
    assert str(caught.value).startswith(LOOKALIKES[line]) and "\n" not in str(caught.value)


def test_a_mark_of_byte_order_is_no_fault(folder):
    """Some editors write it, unseen."""
    write(folder, "x.gin", "\ufeffToyModel.size = 2")
    assert built(["x.gin"]).size == 2


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


def test_a_class_that_lacks_its_registration_is_told(folder):
    write(folder, "forgot.py", "class ForgottenSampler:\n    pass\n")
    write(folder, "x.gin", "ToyModel.sampler = @ForgottenSampler()")
    with pytest.raises(ConfigurationError) as caught:
        built(["x.gin"], imports=["forgot.py"])
    expected = "x.gin:1: ToyModel.sampler = @ForgottenSampler(): nothing is registered as 'ForgottenSampler'."
    assert str(caught.value).startswith(expected)
    assert str(caught.value).endswith("forgot.py defines it without @gin.register: put that above the class")
