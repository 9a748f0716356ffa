"""Damage of the kinds that hands, editors and disks do to a gin file, each case a function of its number."""

from __future__ import annotations

import random
import re
from collections.abc import Callable

CANARY = "canary"
"""The file that would appear in the working folder if a configuration ran code."""

_TOUCH = f"open({CANARY!r}, 'w')"
_CODE = [
    f"__import__('os').system('touch {CANARY}')",
    f'__import__("os").system("touch {CANARY}")',
    _TOUCH,
    f"(lambda: {_TOUCH})()",
    f"[{_TOUCH} for i in (1,)]",
    f'eval("{_TOUCH}")',
    f'f"{{{_TOUCH}}}"',
    f"@os.system('touch {CANARY}')",
    f"@builtins.open('{CANARY}', 'w')",
    f"@{_TOUCH}",
    f"%{_TOUCH}",
    f"1 if {_TOUCH} else 2",
]
_STATEMENTS = [
    f"import os; os.system('touch {CANARY}')",
    f"import os.system('touch {CANARY}')",
    f"from os import system('touch {CANARY}')",
    f"from os import path as {CANARY}",
    f"{_TOUCH}",
    f'exec("{_TOUCH}")',
    f"__import__('os').system('touch {CANARY}')",
    f'include "{CANARY}.py"',
    'include "mutated.gin"',
    'include "."',
    'include ""',
    'include "/etc/passwd"',
    'include "/dev/null"',
    'include "~"',
    "include data/digits.gin",
    'include "data/digits.gin" "data/digits.gin"',
    "import",
    "import no.such.module",
    "import ..relative",
    "from __gin__ import dynamic_registration",
]
# values stand two spaces apart
_VALUES = [
    *["", "9" * 30, "9" * 5000, str(2**31), str(2**63), str(-(2**63)), str(2**64), "3 # a comment"],
    *r"""
None  True  False  -1  0  1  2  3  -0.5  0.5  1e-300  1e308  1e999  -1e999  nan  inf  10**9  1 + 1  2**31  1j
""  "a"  "5"  '\x00'  "1, 8, 8"  b'x'  ...  lambda: 1  é  “quoted”  ٣  1_000  0x10
\  3; 4  3 4  (3  3)  [3  "3  '''3
()  (1,)  []  {}  (0, 0, 0)  (1, 8)  (1, -8, 8)  (1, 8.0, 8)  ("a", "b", "c")  ((1, 8, 8),)  (1, 2, 3, 4)
(1, 0)  (2, True)  (100, 100)  [1, 2, 4]  {1: 2}  {"energy": None}  {[]: 1}  {(): @EMA}
[@EMA(), [@EMA(), (@EMA(),)]]  {"energy": @AdamW(), "initializer": @AdamW()}  {"energy": @AdamW}
@  %  @()  %()  @@EMA()  %%SHAPE  @EMA  @EMA()  @EMA()()  @/EMA()  @a/b/c/EMA()  @EMA().decay  @EMA(decay=1)
@modules.training.ema.EMA()  @Trainer()  @Trainer  @gin  @gin.macro()  @macro
@generate/Langevin()  @Langevin  @Langevin()  @UNet()  @MLPEnergy()  @CosineSchedule()
@LinearSchedule()  @Noise()  @HuggingFaceData()  @Digits()  @AdamW()
%SHAPE  %NUM_CLASSES  %NUM_STEPS  %BATCH_SIZE  %NOWHERE  %shape  %gin.REQUIRED  %a/b
""".replace("\n", "  ").split("  "),
]
_NOISE = "@%/.=()[]{}\"'#:,\\ \t\n-+*0123456789aZ_é\u200b\ufeff\x00\x0c\r"

Mutation = Callable[[random.Random, list[str]], list[str]]


def _at(rng: random.Random, lines: list[str]) -> int:
    return rng.randrange(len(lines))


def _delete_lines(rng: random.Random, lines: list[str]) -> list[str]:
    kept = list(lines)
    for _ in range(rng.randint(1, 3)):
        del kept[_at(rng, kept)]
    return kept


def _double_line(rng: random.Random, lines: list[str]) -> list[str]:
    place, line = _at(rng, lines), lines[_at(rng, lines)]
    return [*lines[:place], line, *lines[place:]]


