"""Each part file of gin/data gives a data set, with and without labels."""

from pathlib import Path

import pytest
import torch

from modules import config
from modules.data import Data, TrainingStream

FOLDER = Path(__file__).parents[2] / "gin" / "data"
CLASSES = {
    "digits": 10,
    "shapes": 14,
    "checkerboard": 8,
    "mixture": 8,
    "rings": 2,
    "cifar10": 10,
    "mnist": 10,
    "imagenet32": 1000,
    "celeba64": 6,
    "svhn": 10,
    "lsun_church": 0,
    "lsun_bedroom": 0,
}
EMBEDDED = ("digits", "shapes", "checkerboard", "mixture", "rings")


def load(name: str, *overrides: str) -> tuple[Data, config.Config]:
    loaded = config.load([FOLDER / f"{name}.gin"], overrides)
    return loaded.value("Trainer.data"), loaded


def test_every_file_is_known_here():
    assert {path.stem for path in FOLDER.glob("*.gin")} == set(CLASSES)


@pytest.mark.parametrize("name", CLASSES)
def test_shape_and_classes_follow_the_macros(name):
    data, loaded = load(name)
    assert data.shape == loaded.value("SHAPE") and data.num_classes == 0
    conditional, _ = load(name, f"NUM_CLASSES = {CLASSES[name]}")
    assert conditional.num_classes == CLASSES[name]


@pytest.mark.parametrize("name", EMBEDDED)
def test_embedded_sets_give_batches_with_every_label(name):
    examples = load(name, f"NUM_CLASSES = {CLASSES[name]}")[0].open()
    stream = TrainingStream(examples, 128, seed=0)
    batches = [stream.batch(step, range(128)) for step in range(4)]
    labels = torch.cat([batch.label for batch in batches])
    assert batches[0].image.shape == (128, *examples.shape)
    assert (
        labels.unique().tolist() == list(range(CLASSES[name])) and len(examples.class_names) == CLASSES[name]
    )


@pytest.mark.parametrize("name", sorted(set(CLASSES) - set(EMBEDDED)))
def test_one_override_leads_to_local_files(name, tmp_path, monkeypatch):
    """A set with the Hub's columns, in a folder."""
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.chdir(tmp_path)
    columns = {
        "cifar10": {"img": datasets.Image(), "label": datasets.ClassLabel(num_classes=10)},
        "svhn": {"image": datasets.Image(), "label": datasets.ClassLabel(num_classes=10)},
        "lsun_church": {"image": datasets.Image()},
        "lsun_bedroom": {"image": datasets.Image()},
        "mnist": {"image": datasets.Image(), "label": datasets.ClassLabel(num_classes=10)},
        "imagenet32": {"image": datasets.Image(), "label": datasets.ClassLabel(num_classes=1000)},
        "celeba64": {
            "image": datasets.Image(),
            "celeb_id": datasets.Value("int64"),
            **dict.fromkeys(("Bald", "Smiling", "Male", "Young"), datasets.Value("bool")),
        },
    }[name]
    digits = datasets.Dataset.from_parquet(str(Path(config.__file__).parents[1] / "data" / "digits.parquet"))[
        :4
    ]
    rows = {c: digits["image"] if c in ("img", "image") else [0, 1, 1, 0] for c in columns}
    Path("set").mkdir()
    datasets.Dataset.from_dict(rows, features=datasets.Features(columns)).to_parquet("set/train.parquet")
    source = 'HuggingFaceData.source = "set"'
    examples = load(name, source, f"NUM_CLASSES = {CLASSES[name]}")[0].open()
    image, labels = examples.rows(torch.arange(4))
    assert image.shape == (4, *examples.shape) and len(examples.class_names) == CLASSES[name]
    if CLASSES[name] == 0:
        assert (labels == -1).all()
        return
    first = [0, 2, 4] if name == "celeba64" else [0]
    assert labels.tolist() == [first, [i + 1 for i in first], [i + 1 for i in first], first]
