"""The examples are short, and each does what it says."""

from __future__ import annotations

import importlib
import re
import shlex
from pathlib import Path

import pytest
import torch
from PIL import Image

import launch
from modules import runs

torch.set_num_threads(1)

ROOT = Path(__file__).resolve().parents[1]
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
SMALL = [
    "NUM_STEPS=2",
    "BATCH_SIZE=4",
    "Trainer.num_samples=4",
    "Trainer.sample_every=0",
    "Trainer.best=None",
]
SMALL += ["energy/AdamW.warmup_steps=0", "MLPEnergy.width=8"]
CDRL = ["initializer/AdamW.warmup_steps=0", "WARM_STEPS=1", "ENERGY_START=0", "UNet.dim=8", "UNet.groups=4"]


def test_they_are_short():
    lengths = {path.stem: len(path.read_text(encoding="utf-8").splitlines()) for path in EXAMPLES}
    assert len(lengths) == 5 and max(lengths.values()) < 80


def _trained(name: str, folder: Path, monkeypatch: pytest.MonkeyPatch, small: list[str]) -> runs.Run:
    """The run that an example's own command leaves, cut to two steps."""
    text = (ROOT / "examples" / f"{name}.py").read_text(encoding="utf-8")
    (command,) = re.findall(r"^accelerate launch launch.py (.*?)\n\n?(?:\"\"\"|`)", text, re.M | re.S)
    words = [w.replace("examples/", f"{ROOT}/examples/") for w in shlex.split(command.replace("\\\n", " "))]
    monkeypatch.chdir(folder)
    assert launch.main([*words, *(w for setting in small for w in ("--set", setting))]) == 0
    return runs.load(folder / words[words.index("--output") + 1])


def test_the_energy_trains_and_samples(tmp_path, monkeypatch):
    small = [*SMALL[:-1], "Evaluation.every=0", "LANGEVIN_STEPS=2"]
    run = _trained("vit_energy", tmp_path, monkeypatch, small)
    assert type(run.energy).__name__ == "VisionTransformerEnergy" and run.energy.head.weight.any()
    assert run.generate(2).x.isfinite().all()


def test_the_sampler_trains_and_samples(tmp_path, monkeypatch):
    small = [*SMALL, *CDRL, "Evaluation.every=0", "AnnealedLangevin.num_steps=2"]
    run = _trained("annealed_sampler", tmp_path, monkeypatch, small)
    assert type(run.method.sampler).__name__ == "AnnealedLangevin"


def test_the_pictures_are_read_with_their_classes(tmp_path, monkeypatch):
    for name, colour in (("cats", 255), ("dogs", 0)):
        (tmp_path / "PICTURES" / name).mkdir(parents=True)
        for i in range(2):
            Image.new("RGB", (20 + i, 16), (colour, 0, 0)).save(tmp_path / "PICTURES" / name / f"{i}.png")
    small = [*(s for s in SMALL if "best" not in s), *CDRL, "LANGEVIN_STEPS=2"]
    run = _trained("own_pictures", tmp_path, monkeypatch, small)
    examples = run.data.open()
    images, labels = examples.rows(torch.arange(4))
    assert run.data.class_names == ["cats", "dogs"] and labels[:, 0].tolist() == [0, 0, 1, 1]
    assert (images[:2, 0] == 1).all() and (images[2:, 0] == -1).all()


def test_the_loop_moves_both_networks():
    loop = importlib.import_module("examples.plain_loop")
    before, after = loop.train(0, 16), loop.train(2, 16)
    for name, network in after.networks().items():
        start = dict(before.networks()[name].named_parameters())
        assert any(not torch.equal(value, start[key]) for key, value in network.named_parameters()), name
    assert loop.draw(after, 8).isfinite().all()


def test_the_composition_is_of_both(tiny_run):
    compose = importlib.import_module("examples.compose_two").compose
    alone = runs.load(tiny_run).generate(2).x
    both = compose(tiny_run, tiny_run, (1.0, 1.0), 2)
    assert both.isfinite().all() and not torch.allclose(both, alone)
    assert torch.allclose(compose(tiny_run, tiny_run, (0.5, 0.5), 2), alone, atol=1e-4)