def _swap_lines(rng: random.Random, lines: list[str]) -> list[str]:
    out, a, b = list(lines), _at(rng, lines), _at(rng, lines)
    out[a], out[b] = out[b], out[a]
    return out


def _truncate(rng: random.Random, lines: list[str]) -> list[str]:
    text = "\n".join(lines)
    return text[: rng.randrange(len(text))].split("\n")


def _cut_line(rng: random.Random, lines: list[str]) -> list[str]:
    out, place = list(lines), _at(rng, lines)
    out[place] = out[place][: rng.randint(0, len(out[place]))]
    return out


def _swap_characters(rng: random.Random, lines: list[str]) -> list[str]:
    letters = list("\n".join(lines))
    for _ in range(rng.randint(1, 3)):
        place = rng.randrange(len(letters) - 1)
        letters[place], letters[place + 1] = letters[place + 1], letters[place]
    return "".join(letters).split("\n")


def _strew_characters(rng: random.Random, lines: list[str]) -> list[str]:
    text = "\n".join(lines)
    for _ in range(rng.randint(1, 5)):
        place = rng.randrange(len(text))
        text = text[:place] + rng.choice(_NOISE) + text[place + rng.randint(0, 1) :]
    return text.split("\n")


def _misspell(rng: random.Random, lines: list[str]) -> list[str]:
    names = sorted(set(re.findall(r"[A-Za-z_]{3,}", "\n".join(lines))))
    name = rng.choice(names)
    place = rng.randrange(len(name))
    wrong = rng.choice(
        [name[:place] + name[place + 1 :], name.swapcase(), name * 2, f"{name[:place]}x{name}"]
    )
    return re.sub(rf"\b{name}\b", wrong, "\n".join(lines), count=rng.randint(0, 1)).split("\n")


def _wrong_value(rng: random.Random, lines: list[str]) -> list[str]:
    out = list(lines)
    bindings = [n for n, line in enumerate(lines) if re.match(r"[\w/.]+ = ", line)]
    for place in rng.sample(bindings, min(len(bindings), rng.choice([1, 1, 1, 2]))):
        out[place] = f"{out[place].split(' = ')[0]} = {rng.choice(_VALUES)}"
    return out


def _code_as_value(rng: random.Random, lines: list[str]) -> list[str]:
    bindings = [n for n, line in enumerate(lines) if re.match(r"[\w/.]+ = ", line)]
    out, place = list(lines), rng.choice(bindings)
    out[place] = f"{out[place].split(' = ')[0]} = {rng.choice(_CODE)}"
    return out


def _statement(rng: random.Random, lines: list[str]) -> list[str]:
    place = _at(rng, lines)
    return [*lines[:place], rng.choice(_STATEMENTS), *lines[place:]]


def _macros_in_a_circle(rng: random.Random, lines: list[str]) -> list[str]:
    length = rng.randint(1, 4)
    nexts = [rng.choice(["{}", "[{}]", "({},)"]).format(f"%CIRCLE_{(n + 1) % length}") for n in range(length)]
    circle = [f"CIRCLE_{n} = {value}" for n, value in enumerate(nexts)]
    use = re.sub(r"= .*", "= %CIRCLE_0", rng.choice([line for line in lines if " = " in line]))
    return [line for line in lines if not line.startswith(use.split(" = ")[0] + " ")] + circle + [use]


def _components_in_a_circle(rng: random.Random, lines: list[str]) -> list[str]:
    values = ["@Generation()", "@RecoveryLikelihood()", "@Trainer()", "@a/Generation()", "[@Trainer()]"]
    owner = rng.choice(["Generation.guidance", "RecoveryLikelihood.sampler", "Trainer.data", "EMA.decay"])
    return [line for line in lines if not line.startswith(f"{owner} ")] + [f"{owner} = {rng.choice(values)}"]


def _nested(rng: random.Random, lines: list[str]) -> list[str]:
    depth = rng.choice([5, 50, 99, 101, 190, 250, 1000, 20000])
    opening, closing = rng.choice(["()", "[]", ("{1:", "}"), ("(", ",)"), ("-", ""), ("@", "()")])
    value = opening * depth + rng.choice(["", "1", "@EMA()"]) + closing * rng.choice([depth, depth - 1])
    target = rng.choice([line.split(" = ")[0] for line in lines if " = " in line] + ["DEEP"])
    return [line for line in lines if not line.startswith(f"{target} ")] + [f"{target} = {value}"]


