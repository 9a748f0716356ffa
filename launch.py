"""The command line: a task, its configuration and its options; every fault in one line."""

from __future__ import annotations

import argparse
import ast
import os
import sys
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import NoReturn

ROOT = Path(__file__).resolve().parent
if str(ROOT) not in sys.path:  # started from elsewhere, or by a launcher
    sys.path.insert(0, str(ROOT))

import recovery_likelihood  # noqa: E402, F401  finds our `modules`, whoever else's is on the path

# isort: split
import modules.tasks  # noqa: E402
from modules.core.checks import ConfigurationError, UserError, nearest, one_line  # noqa: E402
from modules.core.code import RECIPES, leave_the_working_folder, module_named  # noqa: E402
from modules.core.output import outlive_listeners  # noqa: E402

EXAMPLES = """\
examples:
  python launch.py --gin gin/cdrl_digits.gin
  python launch.py --gin gin/cdrl_digits.gin --set "Langevin.num_steps=30" --output runs/k30
  python launch.py --gin mine.gin --import my_sampler.py --dry-run
  python launch.py --gin gin/cdrl_digits.gin --output runs/k30 --resume
  torchrun --nproc_per_node 2 --max_restarts 3 launch.py --gin gin/cdrl_cifar10.gin --resume auto
  python launch.py --gin gin/cdrl_digits.gin --sweep "Langevin.num_steps=5,10,15" --seeds 3 --jobs 2
  python launch.py --task generate --run runs/k30 --num 64 --seed 0
  python launch.py --task verify --run runs/k30
  python launch.py --task generate --run runs/cond --guidance 0 0.5 1 2 --steps 5 --levels
  python launch.py --task inpaint --run runs/k30 --mask left random
  python launch.py --task interpolate --run runs/k30 --between images
  python launch.py --task compose --run runs/shapes --labels colour=red shape=cross --label-weights 2 2
"""


NEUTRAL = ("task", "run", "output", "imports", "trust_imports", "traceback", "batch_size")
"""What no result depends on, beside the run: the other options that were given are `arguments.given`."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run a task; returns the exit code.

    0 done, 1 some runs of a sweep failed, 2 a fault in what was given, 3 training diverged, 75 stopped and
    saved by a signal, or left by another process (start it again with --resume), 130 interrupted.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        return _run(arguments)
    except UserError as error:
        if "--traceback" in arguments:
            raise
        rank = os.environ.get("RANK", "0")
        process = "" if rank == "0" else f"[process {rank}] "
        print(f"{process}error: {one_line(error)}", file=sys.stderr)
        return error.exit_code
    except OSError as error:
        # a path that cannot be used is the user's to mend; a fault without one is the program's
        if error.filename is None or "--traceback" in arguments:
            raise
        print(
            f"error: {one_line(ConfigurationError(f'{error.filename}: {error.strerror}'))}", file=sys.stderr
        )
        return 2
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130


def tasks() -> dict[str, str]:
    """Name -> purpose of each module in modules.tasks with `add_arguments` and `run`; imports none."""
    paths = sorted(path for folder in modules.tasks.__path__ for path in Path(folder).glob("[!_]*.py"))
    purposes = {path.stem: _purpose(path, path.stat().st_mtime_ns) for path in paths}
    return {name: purpose for name, purpose in purposes.items() if purpose is not None}


@cache  # a process may run many commands
def _purpose(path: Path, changed: int) -> str | None:
    """A task's first line; None: the file is no task's."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    functions = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
    if not {"add_arguments", "run"} <= functions:
        return None
    return (ast.get_docstring(tree) or "").split("\n")[0]


def gin_files() -> dict[str, str]:
    """Path -> purpose, from the first comment line, of each runnable file in gin/."""
    found = {}
    for path in sorted((RECIPES / "gin").glob("*.gin")):
        lines = path.read_text(encoding="utf-8").splitlines()
        comment = next((line for line in lines if line.startswith("#")), "#")
        found[f"gin/{path.name}"] = comment.lstrip("# ").strip()
    return found


class _Parser(argparse.ArgumentParser):
    """A parser whose errors are one line, raised."""

    def error(self, message: str) -> NoReturn:
        raise ConfigurationError(f"{message} (see --help)")


