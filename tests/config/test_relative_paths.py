"""Paths in a configuration mean the same files wherever the run is used later."""

from __future__ import annotations

from pathlib import Path

from modules import config

TEXT = """\
SOURCE = "data/pets"
NAME = %SOURCE
OTHER = "data/pets"
Trainer.data = @HuggingFaceData()
HuggingFaceData.source = %NAME
HuggingFaceData.shape = (1, 8, 8)
inliers/HuggingFaceData.source = "~/pets"
outliers/HuggingFaceData.source = "nobody/pets"
HuggingFaceData.split = "data"
Evaluation.statistics = "known.npz"
InceptionV3.weights = "/nowhere/known.npz"
ModuleFeatures.weights = None
"""


def test_what_is_there_becomes_absolute(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for folder in ("data/pets", "home/pets"):
        Path(folder).mkdir(parents=True)
    Path("known.npz").touch()
    built = config.load_text(TEXT, ['far/HuggingFaceData.source="data"'])
    wanted = {
        "SOURCE": tmp_path / "data" / "pets",
        "OTHER": "data/pets",  # no path, for all that is known
        "inliers/HuggingFaceData.source": tmp_path / "home" / "pets",
        "outliers/HuggingFaceData.source": "nobody/pets",
        "far/HuggingFaceData.source": tmp_path / "data",
        "HuggingFaceData.split": "data",
        "Evaluation.statistics": tmp_path / "known.npz",
        "InceptionV3.weights": "/nowhere/known.npz",
    }
    lines = built.text.splitlines()
    assert [f"{name} = {str(value)!r}" in lines for name, value in wanted.items()] == [True] * len(wanted)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    assert config.load_text(built.text).text == built.text
    assert config.load_text(built.text).value("Trainer.data").source == str(tmp_path / "data" / "pets")
