"""Checkpoints in the published layout become runs: the recorded networks' numbers come out of them again."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

import launch
from modules import published, runs
from modules.config import load
from modules.energies.recovery import energy_and_grad
from modules.layers.spectral import converge
from modules.schedules.cosine import CosineSchedule
from modules.storage import checkpoints
from tests.golden_weights import golden, golden_label
from tests.test_gin_files import write_parquet

ROOT = Path(__file__).resolve().parents[2]
SIZES = [
    *("NUM_CLASSES=10", "CooperativeResNet.channels=16", "CooperativeResNet.num_blocks=1"),
    *("UNet.dim=32", "UNet.dim_mults=(1, 1)", "UNet.num_blocks=1"),
]
MOVED = 1.5


def _group(recorded: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {f"module.{k.removeprefix(prefix)}": v for k, v in recorded.items() if k.startswith(prefix)}


def _published(live: str) -> dict:
    """The published layout: the recorded weights are the last ones, or the averages; the others are moved."""
    recorded, content = golden("cdrl_cond"), {}
    for group, prefix in (("pi", "ebm."), ("p", "unet.")):
        weights = _group(recorded, prefix)
        parameters = [name for name in weights if not name.endswith((".weight_u", ".weight_v"))]
        shadow = [weights[name].clone() for name in parameters]
        if live == "weights":
            shadow = [value * MOVED for value in shadow]
        else:
            weights |= {name: weights[name] * MOVED for name in parameters}
        content[f"{group}_state_dict"] = weights
        content[f"{group}_ema_state_dict"] = {
            "decay": 0.9999,
            "num_updates": 7,
            "shadow_params": shadow,
            "collected_params": None,
        }
        state = {
            i: {"step": 7, "exp_avg": torch.full_like(value, i), "exp_avg_sq": value**2}
            for i, value in enumerate(shadow)
        }
        content[f"{group}_optimizer"] = {"state": state, "param_groups": [{"lr": 1e-4}]}
    return content


def _imported(folder: Path, content: object, sizes: list[str] = SIZES) -> tuple[int, Path]:
    torch.save(content, folder / "Cifar_10_best.pth.tar")
    words = ["--task", "import", "--from", str(folder / "Cifar_10_best.pth.tar")]
    words += ["--gin", str(ROOT / "gin/cdrl_cifar10.gin"), "--output", str(folder / "run")]
    return launch.main([*words, *(w for size in sizes for w in ("--set", size))]), folder / "run"


@pytest.mark.parametrize("which", ["weights", "averages"])
def test_the_recorded_numbers_come_out_again(tmp_path, which):
    code, folder = _imported(tmp_path, _published(which))
    assert code == 0
    recorded = golden("cdrl_cond")
    run = runs.load(folder, weights="live")
    assert run.step == 7
    tensors, _ = checkpoints.load(checkpoints.latest(folder))
    group = "" if which == "weights" else "_ema"
    # as they lie in the checkpoint: a run of averages first iterates their spectral norms to convergence
    run.energy.load_state_dict(tensors[f"energy{group}"])
    run.initializer.load_state_dict(tensors[f"initializer{group}"])
    label, levels = golden_label(recorded["in.label"]), CosineSchedule().transition(recorded["in.t"])
    transition = replace(levels, logsnr_s=recorded["in.logsnr_prev"])  # of the published float32
    energy, grad = energy_and_grad(run.energy.at(transition, label), recorded["in.x"])
    for found, wanted in (
        (-energy, recorded["out.f"]),
        (-grad, recorded["out.grad_f"]),
        (run.initializer.mean(recorded["in.x"], transition, label), recorded["out.unet"]),
    ):
        assert (found - wanted).norm() < 1e-5 * wanted.norm()


def test_it_can_be_verified_and_sampled_and_is_not_written_over(tmp_path, capsys):
    _, folder = _imported(tmp_path, _published("averages"))
    assert launch.main(["--task", "verify", "--run", str(folder)]) == 0
    assert runs.load(folder).generate(2, label=3, guidance=1.0).x.isfinite().all()
    tensors, state = checkpoints.load(checkpoints.latest(folder))
    assert state["updates"] == {"energy": 7, "initializer": 7}
    names = list(runs.load(folder).energy.state_dict())
    order = list(_published("averages")["pi_state_dict"])
    order = [name for name in order if not name.endswith((".weight_u", ".weight_v"))]
    first = [name for name in names if not name.endswith((".u", ".v"))].index("head.weight")
    # parameters are numbered in an order of their own in both
    assert (tensors["energy_optimizer"][f"{first}.exp_avg"] == order.index("module.temb_final.weight")).all()
    capsys.readouterr()
    assert _imported(tmp_path, _published("averages"))[0] == 2
    assert "holds a run already" in capsys.readouterr().err


@pytest.fixture
def pictures(tmp_path, monkeypatch) -> str:
    """A setting that names eight pictures of CIFAR-10's columns."""
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    write_parquet(tmp_path / "train.parquet", "uoft-cs/cifar10")
    return f'HuggingFaceData.source="{tmp_path / "train.parquet"}"'


