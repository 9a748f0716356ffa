"""The house stays tidy: imports go down, one place for accelerate and one for gin, no drawers."""

from __future__ import annotations

import ast
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

from tests import conftest

ROOT = Path(__file__).resolve().parents[1]

# From the ground up: a room imports from itself and from rooms above it in this list. Tasks are commands of
# launch.py, which rebuild runs from their configuration.
ROOMS = (
    *("core", "storage", "schedules", "layers", "data", "energies", "initializers", "samplers", "losses"),
    *(
        "guidance",
        "methods",
        "runtime",
        "sampling",
        "contracts",
        "scores",
        "features",
        "metrics",
        "analysis",
        "report",
    ),
    *("evaluation", "training", "published", "config", "runs", "sweep", "demo", "tasks"),
)


Imports = dict[str, dict[str, int]]
"""Of each module of the project the modules of the project that it imports, and in which line."""


def _modules() -> dict[str, ast.Module]:
    """Dotted name -> syntax tree of every file in modules/."""
    found = {}
    for path in sorted((ROOT / "modules").rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        found[name] = ast.parse(path.read_text(encoding="utf-8"))
    return found


MODULES = _modules()


def _imports(tree: ast.AST) -> list[tuple[str, int]]:
    """Names and lines of all imports, those inside functions and those for a type checker alone included."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [(alias.name, node.lineno) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: a relative import"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            found += [(name if name in MODULES else str(node.module), node.lineno) for name in names]
    return found


def _project(modules: dict[str, ast.Module]) -> Imports:
    """The imports of the project's own modules; the empty package above them all is nobody's."""
    return {
        module: {name: line for name, line in _imports(tree) if name.startswith("modules.")}
        for module, tree in modules.items()
    }


IMPORTS = _project(MODULES)


def _room(module: str) -> str:
    return module.split(".")[1]


def _climbing(imports: Imports) -> list[str]:
    """The imports that go up."""
    return [
        f"{module}:{line} imports {name}"
        for module, names in imports.items()
        for name, line in names.items()
        if ROOMS.index(_room(name)) > ROOMS.index(_room(module))
    ]


def _circle(imports: Imports) -> list[str]:
    """The modules of a circle of imports, the first one again at its end; none: there is no circle."""
    try:
        TopologicalSorter({module: set(names) - {module} for module, names in imports.items()}).prepare()
    except CycleError as fault:
        return fault.args[1]
    return []


def test_every_file_is_in_a_room():
    assert {_room(module) for module in MODULES if module != "modules"} == set(ROOMS)
    assert [path.name for path in (ROOT / "modules").glob("*.py")] == ["__init__.py"]


def test_imports_go_down():
    assert sum(map(len, IMPORTS.values())) > 300  # they are read at all
    assert _climbing(IMPORTS) == []


def test_imports_make_no_circle():
    assert _circle(IMPORTS) == []


WAYS = {
    "at the top": "import {room}.{file}",
    "of a name": "from {room}.{file} import Thing",
    "of a file": "from {room} import {file}",
    "in a function": "def f():\n    from {room}.{file} import Thing",
    "for types alone": "if TYPE_CHECKING:\n    from {room}.{file} import Thing",
}


def _planted(module: str, way: str, room: str, file: str) -> Imports:
    """The house with an import more in one of its files."""
    more = _project({module: ast.parse(WAYS[way].format(room=room, file=file))})[module]
    assert set(more) == {f"{room}.{file}"} and not set(more) & set(IMPORTS[module])
    return {**IMPORTS, module: {**IMPORTS[module], **more}}


@pytest.mark.parametrize("way", WAYS)
def test_an_import_that_goes_up_is_found(way: str):
    [found] = _climbing(_planted("modules.samplers.base", way, "modules.training", "trainer"))
    assert found.startswith("modules.samplers.base:") and found.endswith(" modules.training.trainer")


@pytest.mark.parametrize("way", WAYS)
def test_a_circle_inside_a_room_is_found(way: str):
    """langevin.py imports base.py: were it imported back, neither would read on its own."""
    planted = _planted("modules.samplers.base", way, "modules.samplers", "langevin")
    assert _climbing(planted) == []
    assert set(_circle(planted)) == {"modules.samplers.base", "modules.samplers.langevin"}


def _users(package: str) -> set[str]:
    return {
        module
        for module, tree in MODULES.items()
        if any(name.split(".")[0] == package for name, _ in _imports(tree))
    }


def test_only_the_runtime_uses_accelerate():
    assert _users("accelerate") == {"modules.runtime.runtime"}


def test_components_use_of_gin_is_register():
    """Attributes of `gin` in all rooms but config, and nothing imported from it."""
    used = {}
    for module in _users("gin"):
        if _room(module) == "config":
            continue
        assert {name for name, _ in _imports(MODULES[module]) if name.startswith("gin")} == {"gin"}
        nodes = ast.walk(MODULES[module])
        used[module] = {
            node.attr
            for node in nodes
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "gin"
        }
    assert len(used) > 10
    assert {module: names for module, names in used.items() if names != {"register"}} == {}


def test_the_gin_folder_holds_data_only():
    """A module in it would hide the package gin from everybody."""
    assert [path for path in (ROOT / "gin").rglob("*") if path.is_file() and path.suffix != ".gin"] == []


def test_no_file_hides_a_package_or_takes_anything():
    # a task is a file of its name, and is imported as modules.tasks.NAME only
    paths = [path for path in (ROOT / "modules").rglob("*.py") if path.parent.name != "tasks"]
    names = {path.stem for path in paths}
    assert names & {"datasets", "evaluate", "accelerate", "gin", "utils", "helpers", "common"} == set()


def test_nothing_is_unpickled_or_evaluated():
    """No module calls what executes a file's content (accelerate pickles among a run's own processes).

    The loaders of foreign weights and statistics say so: torch's takes weights only, numpy's no objects.
    """
    safe = {"torch.load": "weights_only=True", "np.load": "allow_pickle=False"}
    names = {"eval", "exec", "__import__", "load_checkpoint_in_model"}
    attributes = {
        "torch.load",
        "np.load",
        "numpy.load",
        "pickle.load",
        "pickle.loads",
        "joblib.load",
        "yaml.load",
    }
    found = [
        f"{module}:{node.lineno} {ast.unparse(node.func)}"
        for module, tree in MODULES.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and (called := ast.unparse(node.func)) in names | attributes
        and safe.get(called) not in map(ast.unparse, node.keywords)
    ]
    assert found == []
    assert _users("dill") | _users("cloudpickle") | _users("joblib") == set()
    named = {
        alias.name
        for module in _users("pickle")
        for node in ast.walk(MODULES[module])
        if isinstance(node, (ast.Import, ast.ImportFrom)) and "pickle" in ast.unparse(node)
        for alias in node.names
    }
    assert named <= {"UnpicklingError"}  # what torch's safe loader raises


def test_the_longest_files_of_tests_are_where_their_table_says():
    """A file that is moved would be begun late, and nobody would see why the tests take longer."""
    assert [name for name in conftest.LONGEST if not (ROOT / "tests" / name).is_file()] == []


def test_constructors_swallow_nothing():
    """`**kwargs` would swallow a misspelt argument."""
    swallowing = [
        f"{module}:{node.lineno}"
        for module, tree in MODULES.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef) and node.args.kwarg is not None
    ]
    assert swallowing == []


def _calls(wanted: set[str]) -> set[tuple[str, str, str]]:
    """Module, function and call of every call whose name, or last name, is wanted."""
    found = set()
    for module, tree in {**MODULES, "launch": ast.parse((ROOT / "launch.py").read_text("utf-8"))}.items():
        for function in ast.walk(tree):
            if isinstance(function, ast.FunctionDef):
                for node in ast.walk(function):
                    if isinstance(node, ast.Call):
                        name = ast.unparse(node.func).rpartition(".")[2]
                        computed = len(node.args) < 2 or not isinstance(node.args[1], ast.Constant)
                        if name in wanted and (name != "getattr" or computed):
                            found.add((module, function.name, name))
    return found


def test_a_string_becomes_code_in_two_functions():
    """Nothing else imports by a name, runs a file, or looks up an attribute of a module by a name.

    The other attributes with computed names are a record's fields and a component's own arguments.
    """
    by_name = {"import_module", "__import__", "resolve_name", "spec_from_file_location", "exec_module"}
    by_name |= {"run_path", "run_module", "load_module", "attrgetter", "methodcaller", "getattr"}
    assert _calls(by_name) == {
        ("modules.core.code", "module_named", "import_module"),
        ("modules.core.code", "object_named", "resolve_name"),
        ("modules.core.code", "object_named", "getattr"),
        ("modules.core.code", "_of_file", "spec_from_file_location"),  # of module_named
        ("modules.core.code", "_of_file", "exec_module"),
        ("modules.core.checks", "check_attributes", "getattr"),
        ("modules.core.types", "map", "getattr"),
        ("modules.core.arguments", "arguments_of", "getattr"),
        ("modules.contracts.signatures", "_check", "getattr"),
    }


def test_who_names_code():
    """What the two functions are given: the project's own modules, the user's words of this command, and
    parameters that a saved configuration may not give."""
    assert {(module, function) for module, function, _ in _calls({"module_named", "object_named"})} == {
        ("launch", "_run"),  # a task of the project
        ("modules.core.lazy", "get"),
        ("modules.core.lazy", "exports"),
        ("modules.config.imports", "_import_own"),
        ("modules.config.imports", "import_user_module"),  # --import, or an import of a gin file
        ("modules.tasks._judge", "__init__"),  # --judge
        ("modules.features.module", "_built"),
    }
    components = [
        node
        for node in ast.walk(MODULES["modules.features.module"])
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "code_parameters"
    ]
    assert [ast.literal_eval(node.value) for node in components] == [("model", "arguments")]


READERS = {"imread", "imopen", "decode_png", "decode_jpeg", "ImageFolder"}


def _pictures_opened(tree: ast.AST) -> list[str]:
    """Calls that open a picture, and the features of `datasets` that would do so themselves."""
    found = []
    for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
        name = ast.unparse(call.func)
        owner, _, last = name.rpartition(".")
        opened = last == "open" and owner.split(".")[-1] in ("Image", "Pillow", "PIL")
        decoded = name == "datasets.Image" and "decode=False" not in map(ast.unparse, call.keywords)
        if opened or decoded or last in READERS:
            found.append(ast.unparse(call))
    return found


def test_one_place_opens_pictures():
    """Alpha, 16 bits, EXIF, formats that start programs and giant pictures have their rules in one place."""
    others = [ROOT / "launch.py", *sorted((ROOT / "benchmarks").glob("*.py"))]
    trees = {**MODULES, **{path.name: ast.parse(path.read_text(encoding="utf-8")) for path in others}}
    found = {name: calls for name, tree in trees.items() if (calls := _pictures_opened(tree))}
    assert list(found) == ["modules.data.images"] and len(found["modules.data.images"]) == 1
    for line in ("Image.open(p)", "PIL.Image.open(p)", "plt.imread(p)", "datasets.Image()"):
        assert _pictures_opened(ast.parse(line)) == [line]
