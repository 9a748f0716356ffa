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
from modules.schedules.cosine import CosineSchedule
from modules.storage import checkpoints
from tests.golden_weights import golden, golden_label

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
