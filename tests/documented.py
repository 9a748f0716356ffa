"""Commands and snippets as README.md and docs/ show them, and what makes each small enough to be tried."""

from __future__ import annotations

import itertools
import re
import shlex
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))

TOOLS = {"pip", "pytest", "pre-commit", "mutmut", "mkdocs", "sbatch", ".ci/run", ".ci/slow", ".ci/minimum"}
"""Programs beside ours: they are named, not run."""

_OPTIONS = {
    "--num": 8,
    "--repeats": 2,
    "--steps": 4,
    "--every": 1,
    "--chains": 4,
    "--bridges": 2,
    "--ladder": 4,
    "--completions": 2,
    "--settle": 2,
    "--points": 5,
}
"""The most that a task is asked for, whatever the page asks for."""

_RECORDS = 40  # steps of long chains, of which 20 records are kept

_DEFAULTS = {
    "evaluate": ["--num", "8"],
    "detect": ["--num", "8"],
    "likelihood": [
        *("--num", "4", "--levels", "4", "--chains", "2", "--bridges", "1"),
        *("--set", "annealing/Hamiltonian.num_leapfrog=1"),
    ],
    "generate": ["--num", "4"],
    "compose": ["--num", "4"],
    "restore": ["--num", "2", "--completions", "2"],
    "inpaint": ["--num", "2", "--completions", "2"],
    "interpolate": ["--num", "2", "--frames", "3"],
    "chains": ["--num", "4", "--steps", str(_RECORDS), "--every", "1"],
    "landscape": ["--num", "4", "--points", "5", "--resolution", "16"],
    "digits_product": ["--num", "8", "--seeds", "0"],
    "shapes_composition": ["--num", "4", "--seeds", "0"],
    "plane_density": ["--cells", "20"],
}
"""What a page leaves to a command's own default, before its own words."""


@dataclass(frozen=True)
class Command:
    """A command of a page. words: as a shell splits them."""

    page: str
    words: tuple[str, ...]

    def __str__(self) -> str:
        return f"{Path(self.page).stem}: {shlex.join(self.words)}"

    @cached_property
    def program(self) -> str:
        """ "launch", "benchmarks.NAME", or the name of a tool."""
        words = [word for word in self.words if not re.fullmatch(r"[A-Z_]+=\S*", word)]
        if "launch.py" in words and words[0] in ("python", "accelerate", "torchrun"):
            return "launch"
        if words[:2] == ["python", "-m"]:
            return words[2]
        return words[0]

    @cached_property
    def arguments(self) -> list[str]:
        """What stands after the program."""
        if self.program == "launch":
            return list(self.words[self.words.index("launch.py") + 1 :])
        return list(self.words[self.words.index(self.program) + 1 :])

    def value(self, option: str, otherwise: str = "") -> str:
        """The last of `values`."""
        found = self.values(option)
        return found[-1] if found else otherwise

    def values(self, option: str) -> list[str]:
        """The word that follows an option, each time."""
        return [b for a, b in itertools.pairwise(self.arguments) if a == option]

    @property
    def task(self) -> str:
        return self.value("--task", "train") if self.program == "launch" else self.program.split(".")[-1]

    @property
    def is_sweep(self) -> bool:
        return "--sweep" in self.arguments

    @property
    def output(self) -> str:
        """The folder of the run that it trains."""
        return self.value("--output", f"runs/{Path(self.value('--gin')).stem}")

    @property
    def form(self) -> tuple[object, ...]:
        """What it does but for how much, where and of what settings: program, task and options."""
        ours = {word for word in self.arguments if word.startswith("--")}
        return self.program, self.task, frozenset(ours - {"--num", "--seed", "--output", "--set", "--gin"})

    def shortened(self) -> list[str]:
        """Its arguments, none of them asking for much."""
        words = [re.sub(r"num_warmup=\d+", "num_warmup=2", word) for word in self.arguments]
        for place, (option, value) in enumerate(itertools.pairwise(words)):
            most = _RECORDS if (self.task, option) == ("chains", "--steps") else _OPTIONS.get(option)
            if most is not None and value.isdigit():
                words[place + 1] = str(min(int(value), most))
        chosen = _DEFAULTS.get(self.task, [])
        for option, value in zip(chosen[::2], chosen[1::2], strict=True):
            words += [option, value] if option not in words else []
        if self.task == "detect" and "DenoisingScore" in words:
            words += ["--set", "DenoisingScore.num_noises=1"]
        return words


def commands() -> list[Command]:
    """All of the pages' blocks of bash, in order; the same one of several pages once."""
    found: dict[tuple[str, ...], Command] = {}
    for page in PAGES:
        for block in blocks(page, "bash"):
            for words in _split(block):
                found.setdefault(words, Command(page.name, words))
    return list(found.values())


def _split(block: str) -> list[tuple[str, ...]]:
    """The commands of a block; lines that end in a backslash, and quoted ones, go on."""
    found: list[tuple[str, ...]] = []
    pending = ""
    for line in block.replace("\\\n", " ").splitlines():
        pending += f"{line}\n"
        try:
            words = shlex.split(pending, comments=True)
        except ValueError:  # a quotation is open
            continue
        pending = ""
        parts = itertools.groupby(words, key=lambda word: word == "&&")
        found += [tuple(part) for joins, part in parts if not joins]
    return found


def snippets(page: Path) -> list[str]:
    """The page's blocks of Python, whole numbers from 10 on made 8: they are steps, samples and widths."""
    large = r"(?<![\w.\"'-])\d{2,}(?![\w.])"
    return [re.sub(large, "8", block) for block in blocks(page, "python")]


def blocks(page: Path, kind: str) -> list[str]:
    """What stands between fences of a kind, "" the plain ones."""
    found = re.findall(r"^```(\w*)\n(.*?)^```$", page.read_text(encoding="utf-8"), re.M | re.S)
    return [block for name, block in found if name == kind]
