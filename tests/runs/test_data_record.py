"""A run knows its data again: their number, their classes' names and every one of them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from PIL import Image

import launch
from modules import runs
from modules.core.checks import CheckpointError, DataError
from modules.data import Digits, MemoryExamples
from modules.runs.data_record import DataRecord, check_data, told
from tests.tiny import TINY


def _pets(folder: Path) -> Path:
    """Twelve class folders called 0..11, two pictures each, as grey as their class's number says."""
    for number in range(12):
        (folder / str(number)).mkdir(parents=True)
        for name in ("a.png", "b.png"):
            Image.new("L", (8, 8), 20 * number).save(folder / str(number) / name)
    return folder


def _train(folder: Path, source: str, *words: str) -> int:
    settings = [
        *("Trainer.data=@HuggingFaceData()", f'HuggingFaceData.source="{source}"', "NUM_STEPS=1"),
        *("HuggingFaceData.shape=%SHAPE", "HuggingFaceData.num_classes=%NUM_CLASSES", "NUM_CLASSES=12"),
        "Trainer.sample_every=0",
    ]
    (folder.parent / "tiny.gin").write_text(TINY)
    options = [word for setting in settings for word in ("--set", setting)]
    return launch.main(["--gin", str(folder.parent / "tiny.gin"), "--output", str(folder), *options, *words])


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    """A folder with the pictures `pets` and the run `run`, started there by a relative path."""
    place = tmp_path_factory.mktemp("records")
    _pets(place / "data" / "pets")
    with pytest.MonkeyPatch.context() as patched:
        patched.chdir(place)
        assert _train(place / "run", "data/pets") == 0
    return place


@pytest.fixture
def copied(trained, tmp_path) -> Path:
    """The same with pictures of its own, at its own place."""
    place = Path(shutil.copytree(trained, tmp_path / "own"))
    for name in ("config.gin", "data.json"):
        file = place / "run" / name
        file.write_text(file.read_text().replace(str(trained), str(place)))
    return place


def _main(capsys, *words) -> tuple[int, str, str]:
    code = launch.main([str(word) for word in words])
    said = capsys.readouterr()
    return code, said.out, said.err


def test_what_a_run_was_trained_on_is_kept(trained):
    kept = json.loads((trained / "run" / "data.json").read_text())
    assert (kept["count"], kept["class_names"]) == (24, [str(n) for n in range(12)])
    assert kept["settings"]["source"] == str(trained / "data" / "pets")


def test_names_are_known_without_the_data(copied, capsys):
    """And win over numbers; what was drawn is named."""
    shutil.rmtree(copied / "data")
    (copied / "run" / "data.json").write_text(
        json.dumps({"count": 24, "class_names": ["cat", "7", *"abcdefghij"], "fingerprint": ""})
    )
    run = runs.load(copied / "run")
    assert [run.label_of(name) for name in ("cat", "7", "2", "j")] == [0, 1, 2, 11]
    words = ("--run", copied / "run", "--num", 1)
    code, out, _ = _main(capsys, "--task", "generate", *words, "--label", "7")
    assert code == 0 and out.startswith("1 samples of class 1 (7) of step 1 by ")
    code, out, _ = _main(
        capsys, "--task", "compose", *words, "--labels", "cat", "j", "--output", copied / "c"
    )
    assert code == 0 and out.startswith("1 samples of 0 (cat), 11 (j) of step 1 by ")
    assert json.loads((copied / "c" / "compose.json").read_text())["labels"] == [
        ["0 (cat)", 1.0],
        ["11 (j)", 1.0],
    ]
    code, _, err = _main(capsys, "--task", "generate", *words, "--label", "cta")
    assert code == 2 and "no class is named 'cta'. Did you mean 'cat'?" in err


def _rename(pets: Path) -> None:
    (pets / "0").rename(pets / "zebra")


def _delete(pets: Path) -> None:
    (pets / "3" / "a.png").unlink()


def _replace(pets: Path) -> None:
    Image.new("L", (8, 8), 255).save(pets / "3" / "a.png")


CHANGES = {
    "renamed": (_rename, "class 0 was '0' and is '1'; class 1 was '1' and is '2'"),
    "deleted": (_delete, "24 examples then, 23 now"),
    "replaced": (_replace, "as many examples, but others, or others of their labels"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_other_data_are_refused_unless_allowed(copied, capsys, change):
    make, words = CHANGES[change]
    make(copied / "data" / "pets")
    run = copied / "run"
    code, _, err = _main(capsys, "--output", run, "--resume")
    assert code == 2 and words in err and "--allow-changes" in err and err.count("\n") == 1
    inpaint = ("--task", "inpaint", "--run", run, "--mask", "left", "--num", 1, "--output", copied / "x")
    code, _, err = _main(capsys, *inpaint)
    assert code == 2 and words in err and not (copied / "x").exists()
    code, out, _ = _main(capsys, "--task", "verify", "--run", run, "--data")
    assert code == 1 and words in out
    assert _main(capsys, *inpaint, "--allow-changes")[0] == 0
    code, out, _ = _main(capsys, "--output", run, "--resume", "--allow-changes")
    assert code == 0 and f"images in 12 classes from {copied}/data/pets (train)" in out
    assert runs.load(run).open_data().fingerprint == DataRecord.read(run).fingerprint  # what it is now


def test_data_named_anew_are_the_users_word(copied, caplog):
    _delete(copied / "data" / "pets")
    run = runs.load(copied / "run", overrides=["HuggingFaceData.max_bad_images=1"])
    assert len(run.open_data()) == 23
    assert "24 examples then, 23 now" in caplog.text


def test_a_start_says_what_is_left_out(copied, capsys):
    (copied / "data" / "pets" / "notes.txt").write_text("words")
    code, out, _ = _main(capsys, "--output", copied / "run", "--resume")
    assert (
        code == 0 and f"24 images in 12 classes from {copied}/data/pets (train)\nleft out: notes.txt (" in out
    )


def test_what_a_start_says():
    assert told(Digits(10), Digits(10).open()) == "1,437 images in 10 classes from Digits"
    assert told(Digits(), Digits().open()) == "1,437 images without labels from Digits"


def test_a_run_without_a_record(tmp_path, caplog):
    """Is from before; only an order of classes that may have changed is refused."""
    names = [str(n) for n in range(12)]
    examples = MemoryExamples(torch.zeros(12, 2), torch.arange(12), names)
    record = DataRecord.of(Digits(), examples)
    with pytest.raises(DataError, match="class 2 may have been '10' and is '2' now"):
        check_data(tmp_path, None, record, False)
    check_data(tmp_path, None, record, True)
    examples.class_names = ["cat", "dog"]
    check_data(tmp_path, DataRecord.read(tmp_path), DataRecord.of(Digits(), examples), False)
    assert f"{tmp_path} has no data.json" in caplog.text


@pytest.mark.parametrize("text", ["[]", "{}", '{"count": 1, "class_names": [2], "fingerprint": ""}', "{"])
def test_a_broken_record_is_named(tmp_path, text):
    (tmp_path / "data.json").write_text(text)
    with pytest.raises(CheckpointError, match=r"data\.json"):
        DataRecord.read(tmp_path)
