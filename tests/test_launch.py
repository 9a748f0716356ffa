"""The command line: tasks found by their files, options checked, one line on stderr for every fault."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import launch
import modules.tasks

ROOT = Path(launch.__file__).parent

GREET = '''\
"""Greet someone, in a file."""

import json
from pathlib import Path

from modules.core.checks import DataError


def add_arguments(parser):
    parser.add_argument("--whom", default="world", help="who is greeted")
    parser.add_argument("--times", type=int, default=1)


def run(arguments):
    if arguments.whom == "nobody":
        raise DataError("there is nobody\\nto greet")
    if arguments.whom == "proc":
        Path("/proc/nowhere").mkdir()
    if len(arguments.whom) > 8 or not arguments.whom.isprintable():
        raise DataError(f"there is nobody called {arguments.whom} here")
    if arguments.whom == "patience":
        raise KeyboardInterrupt
    if arguments.whom == "bug":
        raise ZeroDivisionError("not the user's fault")
    Path("greeting.json").write_text(json.dumps(vars(arguments)))
    return 7 if arguments.times == 0 else 0
'''


@pytest.fixture
def greet(tmp_path, monkeypatch):
    """A task `greet` in a folder of its own, and a file beside it that is no task."""
    (tmp_path / "greet.py").write_text(GREET)
    (tmp_path / "helper.py").write_text("def run(arguments):\n    raise AssertionError\n")
    monkeypatch.setattr(modules.tasks, "__path__", [*modules.tasks.__path__, str(tmp_path)])
    monkeypatch.delitem(sys.modules, "modules.tasks.greet", raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_task_gets_its_own_and_the_common_options(greet):
    command = (
        "--task greet --whom you --gin a.gin --gin b.gin --set A.b=1 --set C=2 "
        "--import my.module --output out --run runs/x --resume --dry-run"
    )
    code = launch.main(command.split())
    assert code == 0
    given = json.loads((greet / "greeting.json").read_text())
    assert given == {
        "task": "greet",
        "whom": "you",
        "times": 1,
        "gin": ["a.gin", "b.gin"],
        "overrides": ["A.b=1", "C=2"],
        "imports": ["my.module"],
        "output": "out",
        "run": "runs/x",
        "resume": "latest",
        "dry_run": True,
        "trust_imports": False,
        "traceback": False,
        "given": {  # what was typed that may change results
            "whom": "you",
            "gin": ["a.gin", "b.gin"],
            "overrides": ["A.b=1", "C=2"],
            "resume": "latest",
            "dry_run": True,
        },
    }


def test_defaults_and_a_named_checkpoint(greet):
    assert launch.main(["--task", "greet", "--resume", "runs/x/step_3"]) == 0
    given = json.loads((greet / "greeting.json").read_text())
    assert given["resume"] == "runs/x/step_3"
    assert launch.main(["--task", "greet"]) == 0
    given = json.loads((greet / "greeting.json").read_text())
    assert (given["resume"], given["gin"], given["output"], given["dry_run"]) == (None, [], None, False)


def test_the_code_of_the_task_is_the_code_of_the_program(greet):
    assert launch.main(["--task", "greet", "--times", "0"]) == 7


FAULTS = {
    "unknown task": (["--task", "great"], ["--task great", "Did you mean 'greet'?"]),
    "no task by its file": (["--task", "helper"], ["--task helper", "no such task"]),
    "unknown option": (["--task", "greet", "--whome", "me"], ["greet", "--whome", "Did you mean '--whom'?"]),
    "unknown common option": (["--task", "greet", "--outptu=x"], ["--outptu", "Did you mean '--output'?"]),
    "an option cut short": (["--task", "greet", "--out", "x"], ["--out.", "Did you mean '--output'?"]),
    "a file without its option": (["--task", "greet", "gin/x.gin"], ["Did you mean --gin gin/x.gin?"]),
    "an option without its value": (["--task", "greet", "--gin"], ["--gin", "expected one argument"]),
    "a value of the wrong type": (["--task", "greet", "--times", "two"], ["--times", "'two'"]),
    "an empty name": (["--task", "greet", "--output", ""], ["--output '' is no name"]),
    "nothing to resume": (["--task", "greet", "--resume", " "], ["--resume ' ' is no name"]),
    "a zero byte": (["--task", "greet", "--run", "a\0b"], ["--run 'a\\x00b' is no name"]),
    "too long a name": (["--task", "greet", "--gin", "x" * 300], ["--gin xxx", "longer than 255 bytes"]),
    "a file as output": (
        ["--task", "greet", "--output", "greet.py"],
        ["greet.py is a file", "another folder"],
    ),
    "output below a file": (["--task", "greet", "--output", "greet.py/a/b"], ["/greet.py is a file"]),
    "a path that fails later": (["--task", "greet", "--whom", "proc"], ["/proc/nowhere: No such file"]),
    "control characters": (["--task", "greet", "--whom", "\x1b[31m\0"], ["nobody called \\x1b[31m\\x00"]),
    "a very long value": (["--task", "greet", "--whom", "x" * 5000], ["called xxx", " ... ", "xxx here"]),
    "a fault inside the task": (["--task", "greet", "--whom", "nobody"], ["there is nobody to greet"]),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_one_line_and_code_2(greet, capsys, fault):
    argv, expected = FAULTS[fault]
    assert launch.main(argv) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("error: ") and printed.err.count("\n") == 1 and len(printed.err) < 1100
    assert printed.err.rstrip("\n").isprintable()
    for part in expected:
        assert part in printed.err


def test_output_without_leave_to_write(greet, capsys, monkeypatch):
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != greet)  # root may write anywhere
    assert launch.main(["--task", "greet", "--output", "new/run"]) == 2
    assert (
        "--output new/run: " in (printed := capsys.readouterr().err) and "is not yours to write to" in printed
    )


def test_odd_but_usable_outputs_are_taken(greet):
    for name in ("ünï/ﬁ 🙂", "a/../b", "two\nlines", "."):
        assert launch.main(["--task", "greet", "--output", name]) == 0


def test_an_interruption_is_code_130(greet):
    assert launch.main(["--task", "greet", "--whom", "patience"]) == 130


def test_an_error_of_the_program_is_not_hidden(greet):
    with pytest.raises(ZeroDivisionError):
        launch.main(["--task", "greet", "--whom", "bug"])


def test_a_traceback_on_request(greet):
    with pytest.raises(launch.UserError):
        launch.main(["--task", "greet", "--whom", "nobody", "--traceback"])


def test_other_processes_say_which_they_are(greet, capsys, monkeypatch):
    monkeypatch.setenv("RANK", "3")
    assert launch.main(["--task", "great"]) == 2
    assert capsys.readouterr().err.startswith("[process 3] error: ")


def test_help_lists_tasks_their_options_and_examples(greet, capsys):
    assert launch.main(["--task", "greet", "--help"]) == 0
    text = capsys.readouterr().out
    assert "options of --task greet" in text and "--whom" in text
    assert "  greet " in text and "Greet someone, in a file." in text and "helper" not in text
    assert "python launch.py --gin gin/cdrl_digits.gin" in text
    for option in (
        "--gin",
        "--set",
        "--import",
        "--trust-imports",
        "--output",
        "--resume",
        "--dry-run",
        "--run",
    ):
        assert f"{option} " in text


@pytest.mark.parametrize(
    "task, options",
    [("train", ("--keep N", "--allow-changes", "--allow-inexact")), ("verify", ("--data",))],
)
def test_help_of_a_task_lists_its_own_options(capsys, task, options):
    assert launch.main(["--task", task, "--help"]) == 0
    text = capsys.readouterr().out
    assert all(f"  {option} " in text for option in options)


def test_help_lists_the_gin_files_with_their_purpose(greet, capsys, monkeypatch):
    (greet / "gin").mkdir()
    (greet / "gin" / "one.gin").write_text("\n# Trains one thing.\n# More.\nA = 1\n")
    monkeypatch.setattr(launch, "RECIPES", greet)
    launch.main(["--task", "greet", "--help"])
    assert "gin/one.gin  Trains one thing.\n" in capsys.readouterr().out


def test_help_of_every_task_imports_nothing_heavy():
    """Help is for the impatient: no task's options may need torch."""
    program = (
        "import sys, launch\n"
        "for name in launch.tasks():\n"
        "    assert launch.main(['--task', name, '--help']) == 0\n"
        "assert launch.main(['--help']) == 0\n"
        "print(sorted({'torch', 'accelerate', 'evaluate', 'matplotlib', 'numpy'} & set(sys.modules)))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "[]"


def test_a_dry_run_imports_what_it_uses_only():
    """Nothing of what a run may need later: plots, trackers, torch's compiler, what else metrics use."""
    program = (
        "import sys, launch\n"
        "for recipe in ('cdrl_digits', 'one_digits', 'cdrl_checkerboard'):\n"
        "    assert launch.main(['--gin', f'gin/{recipe}.gin', '--dry-run']) == 0\n"
        "heavy = {'matplotlib', 'tensorboard', 'torchmetrics', 'torch._dynamo', 'torch._inductor'}\n"
        "heavy |= {'evaluate', 'datasets', 'scipy', 'pandas', 'pyarrow', 'huggingface_hub'}\n"
        "print(sorted(heavy & set(sys.modules)))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "[]"


def test_the_program_starts_from_any_folder(tmp_path):
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, ROOT / "launch.py", "--task", "trian"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 2
    assert done.stderr.startswith("error: --task trian: no such task. Did you mean 'train'?")
    assert done.stderr.count("\n") == 1


def test_without_gin_config_one_line_says_so(tmp_path):
    """Without site-packages `import gin` finds the repository's gin/: a task would fail oddly."""
    (tmp_path / "greet.py").write_text("import gin\n" + GREET + "\ngin.register(run)\n")
    program = (
        f"import sys; sys.path = [{str(ROOT)!r}] + [p for p in sys.path if 'site-packages' not in p]\n"
        "import launch, modules.tasks\n"
        f"modules.tasks.__path__.append({str(tmp_path)!r})\n"
        "sys.exit(launch.main(['--task', 'greet']))\n"
    )
    done = subprocess.run([sys.executable, "-S", "-c", program], capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert done.stderr == "error: the package gin-config is not installed: pip install gin-config\n"
