"""`--task likelihood`: three ways, every term, what they say of each other; annealing goes on."""

from __future__ import annotations

import csv
import json
import math
import shutil

import pytest
import torch

import launch
from modules import runs
from modules.core.checks import ConfigurationError
from modules.core.noise import Noise
from modules.data.quantization import dequantized

torch.set_num_threads(1)

SHORT = ["--num", "12", "--levels", "3", "--chains", "4", "--bridges", "1"]
SHORT += ["--set", "annealing/Hamiltonian.num_leapfrog=1"]


def _run(run, output, *options: str) -> int:
    command = ["--task", "likelihood", "--run", str(run), "--output", str(output), *SHORT, *options]
    return launch.main(command)


def _table(folder) -> list[dict[str, str]]:
    with (folder / "likelihood.csv").open() as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("moves", ["proposals", "chains"])
def test_every_way_and_every_term(one_run, tmp_path, capsys, moves):
    options = ["--moves", moves] if moves == "chains" else []  # the run has proposals
    assert _run(one_run, tmp_path / "out", *options) == 0
    printed = capsys.readouterr().out
    for words in ("x is dequantized", "+3.0000", "log2 √ᾱ", "effective chains", "low on average"):
        assert words in printed
    table, written = _table(tmp_path / "out"), json.loads((tmp_path / "out" / "likelihood.json").read_text())
    assert len(table) == 12 and [int(row["index"]) for row in table[:2]] == [0, 30]  # of 360 held-out digits

    run = runs.load(one_run)
    rows = torch.arange(12) * 30
    images = run.data.with_split("test").open().rows(rows)[0]
    x = dequantized(images, 17, Noise(0, rows, stream="likelihood"))
    expected = -run.log_prob(x)
    values = {name: torch.tensor([float(row[name]) for row in table]) for name in table[0] if "_" in name}
    torch.testing.assert_close(values["evaluation_nats"].double(), expected, rtol=1e-4, atol=1e-3)
    bits = expected / (64 * math.log(2)) + 3  # log2 √ᾱ is 4e-5
    torch.testing.assert_close(values["evaluation_bits_per_dim"].double(), bits, rtol=1e-3, atol=1e-3)
    assert values["denoising_nats"].isfinite().all() and values["annealing_nats"].isfinite().all()

    # U = E/σ̄ + ℓ + c - C; annealing has log Z in the place of the last three
    parts, z = written["normalization"], written["log_z"]
    assert written["unnormalized"][0] + sum(parts.values()) == pytest.approx(float(expected.mean()), abs=1e-2)
    assert written["figures"]["annealing"]["nats"] == pytest.approx(written["unnormalized"][0] + z["value"])
    assert z["value"] == pytest.approx((z["forward"]["value"] + z["reverse"]["value"]) / 2)
    for name, one in written["differences"].items():
        first, _, second = name.partition(" - ")
        difference = written["figures"][first]["nats"] - written["figures"][second]["nats"]
        assert one["nats"] == pytest.approx(difference, abs=1e-6)
        assert one["agree"] == (abs(one["nats"]) <= 2 * one["error"])
        word = "agree" if one["agree"] else "DISAGREE"
        assert f"{first} and {second} {word}" in printed
    assert len(written["differences"]) == 3


def test_annealing_goes_on_where_it_was_stopped(one_run, tmp_path):
    def log_z() -> dict:
        return json.loads((tmp_path / "out" / "likelihood.json").read_text())["log_z"]

    options = ["--by", "annealing", "--batch-size", "2", "--ladder", "3"]
    assert _run(one_run, tmp_path / "out", *options) == 0
    whole, kept = log_z(), tmp_path / "out" / "annealing"
    names = sorted(path.name for path in kept.iterdir())
    assert names == [f"{way}_{i}.safetensors" for way in ("forward", "reverse") for i in (0, 2)] + [
        "steps.safetensors"
    ]
    times = {name: (kept / name).stat().st_mtime_ns for name in names}
    (kept / "reverse_2.safetensors").unlink()
    assert _run(one_run, tmp_path / "out", *options) == 0
    assert log_z() == whole
    assert (kept / "forward_0.safetensors").stat().st_mtime_ns == times["forward_0.safetensors"]
    # other settings overlook what is kept
    other = tmp_path / "other"
    shutil.copytree(kept, other / "annealing")
    assert _run(one_run, other, *options, "--chains", "2") == 0
    assert json.loads((other / "likelihood.json").read_text())["log_z"] != whole
    (kept / "steps.safetensors").write_bytes(b"broken")
    assert _run(one_run, tmp_path / "out", *options) == 2


def test_published_energies_are_annealed_alone(tiny_run, tmp_path, capsys):
    assert _run(tiny_run, tmp_path / "out", "--split", "train") == 0
    printed = capsys.readouterr().out
    assert "annealing: -log p(x_0)" in printed and "bits come out too good" in printed
    assert set(_table(tmp_path / "out")[0]) == {"index", "label", "annealing_nats", "annealing_bits_per_dim"}
    for way, reason in (("evaluation", "doesn't know its normalizing"), ("denoising", "isn't the noise")):
        assert _run(tiny_run, tmp_path / "no", "--by", way) == 2
        error = capsys.readouterr().err
        assert error.count("\n") == 1 and reason in error and "--by annealing" in error
    assert not (tmp_path / "no").exists()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--num", "0"], "--num must be at least 1"),
        (["--split", "tset"], "--split must be one of 'train', 'test', 'all', got 'tset'"),
        (["--chains", "1"], "raise --chains"),
        (["--moves", "proposals"], "take --moves chains"),
    ],
)
def test_faults_are_one_line(tiny_run, tmp_path, capsys, options, words):
    assert _run(tiny_run, tmp_path / "out", *options) == 2
    assert words in capsys.readouterr().err.splitlines()[-1]


def test_log_prob_says_what_it_needs(one_run, tiny_run):
    images = torch.zeros(3, 1, 8, 8)
    run = runs.load(one_run)
    by_class = run.log_prob(images, label=[3, 5, -1])
    assert by_class.dtype == torch.float64 and by_class.shape == (3,) and len(by_class.unique()) == 3
    assert torch.equal(run.log_prob(images, batch_size=2)[2], run.log_prob(images)[2])
    assert by_class[2] == pytest.approx(float(run.log_prob(images)[2]), rel=1e-5)
    grey = torch.full((3, 1, 8, 8), 51, dtype=torch.uint8)  # bytes are brought to [-1, 1]
    assert torch.equal(run.log_prob(grey), run.log_prob(torch.full((3, 1, 8, 8), 51 / 127.5 - 1)))
    for wrong, model, words in (
        (torch.zeros(3, 8, 8), run, r"\(n, 1, 8, 8\), the model's shape, got \(3, 8, 8\)"),
        (images + 255, run, r"\[-1, 1\]"),
        (images / 0, run, "not finite"),
        (images, runs.load(tiny_run), "--by annealing"),
    ):
        with pytest.raises(ConfigurationError, match=words):
            model.log_prob(wrong)