@pytest.mark.parametrize("optimizers", [True, False], ids=["with optimizers", "without"])
def test_it_is_trained_further(tmp_path, pictures, capsys, optimizers):
    content = _published("averages")
    for group in ("pi", "p"):
        if not optimizers:
            del content[f"{group}_optimizer"]
    small = [*SIZES, "NUM_STEPS=9", "Trainer.batch_size=2", "LANGEVIN_STEPS=1", "Trainer.best=None"]
    code, folder = _imported(tmp_path, content, [*small, "Trainer.sample_every=0", pictures])
    told = capsys.readouterr().out
    assert code == 0 and f"launch.py --output {folder} --resume" in told
    assert ("the optimizer of the energy and the initializer" in told) == (not optimizers)
    assert launch.main(["--output", str(folder), "--resume"]) == 0
    before, _ = checkpoints.load(checkpoints.path_of(folder, 7))
    after, state = checkpoints.load(checkpoints.path_of(folder, 9))
    # new optimizers begin their warm-up, those of the file are past seven updates of it
    count = 9 if optimizers else 2
    assert state["updates"] == {"energy": count, "initializer": count}
    assert after["energy_optimizer"]["0.step"] == count
    for group in ("energy", "initializer", "energy_ema", "initializer_ema"):
        assert any(not torch.equal(value, before[group][name]) for name, value in after[group].items())


def test_a_finished_training_is_told_how_it_goes_on(tmp_path, capsys):
    assert _imported(tmp_path, _published("averages"), [*SIZES, "NUM_STEPS=7"])[0] == 0
    assert "import it with --set NUM_STEPS=N above 7" in capsys.readouterr().out


@pytest.mark.slow
def test_a_file_of_the_papers_size_is_taken_over_whole_and_trained_further(tmp_path, pictures):
    """34.8M and 3.8M random weights in the published layout: the same outputs, and a step further."""
    built = load([ROOT / "gin/cdrl_cifar10.gin"])
    energy, unet = (built.value(f"RecoveryLikelihood.{part}") for part in ("energy", "initializer"))
    converge(energy)  # as the averages' spectral norms are when they are taken over
    content = {}
    networks = {
        "pi": (energy, published.energy_names(energy), 34_833_152),
        "p": (unet, published.unet_names(unet), 3_769_795),
    }
    for group, (network, names, count) in networks.items():
        weights = {f"module.{names[key]}": value for key, value in network.state_dict().items()}
        vectors = (".weight_u", ".weight_v")
        parameters = [value for name, value in weights.items() if not name.endswith(vectors)]
        assert sum(value.numel() for value in parameters) == count
        state = {
            i: {"step": 7, "exp_avg": torch.zeros_like(v), "exp_avg_sq": v**2}
            for i, v in enumerate(parameters)
        }
        content |= {
            f"{group}_state_dict": weights,
            f"{group}_ema_state_dict": {"num_updates": 7, "shadow_params": [v.clone() for v in parameters]},
            f"{group}_optimizer": {"state": state, "param_groups": [{"lr": 1e-4}]},
        }
    small = ["NUM_STEPS=8", "Trainer.batch_size=1", "LANGEVIN_STEPS=1", "Trainer.sample_every=0"]
    code, folder = _imported(tmp_path, content, [*small, "Trainer.best=None", pictures])
    assert code == 0
    run = runs.load(folder)
    transition = CosineSchedule().transition(torch.tensor([2, 5]))
    x = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1
    ours, theirs = run.energy.at(transition), energy.eval().at(transition)
    assert torch.allclose(ours(x), theirs(x), rtol=1e-3)
    means = run.initializer.mean(x, transition), unet.eval().mean(x, transition)
    assert torch.allclose(*means, rtol=1e-5, atol=1e-5)
    assert launch.main(["--output", str(folder), "--resume"]) == 0
    tensors, state = checkpoints.load(checkpoints.latest(folder))
    assert state["step"] == 8
    moved = [not torch.equal(tensors["energy"][name], value) for name, value in energy.named_parameters()]
    assert any(moved)