def _run(argv: list[str]) -> int:
    known = tasks()
    name = _task_name(argv)
    if name not in known:
        listed = ", ".join(known)
        raise ConfigurationError(f"--task {name}: no such task.{nearest(name, list(known))} Tasks: {listed}")
    _check_gin_config()
    task = module_named(f"modules.tasks.{name}")
    parser = _Parser(
        prog="launch.py",
        description="Train energy-based models by recovery likelihood, and use what was trained.",
        epilog=_epilog(known),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    _add_common(parser)
    task.add_arguments(parser.add_argument_group(f"options of --task {name}", known[name]))
    try:
        arguments, unknown = parser.parse_known_args(argv)
    except SystemExit as done:  # --help
        return int(done.code or 0)
    if unknown:
        raise _unknown_argument(unknown[0], parser, name)
    _check_paths(arguments)
    arguments.given = {
        name: value
        for name, value in sorted(vars(arguments).items())
        if name not in NEUTRAL and value != parser.get_default(name)
    }
    return int(task.run(arguments) or 0)


def _check_paths(arguments: argparse.Namespace) -> None:
    """Raise for a path that no system takes, and for an --output that cannot be written to."""
    named = {"--run": [arguments.run], "--output": [arguments.output], "--resume": [arguments.resume]}
    for option, paths in {**named, "--gin": arguments.gin, "--import": arguments.imports}.items():
        for path in paths:
            if path is not None and (not path.strip() or "\0" in path):
                raise ConfigurationError(f"{option} {path!r} is no name")
            if path and max(len(os.fsencode(part)) for part in path.split(os.sep)) > 255:
                raise ConfigurationError(
                    f"{option} {path[:40]}... is longer than 255 bytes, which names may have"
                )
    if arguments.output:
        folder = Path(arguments.output).absolute()
        there = next(path for path in (folder, *folder.parents) if path.exists())
        if not there.is_dir():
            raise ConfigurationError(f"--output {arguments.output}: {there} is a file: name another folder")
        if not os.access(there, os.W_OK | os.X_OK):
            raise ConfigurationError(f"--output {arguments.output}: {there} is not yours to write to")


def _task_name(argv: list[str]) -> str:
    parser = _Parser(add_help=False, allow_abbrev=False)
    parser.add_argument("--task", default="train")
    return str(parser.parse_known_args(argv)[0].task)


def _check_gin_config() -> None:
    """Components need gin-config when they are imported; without it `import gin` finds our folder gin/."""
    try:
        import gin
    except ImportError:
        found = False
    else:
        found = hasattr(gin, "register")
    if not found:
        raise ConfigurationError("the package gin-config is not installed: pip install gin-config")


def _add_common(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--task", default="train", metavar="NAME", help="what to do: one of the tasks below (default train)")
    add(
        "--gin",
        action="append",
        default=[],
        metavar="FILE",
        help="a gin file; a later one overrides (repeatable)",
    )
    add(
        "--set",
        action="append",
        default=[],
        dest="overrides",
        metavar="BINDING",
        help='one setting over the files, such as "Langevin.num_steps=30" (repeatable)',
    )
    add(
        "--import",
        action="append",
        default=[],
        dest="imports",
        metavar="MODULE",
        help="a module or .py file with components of your own (repeatable)",
    )
    add(
        "--trust-imports",
        action="store_true",
        help="run what a run's folder names, its modules and paths to code: for runs of your own",
    )
    add("--run", metavar="DIR", help="the folder of a trained run, for the tasks that use one")
    add("--output", metavar="DIR", help="where to write (default: a new folder)")
    add(
        "--resume",
        nargs="?",
        const="latest",
        metavar="CHECKPOINT",
        help="continue the run in --output, from its newest whole checkpoint or from the one named; auto: "
        "begin where there is none yet, continue where there is",
    )
    add(
        "--dry-run",
        action="store_true",
        help="build everything, print the configuration and sizes, run nothing",
    )
    add("--traceback", action="store_true", help="show where in the code an error was raised")


def _epilog(known: dict[str, str]) -> str:
    """Examples, tasks and gin files, below the options."""
    sections = [EXAMPLES, _table("tasks (--task NAME --help shows a task's own options):", known)]
    files = gin_files()
    if files:
        sections.append(_table("gin files:", files))
    return "\n".join(sections)


def _table(head: str, rows: dict[str, str]) -> str:
    width = max(map(len, rows), default=0)
    return "\n".join([head, *(f"  {name:<{width}}  {purpose}" for name, purpose in rows.items()), ""])


def _unknown_argument(given: str, parser: argparse.ArgumentParser, task: str) -> ConfigurationError:
    if not given.startswith("-"):
        meant = f" Did you mean --gin {given}?" if given.endswith(".gin") else ""
        return ConfigurationError(f"unexpected argument {given!r}.{meant}")
    option = given.split("=")[0]
    options = [name for action in parser._actions for name in action.option_strings]
    return ConfigurationError(f"--task {task} has no option {option}.{nearest(option, options)}")


def program() -> int:
    """The installed command, and this file when it is run."""
    leave_the_working_folder()
    outlive_listeners()
    return main()


if __name__ == "__main__":
    sys.exit(program())
