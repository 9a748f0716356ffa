"""Every runnable gin file: its head, its paper-size networks, and a step and samples of it built tiny."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

from modules import config
from modules.initializers.copy import CopyInitializer
from modules.sampling.draw import Draw
from modules.sampling.indexed import sample
from modules.training.recipe import Recipe
from modules.training.state import Training
from modules.training.trainer import Trainer

torch.set_num_threads(1)

ROOT = Path(__file__).resolve().parents[1]
FILES = sorted((ROOT / "gin").glob("*.gin"))
every_file = pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)

# What makes a configuration small, by the component that it builds.
SHRINK = {
    "RecoveryLikelihood": ["Trainer.num_steps=1", "Trainer.batch_size=4", "Trainer.per_device_batch_size=2"],
    "OneEnergy": ["Trainer.num_steps=1", "Trainer.batch_size=4", "Trainer.per_device_batch_size=2"],
    "RecoveryContrast": ["RecoveryContrast.first_step=0"],
    "FokkerPlanck": ["FokkerPlanck.first_step=0"],
    "LinearSchedule": ["LinearSchedule.num_levels=4"],
    "UNetEnergy": ["UNetEnergy.dim=8", "UNetEnergy.num_blocks=1", "UNetEnergy.groups=4"],
    "CooperativeResNet": ["CooperativeResNet.channels=8", "CooperativeResNet.num_blocks=1"],
    "RecoveryResNet": ["RecoveryResNet.channels=8", "RecoveryResNet.num_blocks=1"],
    "DenseResNet": ["DenseResNet.width=8", "DenseResNet.width_mult=(1, 2)"],
    "MLPEnergy": ["MLPEnergy.width=8", "MLPEnergy.depth=1"],
    "UNet": ["UNet.dim=8", "UNet.num_blocks=1", "UNet.groups=4"],
    "MLPInitializer": ["MLPInitializer.width=32", "MLPInitializer.depth=1"],
    "Langevin": ["Langevin.num_steps=1"],
    "WarmStart": ["WarmStart.num_steps=1", "WarmStart.energy_start=0"],
}
COLUMNS = {
    "uoft-cs/cifar10": ("img", 10),
    "benjamin-paine/imagenet-1k-32x32": ("image", 1000),
    "ylecun/mnist": ("image", 10),
    "ufldl-stanford/svhn": ("image", 10),
    "tglcourse/lsun_church_train": ("image", 0),
    "pcuenq/lsun-bedrooms": ("image", 0),
    "flwrlabs/celeba": ("image", 0),
}
"""Of the sets on the Hub: the column of images, and the number of classes in "label"; 0: no such column."""

# CelebA's attributes, a boolean column each
_ATTRIBUTES = (
    "5_o_Clock_Shadow Arched_Eyebrows Attractive Bags_Under_Eyes Bald Bangs Big_Lips Big_Nose "
    "Black_Hair Blond_Hair Blurry Brown_Hair Bushy_Eyebrows Chubby Double_Chin Eyeglasses Goatee "
    "Gray_Hair Heavy_Makeup High_Cheekbones Male Mouth_Slightly_Open Mustache Narrow_Eyes No_Beard "
    "Oval_Face Pale_Skin Pointy_Nose Receding_Hairline Rosy_Cheeks Sideburns Smiling Straight_Hair "
    "Wavy_Hair Wearing_Earrings Wearing_Hat Wearing_Lipstick Wearing_Necklace Wearing_Necktie Young "
)
CELEBA = _ATTRIBUTES.split()

# Parameters of the networks at the papers' sizes: the published ones of 32x32 (spec §7: 34.8M and 3.8M).
# DRL's head has a bias for each of the 256 channels. Labels of ImageNet add a dense layer of 1001 to 512
# to the energy; its U-Net has a block less a level.
PAPER = {
    "cdrl_cifar10": (34_833_152, 3_769_795),
    "drl_cifar10": (34_833_152 + 256, 0),
    "cdrl_imagenet32": (34_833_152 + 1001 * 512 + 512, 3_181_443),
    "cdrl_imagenet32_uncond": (34_833_152, 3_181_443 - 1001 * 256 - 256),
}


@every_file
def test_the_head_says_purpose_command_expectation_and_source(path):
    lines = path.read_text(encoding="utf-8").splitlines()
    head = lines[: next(n for n, line in enumerate(lines) if not line.startswith("#"))]
    assert len(head) >= 3 and len(head[0]) > 20 and "launch.py" not in head[0]
    text = "\n".join(head)
    assert f"launch.py --gin gin/{path.name}" in text
    assert "Expect" in text and "Numbers:" in text


@every_file
def test_built_tiny_it_trains_and_samples(path, tmp_path, monkeypatch):
    loaded = config.load([path], _overrides(path, tmp_path, monkeypatch))
    trainer: Trainer = loaded.build("Trainer")
    loaded.check_used()
    _is_told_again(trainer)
    training = Training(trainer.method, trainer.optimizers, trainer.ema, trainer.runtime, trainer.seed)
    before = {name: _parameters(network) for name, network in training.networks.items()}
    rows = trainer.micro_rows()
    data = trainer.stream(trainer.data.open()).iterate(0, rows)
    for _ in range(2):  # the papers' first update of an energy has rate 0
        training.step(next(data), rows)
    for name, network in training.networks.items():
        after = _parameters(network)
        assert after.isfinite().all() and not torch.equal(after, before[name]), name

    networks = trainer.method.models(training.ready_averages())
    classes = networks.energy.num_classes
    assert classes == trainer.data.num_classes
    draw = Draw.of_seed(0, 2, torch.tensor([0, classes - 1]) if classes else None)
    drawn = sample(trainer.generation, networks, draw, trainer.runtime)
    assert drawn.x.shape == (2, *trainer.data.shape) and drawn.x.isfinite().all()
    assert len(drawn.levels) == trainer.method.schedule.num_levels + 1


def _is_told_again(trainer: Trainer) -> None:
    """What a run of these objects would leave in its folder makes them again: networks of the same weights'
    names and shapes, and all settings."""
    recipe = Recipe(trainer)
    again: Trainer = config.load_text(recipe.text, imports=recipe.imports, trusted=True).build("Trainer")
    assert Recipe(again).text == recipe.text
    one, other = ({n: v.shape for n, v in t.method.state_dict().items()} for t in (trainer, again))
    assert one == other


@pytest.mark.parametrize("name", PAPER)
def test_paper_size_networks_have_the_published_parameters(name):
    loaded = config.load([ROOT / "gin" / f"{name}.gin"])
    with torch.device("meta"):
        networks = [loaded.value(f"RecoveryLikelihood.{part}") for part in ("energy", "initializer")]
    assert tuple(sum(p.numel() for p in network.parameters()) for network in networks) == PAPER[name]
    assert isinstance(networks[1], CopyInitializer) == name.startswith("drl")


def test_every_part_is_in_use():
    """Parts that no runnable file includes would rot; data sets are for the users' own."""
    included = set()
    waiting = list(FILES)
    while waiting:
        for name in re.findall(r'^include "(.+)"', waiting.pop().read_text(encoding="utf-8"), re.M):
            included.add(name)
            waiting.append(ROOT / "gin" / name)
    parts = {str(p.relative_to(ROOT / "gin")) for p in (ROOT / "gin").glob("*/*.gin")}
    assert {part for part in parts - included if not part.startswith("data/")} == set()


