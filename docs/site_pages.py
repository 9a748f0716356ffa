"""Pages of the site that no file of docs/ holds: the README as its start, the notebook, and the API.

mkdocs calls the functions `on_...`; only there it is needed.
"""

from __future__ import annotations

import ast
import base64
import json
import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOK = "examples/first_run.ipynb"
_CODE = r"^```[\s\S]*?^```|^ {4}.*|`[^`\n]*`"


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """An underscore after a combining letter such as ᾱ is a subscript, as GitHub has it, not emphasis."""
    return re.sub(
        _CODE + "|([\u0300-\u036f])_", lambda m: rf"{m[1]}\_" if m[1] else m[0], markdown, flags=re.M
    )


def on_files(files: Any, config: Any) -> Any:
    """Adds index.md, api.md and the notebook with its pictures to the pages that mkdocs found."""
    from mkdocs.structure.files import File

    for name, content in {"index.md": start(), "api.md": api(), **notebook()}.items():
        files.append(File.generated(config, name, content=content))
    return files


def start() -> str:
    """The README, its links as seen from docs/."""
    text = (ROOT / "README.md").read_text(encoding="utf-8").replace("](docs/", "](")
    return text.replace(f"]({NOTEBOOK})", "](first_run.md)")


def notebook() -> dict[str, str | bytes]:
    """The notebook as a page, its links as seen from docs/, and each picture that it shows, by file name."""
    files: dict[str, str | bytes] = {}
    parts = []
    for cell in json.loads((ROOT / NOTEBOOK).read_text(encoding="utf-8"))["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            parts.append(source.replace("](../docs/", "]("))
            continue
        parts.append(f"```python\n{source}\n```")
        for output in cell["outputs"]:
            if picture := output.get("data", {}).get("image/png"):
                name = f"pictures/first_run_{len(files)}.png"
                files[name] = base64.b64decode(picture)
                parts.append(f"![What the cell draws]({name})")
            elif "text" in output:
                parts.append(f"```\n{''.join(output['text']).rstrip()}\n```")
    return {"first_run.md": "\n\n".join(parts) + "\n", **files}


def api() -> str:
    """What each room hands on, as directives for mkdocstrings."""
    lines = ["# What is there to import? The API", "", "Each room hands on these names, and keeps the rest."]
    for room, names in rooms().items():
        tree = ast.parse((ROOT / "modules" / room / "__init__.py").read_text(encoding="utf-8"))
        lines += ["", f"## modules.{room}", "", str(ast.get_docstring(tree)).splitlines()[0]]
        for name in sorted(names):
            lines += ["", f"::: {names[name]}.{name}"]
    return "\n".join(lines) + "\n"


def rooms() -> dict[str, dict[str, str]]:
    """Of each room that hands on names: the module where each name is made."""
    found = {path.parent.name: _handed_on(path) for path in sorted(ROOT.glob("modules/*/__init__.py"))}
    return {room: names for room, names in found.items() if names}


def _handed_on(path: Path) -> dict[str, str]:
    """Read, not imported: from the table given to `exports` or, where a room has none, its imports."""
    room, names = f"modules.{path.parent.name}", {}
    nodes = list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
    for node in nodes:
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "exports":
            for file, listed in ast.literal_eval(node.args[1]).items():
                names |= {name: _made_in(f"{room}.{file}", name) for name in listed.split()}
            return names
    for node in nodes:
        if isinstance(node, ast.ImportFrom) and str(node.module).startswith(f"{room}."):
            names |= {alias.name: _made_in(str(node.module), alias.name) for alias in node.names}
    return names


def _made_in(module: str, name: str) -> str:
    """The module, or that from which it has the name."""
    text = ROOT.joinpath(*module.split(".")).with_suffix(".py").read_text(encoding="utf-8")
    for node in ast.parse(text).body:
        if isinstance(node, ast.ImportFrom) and name in [alias.name for alias in node.names]:
            return _made_in(str(node.module), name)
    return module