def _long_line(rng: random.Random, lines: list[str]) -> list[str]:
    size = rng.choice([10_000, 300_000])
    made = ["x" * size, f'TEXT = "{"x" * size}"', f"LONG = [{'1, ' * size}]", "a/" * size + "EMA.decay = 1"]
    return [*lines, rng.choice([*made, "#" * size, " " * size + "A = 1", "A" * size + " = 1", "\\\n" * size])]


def _scopes(rng: random.Random, lines: list[str]) -> list[str]:
    out = list(lines)
    for _ in range(rng.randint(1, 3)):
        place = _at(rng, out)
        scope = rng.choice(["a", "a/b", "energy", "generate", "initializer", "a//b", "/a", "1", "EMA", "a.b"])
        out[place] = re.sub(r"([A-Z]\w+)", rf"{scope}/\1", out[place], count=1)
    return out


def _uncalled(rng: random.Random, lines: list[str]) -> list[str]:
    called = [n for n, line in enumerate(lines) if "()" in line]
    out, place = list(lines), rng.choice(called)
    out[place] = out[place].replace("()", rng.choice(["", "(", ")", "()()", "( )", "(1)"]))
    return out


def _indented(rng: random.Random, lines: list[str]) -> list[str]:
    out, place = list(lines), _at(rng, lines)
    before = rng.choice(["  ", "\t", "\x0c", "\u00a0", "EMA:\n  ", "EMA:\n", "EMA:\n  decay = 0.5\n "])
    out[place] = before + out[place]
    return out


MUTATIONS: tuple[Mutation, ...] = (
    _delete_lines,
    _double_line,
    _swap_lines,
    _truncate,
    _cut_line,
    _swap_characters,
    _strew_characters,
    _misspell,
    _wrong_value,
    _wrong_value,
    _wrong_value,
    _wrong_value,
    _code_as_value,
    _statement,
    _macros_in_a_circle,
    _components_in_a_circle,
    _nested,
    _long_line,
    _scopes,
    _uncalled,
    _indented,
)


def mutated_file(number: int, text: str) -> bytes:
    """Case `number` of a gin file's damage; every 22nd damages the bytes rather than the text."""
    rng = random.Random(f"gin file {number}")
    kind = number % (len(MUTATIONS) + 1)
    if kind < len(MUTATIONS):
        lines = MUTATIONS[kind](rng, text.rstrip("\n").split("\n"))
        return ("\n".join(lines) + "\n").encode("utf-8", "surrogatepass")
    data = bytearray(text.encode())
    for _ in range(rng.choice([1, 10, 100])):
        data[rng.randrange(len(data))] = rng.randrange(256)
    whole = [
        b"",
        b"\n",
        b"\0" * 100,
        rng.randbytes(1000),
        b"\xef\xbb\xbf" + text.encode(),
        text.encode("utf-16"),
    ]
    return rng.choice([*whole, *[bytes(data)] * 6, text.replace("\n", "\r\n").encode(), b"PK\x03\x04" + data])


def mutated_override(number: int, bindings: list[str]) -> str:
    """Case `number` of a damaged --set; `bindings` are good ones, "Name.parameter = value"."""
    rng = random.Random(f"override {number}")
    name, value = rng.choice(bindings).split(" = ", 1)
    wrong = rng.choice([*_VALUES, *_CODE])
    place = rng.randrange(len(name))
    strewn = list(f"{name}={value}")
    strewn[rng.randrange(len(strewn))] = rng.choice(_NOISE)
    return [
        f"{name}={wrong}",
        f"{name}={wrong}",
        f"{name}={wrong}",
        f"{name[:place]}{name[place + 1 :]}={value}",
        "".join(strewn),
        f"{rng.choice(['a', 'energy', '', '/', '..'])}/{name}={value}",
        f"{name}={value[: rng.randrange(len(value))]}",
        f"{name}{rng.choice(['', ' ', '==', ':=', '+=', '=' * 5000, '= ='])}{value}",
        rng.choice(
            [*_STATEMENTS, f"{name}={value}\n{name}={value}", "\x00", "=", " ", "#", f"#{name}={value}"]
        ),
    ][number % 9]
