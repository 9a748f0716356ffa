"""The demo page in headless Chromium: click, wait, a picture appears; nothing fails, no request leaves."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch

import launch
from modules import runs
from modules.demo import answers
from modules.demo.answers import IN_TURN, Settings
from modules.demo.walks import walk_of
from tests.browser import needs_browser, needs_driver, needs_package
from tests.demo.visitor import Visitor
from tests.ports import free_port

ROOT = Path(__file__).resolve().parents[2]
pytestmark = [
    pytest.mark.browser,
    needs_browser,
    needs_driver,
    needs_package("gradio", "browser"),
    needs_package("selenium", "browser"),
]

# The server's own requests: to this machine, or the process dies and says where to.
WITHOUT_NETWORK = """\
import os, socket, sys

def here(address):
    return not isinstance(address, tuple) or address[0] in ("127.0.0.1", "localhost", "::1")

def guarded(function, position):
    def call(*values, **named):
        if not here((values[position],) if isinstance(values[position], str) else values[position]):
            print("the network was asked for:", values, file=sys.stderr, flush=True)
            os._exit(9)
        return function(*values, **named)
    return call

socket.socket.connect = guarded(socket.socket.connect, 1)
socket.socket.connect_ex = guarded(socket.socket.connect_ex, 1)
socket.getaddrinfo = guarded(socket.getaddrinfo, 0)
import launch
sys.exit(launch.main(sys.argv[1:]))
"""

Visit = Callable[..., Visitor]


@contextmanager
def _served(run: Path, folder: Path, options: tuple[str, ...]) -> Iterator[str]:
    """The address of the page of a run, served by a process that must have nothing to say."""
    port = free_port()
    command = [sys.executable, "-c", WITHOUT_NETWORK, "--task", "demo", "--run", str(run)]
    errors = folder / "errors.txt"
    with (
        errors.open("w") as file,
        subprocess.Popen(
            [*command, "--port", str(port), *options],
            cwd=ROOT,
            env={**os.environ, "TMPDIR": str(folder)},
            stdout=subprocess.PIPE,
            stderr=file,
            text=True,
        ) as process,
    ):
        try:
            assert process.stdout is not None
            url = f"http://127.0.0.1:{port}"
            assert url in process.stdout.readline(), errors.read_text()
            yield url
            process.terminate()
            assert process.wait(60) == 75
        finally:
            process.kill()
    assert errors.read_text() == ""


@pytest.fixture(scope="module")
def visit(tmp_path_factory) -> Iterator[Visit]:
    """Opens the page of a run, served once for all tests with the same options."""
    with ExitStack() as stack:
        served: dict[tuple, str] = {}
        visitors: dict[str, Visitor] = {}

        def opened(run: Path, *options: str) -> Visitor:
            if (run, options) not in served:
                folder = tmp_path_factory.mktemp("served")
                url = served[run, options] = stack.enter_context(_served(run, folder, options))
                visitors[url] = Visitor(url, tmp_path_factory.mktemp("profile"))
                stack.callback(visitors[url].driver.quit)
            visitor = visitors[served[run, options]]
            visitor.driver.get(visitor.url)
            visitor.until(lambda: visitor.all("button[role=tab]"))
            return visitor

        yield opened


@pytest.fixture(scope="module")
def points(tmp_path_factory) -> Path:
    """The folder of a run of points, of one step."""
    folder = tmp_path_factory.mktemp("points")
    settings = ["NUM_STEPS=1", "BATCH_SIZE=64", "Trainer.sample_every=0", "generate/Langevin.num_steps=2"]
    command = ["--gin", "gin/cdrl_checkerboard.gin", "--output", str(folder / "run")]
    assert launch.main([*command, *(word for setting in settings for word in ("--set", setting))]) == 0
    return folder / "run"


def _sound(visitor: Visitor) -> None:
    """Nothing was complained of, nothing asked elsewhere, and the screenshot is no blank."""
    assert visitor.complaints() == []
    shot = visitor.screenshot()
    assert shot.std() > 10 and len(np.unique(shot)) > 50


def test_samples_are_those_of_the_seed_and_the_levels_are_theirs(visit, tiny_run):
    visitor = visit(tiny_run)
    visitor.fill("number input for Guidance", "1.5")
    visitor.fill("Seed", "7")
    visitor.press("go-sample")
    first, picture = visitor.picture("samples-picture")
    settings = Settings(7, IN_TURN, 1.5)
    walk = walk_of(answers.sample(runs.load(tiny_run), 16, settings, lambda done, total: None))
    _same(picture, walk.picture(-1))
    _sound(visitor)

    visitor.tab("Levels")
    for elem_id, size in (("film", walk.picture(0).size), ("strip", walk.strips().size)):
        assert visitor.picture(elem_id)[1].size == size
    last, _ = visitor.picture("stage-picture")
    visitor.fill("number input for From noise", "2")
    top = len(walk.frames) - 2
    visitor.until(lambda: visitor.text("#stage-name") == f"level {top - 2} of {top}")
    _same(visitor.picture("stage-picture", other_than=last)[1], walk.picture(2))
    _sound(visitor)

    visitor.tab("Samples")
    visitor.fill("Seed", "8")
    visitor.press("go-sample")
    other, changed = visitor.picture("samples-picture", other_than=first)
    assert not np.array_equal(np.asarray(changed), np.asarray(picture)) and other != first
    _sound(visitor)


def _same(one, other) -> None:
    """Equal pictures but for the last digit of float32 sums."""
    assert one.size == other.size
    assert abs(np.asarray(one, int) - np.asarray(other, int)).max() <= 1


def test_a_composition_appears(visit, tiny_run):
    visitor = visit(tiny_run)
    visitor.tab("Compose")
    visitor.press("go-compose")
    _, picture = visitor.picture("compose-picture")
    run = runs.load(tiny_run).with_conditions([0, 1], [1.0, 1.0])
    expected = walk_of(run.generate(16)).picture(-1)
    _same(picture, expected)
    _sound(visitor)
    visitor.tab("Levels")
    _same(visitor.picture("stage-picture")[1], expected)
    _sound(visitor)


def test_paint_is_filled_and_the_rest_stays(visit, tiny_run):
    from selenium.webdriver import ActionChains

    visitor = visit(tiny_run)
    visitor.tab("Inpaint")
    board = max(visitor.until(lambda: visitor.all("#board canvas")), key=lambda canvas: canvas.size["width"])
    visitor.press("go-inpaint")  # nothing is painted yet
    visitor.until(lambda: "nothing is to be found: paint over a part" in visitor.text("body"))
    stroke = ActionChains(visitor.driver).move_to_element_with_offset(board, -30, -30).click_and_hold()
    for _ in range(6):
        stroke.move_by_offset(10, 10)
    stroke.release().perform()
    visitor.press("go-inpaint")
    _, picture = visitor.picture("inpaint-picture")
    _sound(visitor)
    cells = _cells(picture, columns=6)
    truth, known, *completions = cells
    hidden = known != truth
    assert len(completions) == 10 and 2 <= hidden.sum() <= 24
    kept = (known == truth) & (known != 128)  # what is hidden is shown grey
    for completion in completions:
        assert (completion == truth)[kept].all()
    assert any((completion != truth)[hidden].any() for completion in completions)
    visitor.tab("Levels")
    _, picture = visitor.picture("stage-picture")
    assert abs(_cells(picture, columns=3)[0] - completions[0]).max() <= 1
    _sound(visitor)


def _cells(picture, columns: int) -> list[np.ndarray]:
    """The images (8, 8) of a magnified grid with gaps of 2."""
    pixels = np.asarray(picture.convert("L"), int)
    factor = pixels.shape[1] // (10 * columns + 2)
    small = pixels[factor // 2 :: factor, factor // 2 :: factor]
    return [
        small[2 + 10 * r :][:8, 2 + 10 * c :][:, :8]
        for r in range((small.shape[0] - 2) // 10)
        for c in range(columns)
    ]


def test_images_of_the_data_and_from_files(visit, tiny_run, tmp_path):
    from PIL import Image

    visitor = visit(tiny_run)
    visitor.tab("Inpaint")
    visitor.fill("Image of the data", "5")
    image, label = (rows[0] for rows in runs.load(tiny_run).data.open().rows(torch.tensor([5])))
    visitor.until(lambda: visitor.text("#source") == f"image 5 of the data: {int(label)}")
    visitor.choose("Known, but", "the left half is known")
    visitor.press("go-inpaint")
    first, picture = visitor.picture("inpaint-picture")
    assert abs(_cells(picture, 6)[0] - ((image[0] + 1) * 127.5).numpy()).max() <= 1

    ramp = np.arange(64, dtype=np.uint8).reshape(8, 8) * 4
    Image.fromarray(ramp).save(tmp_path / "ramp.png")
    (tmp_path / "none.png").write_text("no picture")
    visitor.upload(tmp_path / "ramp.png")
    visitor.until(lambda: visitor.text("#source") == "ramp.png, fitted to 8 x 8")
    visitor.press("go-inpaint")
    _, picture = visitor.picture("inpaint-picture", other_than=first)
    assert abs(_cells(picture, 6)[0] - ramp).max() <= 1
    _sound(visitor)
    visitor.upload(tmp_path / "none.png")
    visitor.until(lambda: "none.png cannot be read as a picture" in visitor.text("body"))
    visitor.fill("Image of the data", "1437")
    visitor.until(lambda: "the data have images 0..1436, not 1437" in visitor.text("body"))


def test_a_fault_is_one_line_in_the_page(visit, tiny_run):
    visitor = visit(tiny_run)
    visitor.fill("Class", "42")
    visitor.press("go-sample")
    visitor.until(lambda: "a label must be in 0..9 (-1 = none), got 42" in visitor.text("body"))
    assert "Traceback" not in visitor.text("body")
    visitor.fill("Class", "4")
    visitor.press("go-sample")
    visitor.picture("samples-picture")
    _sound(visitor)
    visitor.tab("Levels")
    visitor.picture("film")


def test_computations_show_their_progress_wait_for_each_other_and_stop(visit, tiny_run):
    visitor = visit(tiny_run, "--set", "Langevin.num_steps=1000")
    visitor.press("go-sample")
    visitor.until(lambda: "walking down the levels" in visitor.text("#samples-picture"))
    visitor.tab("Compose")
    visitor.press("go-compose")
    visitor.until(lambda: "queue: 1/1" in visitor.text("#compose-picture"))
    visitor.tab("Samples")
    visitor.press("stop-sample")
    visitor.until(lambda: "stopped, as you asked" in visitor.text("body"))
    visitor.tab("Compose")
    visitor.until(lambda: "walking down the levels" in visitor.text("#compose-picture"))
    visitor.press("stop-compose")
    visitor.until(lambda: "Error" in visitor.text("#compose-picture"))
    assert not visitor.driver.find_elements("css selector", "#samples-picture img, #compose-picture img")
    _sound(visitor)


def test_a_run_without_labels(visit, unlabelled):
    visitor = visit(unlabelled)
    assert not visitor.all("input[aria-label^='Class']") and "Guidance" not in visitor.text("body")
    visitor.press("go-sample")
    _, picture = visitor.picture("samples-picture")
    _same(picture, walk_of(runs.load(unlabelled).generate(16)).picture(-1))
    _sound(visitor)
    visitor.tab("Compose")
    assert "there are no classes to compose" in visitor.text("body")
    visitor.tab("Inpaint")
    visitor.choose("Known, but", "the left half is known")
    visitor.press("go-inpaint")
    visitor.picture("inpaint-picture")
    _sound(visitor)


def test_a_run_of_points(visit, points):
    visitor = visit(points)
    visitor.press("go-sample")
    _, picture = visitor.picture("samples-picture")
    ink = np.asarray(picture.convert("RGB"), int)
    assert ((ink[..., 2] - ink[..., 0]) > 30).sum() > 500
    _sound(visitor)
    visitor.tab("Inpaint")
    assert "Inpainting is for images" in visitor.text("body")
    visitor.tab("Levels")
    for elem_id in ("stage-picture", "film", "strip"):
        visitor.picture(elem_id)
    _sound(visitor)
