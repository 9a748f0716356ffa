"""A shared run samples what the run samples, holds no code, and the Hub's faults are one line."""

from __future__ import annotations

import json
import shutil
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
import torch

import launch
from modules import runs
from modules.core.checks import CheckpointError, ConfigurationError


@pytest.fixture(scope="module")
def shared(tiny_run, tmp_path_factory) -> Path:
    run = tmp_path_factory.mktemp("run") / "run"
    shutil.copytree(tiny_run, run)
    (run / "evaluations").mkdir(exist_ok=True)
    measured = {"values": {"fid": {"value": 12.5}}, "protocol": {"num": 500, "seed": 0}}
    (run / "evaluations" / "fid.json").write_text(json.dumps(measured))
    return runs.load(run).save_pretrained(run.parent / "shared", "cc-by-4.0", num_samples=4)


def test_the_round_trip_gives_the_same_samples(tiny_run, shared):
    again = runs.from_pretrained(shared)
    labels = [0, 1, 2, 3]
    assert torch.equal(again.generate(4, labels).x, runs.load(tiny_run).generate(4, labels).x)
    # every task takes it: it is a run's folder
    words = ["--task", "generate", "--run", str(shared), "--num", "2", "--output", str(shared.parent / "out")]
    assert launch.main(words) == 0


def test_it_holds_data_alone_and_no_optimizer(shared):
    files = {path.name for path in shared.rglob("*") if path.is_file()}
    assert files == {
        *(
            "README.md",
            "config.gin",
            "config.json",
            "data.json",
            "samples.png",
            "manifest.json",
            "state.json",
        ),
        *("energy_ema.safetensors", "initializer_ema.safetensors"),
    }
    about = json.loads((shared / "config.json").read_text())
    assert (
        about["imports"] == [] and about["step"] == 4 and "import" not in (shared / "config.gin").read_text()
    )


def test_the_card_says_what_a_stranger_needs(shared):
    text = (shared / "README.md").read_text()
    front, body = text.split("---\n")[1:3]
    assert 'license: "cc-by-4.0"' in front and 'library_name: "recovery-likelihood"' in front
    for part in ("Digits", "4 steps", "samples.png", "| fid | 12.5 |", '"num": 500', "runs.from_pretrained("):
        assert part in body
    assert "CooperativeResNet.channels = 8" in body
    (code,) = [part.split("```")[0] for part in text.split("```python\n")[1:]]
    assert len(code.strip().splitlines()) <= 5


def test_a_repository_in_the_cache_is_loaded_without_a_network(shared, tmp_path):
    commit = "0123456789abcdef0123456789abcdef01234567"
    place = tmp_path / "models--user--digits"
    shutil.copytree(shared, place / "snapshots" / commit)
    (place / "refs").mkdir()
    (place / "refs" / "main").write_text(commit)
    run = runs.from_pretrained("user/digits", cache_dir=tmp_path, local_files_only=True)
    assert run.step == 4 and run.weights == "ema"
    with pytest.raises(CheckpointError, match="user/other is not in the cache"):
        runs.from_pretrained("user/other", cache_dir=tmp_path, local_files_only=True)


@pytest.fixture
def hub():
    """A Hub on this machine that has nothing, or not for strangers."""

    class Refuses(BaseHTTPRequestHandler):
        def do_GET(self):
            missing = self.path.startswith("/api/models/user/missing")
            self.send_response(404 if missing else 401)
            self.send_header("X-Error-Code", "RepoNotFound")
            self.send_header("X-Error-Message", "Repository not found")
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_POST = do_HEAD = do_GET

        def log_message(self, *arguments):
            pass

    server = HTTPServer(("127.0.0.1", 0), Refuses)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("name", ["user/missing", "user/private"])
def test_a_missing_or_private_repository_is_one_line(hub, tmp_path, name):
    with pytest.raises(CheckpointError, match=f"{name} is not on the Hub, or is private") as caught:
        runs.from_pretrained(name, cache_dir=tmp_path, endpoint=hub, token="hf_none")
    assert "\n" not in str(caught.value)


def test_pushing_without_leave_is_one_line(shared, hub):
    with pytest.raises(CheckpointError, match="user/digits") as caught:
        runs.from_pretrained(shared).push_to_hub("user/digits", num_samples=0, token="hf_none", endpoint=hub)
    assert "hf auth login" in str(caught.value)


def test_what_cannot_be_shared_is_told(tiny_run, shared, tmp_path):
    run = runs.load(tiny_run)
    with pytest.raises(CheckpointError, match="holds something already"):
        run.save_pretrained(shared)
    with pytest.raises(ConfigurationError, match="share its runs one by one"):
        run.composed_with([runs.load(tiny_run)], [0.5, 0.5]).save_pretrained(tmp_path / "new")
    with pytest.raises(CheckpointError, match="neither a folder nor a name on the Hub"):
        runs.from_pretrained("no/such/folder")


def test_last_weights_and_the_tasks(tiny_run, tmp_path, capsys):
    words = ["--run", str(tiny_run), "--num", "0"]
    assert (
        launch.main(["--task", "export", *words, "--weights", "live", "--output", str(tmp_path / "a")]) == 0
    )
    run = runs.from_pretrained(tmp_path / "a")
    assert run.weights == "live" and not (tmp_path / "a" / "samples.png").exists()
    assert torch.equal(run.generate(2).x, runs.load(tiny_run, weights="live").generate(2).x)
    assert launch.main(["--task", "push", *words]) == 2
    assert "--to user/name" in capsys.readouterr().err