def _code() -> dict:
    return {"pi_state_dict": Path}


FAULTS = {
    "other sizes": (lambda: _published("weights"), SIZES[:1], 'add --set "CooperativeResNet.channels=16"'),
    "no labels asked for": (lambda: _published("weights"), SIZES[1:], 'add --set "NUM_CLASSES=10"'),
    "another layout": (lambda: {"model": {}}, SIZES, "is not laid out as CDRL's published checkpoints"),
    "a list": (lambda: [1, 2], SIZES, "is not laid out as"),
    "code": (_code, SIZES, "holds more than weights"),
    "averages too few": (
        lambda: {**_published("weights"), "p_ema_state_dict": {"shadow_params": [], "num_updates": 1}},
        *(SIZES, "0 averages of"),
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_file_that_does_not_fit_is_told_in_a_line(tmp_path, capsys, fault):
    make, sizes, expected = FAULTS[fault]
    code, folder = _imported(tmp_path, make(), sizes)
    printed = capsys.readouterr().err
    assert code == 2 and expected in printed and printed.count("\n") == 1
    assert not folder.exists()


def test_options_that_are_missing_and_files_that_are_none(tmp_path, capsys):
    (tmp_path / "cut.pth.tar").write_bytes(b"PK\x03\x04 half a file")
    for words, expected in (
        (["--gin", "gin/cdrl_cifar10.gin"], "--from Cifar_10_best.pth.tar"),
        (["--from", "a.pth.tar"], "--gin gin/cdrl_cifar10.gin"),
        (["--from", str(tmp_path / "no.tar"), "--gin", "gin/cdrl_cifar10.gin"], "there is no such file"),
        (["--from", str(tmp_path / "cut.pth.tar"), "--gin", "gin/cdrl_cifar10.gin"], "cut.pth.tar"),
    ):
        assert launch.main(["--task", "import", "--output", str(tmp_path / "run"), *words]) == 2
        assert expected in capsys.readouterr().err


@pytest.mark.parametrize(
    "name, labels, blocks",
    [("cdrl_cifar10", 0, 3), ("cdrl_imagenet32", 1000, 2)],
    ids=["cifar10", "imagenet32"],
)
def test_the_papers_sizes_are_read_off_the_published_names(name, labels, blocks):
    built = load([ROOT / "gin" / f"{name}.gin"])
    with torch.device("meta"):
        energy, unet = (built.value(f"RecoveryLikelihood.{part}") for part in ("energy", "initializer"))
    for network, names, sizes, expected in (
        (energy, published.energy_names(energy), published.energy_sizes, (labels, 128, (1, 2, 2, 2), 8)),
        (unet, published.unet_names(unet), None, (labels, 64, (1, 1, 1), blocks, (16, 8))),
    ):
        tensors = {names[key]: value for key, value in network.state_dict().items()}
        assert len(tensors) == len(names) == len(network.state_dict())
        found = published.unet_sizes(tensors, 32) if sizes is None else sizes(tensors)
        assert tuple(found.values()) == expected
