"""The page of GPU figures: its commands are ones, and a part that fails or hangs leaves the others."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import launch
from benchmarks import gpu, score_step


def test_a_part_that_fails_or_takes_too_long_is_told_and_the_next_one_runs(tmp_path, monkeypatch):
    listed = [
        gpu.Part("Fails", ("-c 'print(1); exit(3)'",), 30),
        gpu.Part("Hangs", ("-c 'import time; print(2, flush=True); time.sleep(60)'", "-c 'print(9)'"), 3),
        gpu.Part("Works", ("""-c 'print("10%\\r20%\\rdone")'""",), 30),
    ]
    monkeypatch.setattr(gpu, "parts", lambda *_: listed)
    page = tmp_path / "page.md"
    assert gpu.main(["--output", str(page)]) == 1
    text = page.read_text()
    assert text.startswith("# Speed on ") and text.index("## Fails") < text.index("## Hangs")
    assert "1\nended with exit code 3\n" in text
    assert "2\nstopped: its 3 s were over\n" in text and "not run: no time was left" in text
    assert "\ndone\n" in text.split("## Works")[1] and "20%" not in text.split("## Works")[1].split("```")[1]


def test_what_is_run_fits_into_the_time_and_names_recipes_there_are(capsys):
    found = gpu.parts(Path("runs"), tiny=False, num_devices=2)
    assert sum(part.seconds for part in found) < 26 * 60
    for part in [*found, *gpu.parts(Path("runs"), tiny=True, num_devices=1)]:
        for command in part.commands:
            words = command.split()
            if "--gin" in words:
                assert words[words.index("--gin") + 1] in launch.gin_files()
            elif words[0] == "-m":
                assert (Path(launch.__file__).parent / f"{words[1].replace('.', '/')}.py").exists() or (
                    words[1] == "torch.distributed.run"
                )


def test_a_short_run_of_the_tiny_recipe_is_one(capsys):
    (part,) = [p for p in gpu.parts(Path("runs"), tiny=True, num_devices=1) if "one_digits" in p.title]
    words = [word.strip("'") for word in part.commands[0].split()[1:]]
    assert launch.main([*words, "--dry-run"]) == 0
    assert "Trainer.num_steps = 2" in capsys.readouterr().out


def test_steps_of_denoiser_and_energy_are_compared(capsys):
    score_step.main(["--sizes", "digits", "--batch-size", "2", "--rounds", "1", "--precision", "bf16"])
    rows = capsys.readouterr().out.splitlines()
    assert [row.split("  ")[1] for row in rows] == [
        "denoiser: ms",
        "denoiser, plain",
        "energy, plain",
        "energy, with level, plain",
    ]
    assert rows[1].endswith("1.00 (1.00-1.00)")


@pytest.mark.slow
def test_the_tiny_page_is_whole(tmp_path):
    """Every command of it in a process of its own, on whatever machine this is; no part fails."""
    page = tmp_path / "page.md"
    code = gpu.main(["--output", str(page), "--tiny", "--minutes", "20"])
    text = page.read_text()
    assert code == 0 and "exit code" not in text and "were over" not in text, text
    titles = [part.title for part in gpu.parts(tmp_path, True, torch.cuda.device_count())]
    assert [line[3:] for line in text.split("\n") if line.startswith("## ")] == titles
    assert "chain" in text and "denoiser, plain" in text and "4 samples" in text
