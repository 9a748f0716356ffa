"""`--sweep` texts: what is one value, what is an axis, which points there are, what they are called."""

from __future__ import annotations

import re

import pytest

from modules.core.checks import ConfigurationError
from modules.sweep.axes import Point, axes_of, grid, seeds_of

VALUES = {
    "A.b=1,2, 30": ["1", "2", "30"],
    "A.b = (1, 2), (1, 2, 2)": ["(1, 2)", "(1, 2, 2)"],
    'A.b="x,y",\'p|q;r\',"a\\",b"': ['"x,y"', "'p|q;r'", '"a\\",b"'],
    "A.b=@X(),@scope/Y(),%KNOB": ["@X()", "@scope/Y()", "%KNOB"],
    'A.b={"k": [1, 2], "l": @Z()},None': ['{"k": [1, 2], "l": @Z()}', "None"],
    "scope/A.b=1e-3": ["1e-3"],
    'KNOB="a:b","it\'s"': ['"a:b"', '"it\'s"'],
}


@pytest.mark.parametrize("text", VALUES)
def test_values_are_parted_by_commas_outside_of_brackets_and_quotes(text):
    (axis,) = axes_of([text])
    key = text.partition("=")[0].strip()
    assert axis.title == key
    assert [choice.name for choice in axis.choices] == VALUES[text]
    assert [choice.bindings for choice in axis.choices] == [(f"{key}={value}",) for value in VALUES[text]]


def test_named_points_have_any_number_of_bindings():
    (axis,) = axes_of(['plain: | short run: A.b=1; C={"k": (1, 2)}; D="x;y|z" | 2x.5: E.f=@G()'])
    assert axis.title == "variant"
    assert [(choice.name, choice.bindings) for choice in axis.choices] == [
        ("plain", ()),
        ("short run", ("A.b=1", 'C={"k": (1, 2)}', 'D="x;y|z"')),
        ("2x.5", ("E.f=@G()",)),
    ]


def test_the_grid_has_all_combinations_the_last_axis_fastest():
    points = grid(axes_of(["A=1,2", "none: | both: B=3; C=4"]))
    assert [point.names for point in points] == [
        {"A": a, "variant": v} for a in ("1", "2") for v in ("none", "both")
    ]
    assert [point.bindings for point in points] == [
        ("A=1",),
        ("A=1", "B=3", "C=4"),
        ("A=2",),
        ("A=2", "B=3", "C=4"),
    ]
    assert [str(point) for point in points[:2]] == ["A=1, none", "A=1, both"]
    (single,) = grid([])
    assert (str(single), single.bindings) == ("as configured", ())


def test_folders_are_readable_and_differ():
    names = [
        "1e-3",
        "(1, 2)",
        "(1,2)",
        "(1, 2, 2)",
        '"a/b"',
        '"a_b"',
        "@X()",
        "@X",
        "../x",
        "x" * 300,
        "." * 9,
    ]
    folders = [Point({"A.b": name}, ()).folder for name in names]
    assert folders[0] == "A.b=1e-3"
    assert Point({"variant": "no energy", "A.b": "5"}, ()).folder == "no_energy,A.b=5"
    assert len(set(folders)) == len(names)
    for folder in folders:
        assert re.fullmatch(r"[\w.=+,-]{1,100}", folder) and not folder.startswith(".")


FAULTS = {
    ("A.b",): 'write "KEY=VALUE,VALUE"',
    ("",): "is no axis",
    ("=1,2",): "is no axis",
    ("A=1,,2",): "has an empty value",
    ("A=1,2,",): "has an empty value",
    ("A=",): "has an empty value",
    ("A=1,2,1",): "has 1 twice",
    ("a b: A=1 | A_B: A=2",): "has a b twice",
    ("a: A=1 | b",): "'b' is no named point",
    ("a: A=1 | : A=2",): "is no named point",
    ("a/b: A=1 | c:",): "is no named point",
    ("a: A=1; | b:",): "the bindings of a must be",
    ("a: A | b:",): "the bindings of a must be",
    ("a: A=1; A=2 | b:",): "a sets A twice",
    ("A=1,2", "A=3"): '--sweep "A=3" sets A, and so does --sweep "A=1,2"',
    ("A=1,2", "x: B=1 | y: A=2"): "sets A, and so does",
}


@pytest.mark.parametrize("texts", FAULTS)
def test_a_fault_is_one_line(texts):
    with pytest.raises(ConfigurationError) as caught:
        axes_of(texts)
    assert FAULTS[texts] in str(caught.value) and "\n" not in str(caught.value)


def test_seeds_are_a_number_or_a_list():
    assert seeds_of(None) == [None]
    assert seeds_of("3") == [0, 1, 2] and seeds_of("1") == [0]
    assert seeds_of("4,7") == [4, 7] and seeds_of("12345,") == [12345]
    for text in ("0", "-1", "x", "", ",", "1.5", "4,4", "12345", f"{2**63},"):
        with pytest.raises(ConfigurationError, match="--seeds"):
            seeds_of(text)
