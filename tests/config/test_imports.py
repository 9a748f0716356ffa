"""Modules of users and of the project are imported, found again, and named where they fail."""

import subprocess
import sys
from pathlib import Path

import pytest

from modules import config
from modules.config import imports as config_imports
from modules.core.checks import ConfigurationError
from tests.config.toys import write

ROOT = Path(config.__file__).parents[2]

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