def _overrides(path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    text = config.load([path]).text
    built = set(re.findall(r"@(?:\w+/)*(\w+)\(\)", text))
    overrides = [line for name in sorted(built & set(SHRINK)) for line in SHRINK[name]]
    assert built & {"CooperativeResNet", "RecoveryResNet", "DenseResNet", "MLPEnergy", "UNetEnergy"}, (
        "an energy that SHRINK leaves out"
    )
    source = re.search(r'^HuggingFaceData\.source = [\'"](.+)[\'"]', text, re.M)
    if source:
        monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", folder / "cache")
        write_parquet(folder / "train.parquet", source[1])
        overrides.append(f'HuggingFaceData.source="{folder / "train.parquet"}"')
    return overrides


def write_parquet(path: Path, source: str) -> None:
    """Eight grey pictures with the columns of a set on the Hub."""
    import datasets

    column, num_classes = COLUMNS[source]
    digits = datasets.Dataset.from_parquet(str(ROOT / "modules" / "data" / "digits.parquet"))[:8]
    features = {column: datasets.Image()}
    rows: dict[str, list] = {column: digits["image"]}
    if num_classes:
        features["label"] = datasets.ClassLabel(num_classes=num_classes)
        rows["label"] = list(range(8))
    if source == "flwrlabs/celeba":
        features |= dict.fromkeys(CELEBA, datasets.Value("bool"))
        rows |= {name: [i % 2 == 0, *[True] * 3, *[False] * 4] for i, name in enumerate(CELEBA)}
    datasets.Dataset.from_dict(rows, features=datasets.Features(features)).to_parquet(str(path))


def test_a_recipe_takes_the_data_of_another():
    """Such as T1k of a set that has no file of its own: the later file has the last word."""
    built = config.load([ROOT / "gin/drl_t1k_cifar10.gin", ROOT / "gin/data/celeba64.gin"])
    with torch.device("meta"):
        energy = built.value("OneEnergy.energy")
    assert energy.shape == (3, 64, 64) == built.value("Trainer.data").shape
    assert built.value("HuggingFaceData.source") == "flwrlabs/celeba"


def _parameters(network: torch.nn.Module) -> torch.Tensor:
    return torch.cat([p.flatten() for p in network.parameters()]).detach()
