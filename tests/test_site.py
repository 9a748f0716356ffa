"""The documentation as a site: no page is left out, all public names are there, it builds without warning."""

from __future__ import annotations

import importlib
import importlib.util
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from tests.browser import needs_package

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted(path.name for path in (ROOT / "docs").glob("*.md"))


@pytest.fixture(scope="module")
def pages() -> ModuleType:
    """What makes the pages that are no files, loaded as mkdocs loads it: by its path."""
    spec = importlib.util.spec_from_file_location("site_pages", ROOT / "docs" / "site_pages.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_page_is_in_the_navigation_once():
    nav = re.search(r"^nav:\n(.*?)^\w", (ROOT / "mkdocs.yml").read_text(encoding="utf-8"), re.M | re.S)[1]
    assert sorted(re.findall(r": (\w+\.md)$", nav, re.M)) == sorted(
        ["index.md", "first_run.md", "api.md", *PAGES]
    )


def test_every_public_name_is_on_the_page_of_the_api(pages):
    """Under its room, by the module that makes it."""
    sections = dict(re.findall(r"^## modules\.(\w+)\n(.*?)(?=^## |\Z)", pages.api(), re.M | re.S))
    for path in sorted(ROOT.glob("modules/*/__init__.py")):
        room = importlib.import_module(f"modules.{path.parent.name}")
        told = re.findall(r"^::: (.+)\.(\w+)$", sections.get(path.parent.name, ""), re.M)
        assert sorted(name for _, name in told) == sorted(getattr(room, "__all__", [])), path.parent.name
        for module, name in told:
            assert vars(importlib.import_module(module))[name] is getattr(room, name), name


def test_links_of_the_start_are_seen_from_the_folder_of_the_pages(pages):
    targets = re.findall(r"\]\(([^)\s]+)\)", pages.start())
    local = {target.partition("#")[0] for target in targets if not target.startswith("https://")}
    assert {*PAGES, "first_run.md"} < local
    assert [target for target in local - {"first_run.md"} if not (ROOT / "docs" / target).is_file()] == []


def test_the_notebook_is_a_page_with_its_pictures(pages):
    """In the order of the cells, with what they print, and links as seen from the folder of the pages."""
    made = pages.notebook()
    page = made.pop("first_run.md")
    assert re.findall(r"!\[.*?\]\((.*?)\)", page) == list(made) != []
    assert all(content.startswith(b"\x89PNG") for content in made.values())
    assert "```python\n%pip install" in page and re.search(r"```\n +digits: .* nats\n", page)
    links = re.findall(r"(?<!!)\[[^]]*\]\((.*?)\)", page)
    assert links and set(links) <= set(PAGES)


@pytest.mark.parametrize("page", PAGES)
def test_lists_stand_apart_from_what_is_before(page):
    """Else the site runs them into the paragraph, where GitHub does not."""
    text = re.sub(r"^```.*?^```", "", (ROOT / "docs" / page).read_text(encoding="utf-8"), flags=re.M | re.S)
    joined = re.findall(r"^(?!- |\d+\. | ).+\n(?:- |\d+\. ).*", text, re.M)
    assert joined == []


@pytest.mark.slow
@needs_package("mkdocs", "docs")
def test_it_builds_strictly(tmp_path):
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stderr
    for page in PAGES:
        assert (tmp_path / page.removesuffix(".md") / "index.html").is_file(), page
    assert 'href="tasks/"' in (tmp_path / "index.html").read_text(encoding="utf-8")
    mathematics = (tmp_path / "mathematics" / "index.html").read_text(encoding="utf-8")
    assert "ᾱ_{t-1}" in mathematics and "<em>" not in mathematics
    api = (tmp_path / "api" / "index.html").read_text(encoding="utf-8")
    assert 'id="modules.samplers.langevin.Langevin"' in api
    assert re.findall("<em>(?!required<).*", api) == []  # subscripts, mistaken for emphasis
