"""The page of a run: complete in one file, and shown as meant by a real browser."""

from __future__ import annotations

import json
import re
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from modules.report.measured import Measured
from modules.report.page import save_page
from modules.report.pictures import save_samples
from tests.browser import BROWSER, FLAGS, needs_browser


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """What a run of twelve evaluations leaves."""
    run = tmp_path / "a <run> & more"
    (run / "samples").mkdir(parents=True)
    rows = []
    for step in range(100, 1300, 100):
        x = torch.rand(4, 1, 8, 8) * 2 - 1
        save_samples(x, [x, x], run / "samples" / f"step_{step:08d}.png")
        values = {"fid": 1000.0 / step, "recognised": step / 2000}
        rows.append({"step": step, "seconds": step / 7, **values, "evaluation_seconds": 1.0})
        protocol = {"samples": 500, "features": {"extractor": "X<b>"}, "metrics": [{"class": "FID"}]}
        notes = {"fid": "biased: N = 500 < 10,000"}
        found = Measured(values, protocol, notes, errors={"recognised": 0.1})
        found.write(run / "evaluations" / f"step_{step:08d}.json")
    (run / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (run / "config.gin").write_text("A.b = '<script>alert(1)</script>'\n")
    Image.fromarray(np.zeros((20, 30), np.uint8)).save(run / "curves.png")
    save_page(run)
    return run


class _Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[tuple[str, dict]] = []

    def handle_starttag(self, tag, attrs):
        self.seen.append((tag, dict(attrs)))
        if tag not in ("meta", "img", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_the_page_shows_the_newest_chains(tmp_path: Path) -> None:
    (tmp_path / "proposals").mkdir()
    save_page(tmp_path)
    assert "the chain adds" not in (tmp_path / "page.html").read_text()
    for step in (5, 10):
        Image.fromarray(np.zeros((20, 30), np.uint8)).save(tmp_path / "proposals" / f"step_{step:08d}.png")
    save_page(tmp_path)
    text = (tmp_path / "page.html").read_text()
    assert "What the chain adds" in text and "step_00000010" in text and "step_00000005" not in text


def test_the_page_is_complete_in_itself(folder):
    text = (folder / "page.html").read_text()
    tags = _Tags()
    tags.feed(text)
    assert tags.open == []
    pictures = [attrs for tag, attrs in tags.seen if tag == "img"]
    assert len(pictures) == 2 + 6  # values, curves, six of twelve sample pictures: the first and the last too
    assert all(p["src"].startswith("data:image/png;base64,") for p in pictures)
    assert "step_00000100" in pictures[2]["alt"] and "step_00001200" in pictures[-1]["alt"]
    assert not {"script", "link", "b"} & {tag for tag, _ in tags.seen} and "http" not in text
    for part in (
        "a &lt;run&gt; &amp; more",
        "X&lt;b&gt;",
        "biased: N = 500 &lt; 10,000",
        "0.8333",
        "<td>0.6 [0.404, 0.796]</td>",
        "&lt;script",
    ):
        assert part in text
    assert text.count("<tr>") >= 13 and (folder / "values.png").stat().st_size > 5_000


def test_a_young_run_has_a_page(tmp_path):
    (tmp_path / "run").mkdir()
    save_page(tmp_path / "run")
    assert "<h1>run</h1>" in (tmp_path / "run" / "page.html").read_text()


@pytest.mark.browser
@needs_browser
def test_a_browser_shows_it(folder, tmp_path):
    """Every picture loads, nothing is complained of, and the screenshot is no blank."""
    probe = (
        "<script>addEventListener('load', () => { const all = [...document.images];"
        "document.title = 'loaded ' + all.filter(i => i.complete && i.naturalWidth > 20).length"
        " + ' of ' + all.length + ' width ' + document.documentElement.scrollWidth })</script>"
    )
    page = tmp_path / "probe.html"
    page.write_text((folder / "page.html").read_text().replace("</body>", probe + "</body>"))
    command = [str(BROWSER), *FLAGS, "--hide-scrollbars"]
    command += [
        "--enable-logging=stderr",
        "--window-size=1200,2400",
        f"--user-data-dir={tmp_path / 'profile'}",
    ]

    def shown(*options: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*command, *options, page.as_uri()], capture_output=True, text=True, timeout=120, check=True
        )

    done = shown("--dump-dom")
    title = re.search("<title>(.*?)</title>", done.stdout)
    assert title and title[1].startswith("loaded 8 of 8 width "), title
    assert int(title[1].split()[-1]) <= 1200  # nothing sticks out
    assert "CONSOLE" not in done.stderr
    shown(f"--screenshot={tmp_path / 'shot.png'}")
    shot = np.asarray(Image.open(tmp_path / "shot.png").convert("L"))
    assert shot.shape == (2400, 1200) and shot.std() > 10
    assert shot[:1200].std() > 5 and len(np.unique(shot)) > 50
