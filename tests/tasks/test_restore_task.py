"""`--task restore` measures images, restores them and says how well; faults are one line."""

from __future__ import annotations

import json

import pytest
import torch

import launch
from modules import runs
from modules.core.checks import ConfigurationError
from modules.samplers.adjusted_langevin import AdjustedLangevin
from modules.sampling.measuring import Blur, Downsampling

torch.set_num_threads(1)


def _restore(run, output, *options: str) -> int:
    command = ["--task", "restore", "--run", str(run), "--output", str(output), "--num", "2"]
    return launch.main([*command, "--completions", "2", *options])


def test_pictures_and_figures(one_run, tmp_path):
    options = ["--map", "Blur", "--set", "restore/Blur.width=0.7", "--settle", "8", "--split", "test"]
    assert _restore(one_run, tmp_path, *options) == 0
    written = json.loads((tmp_path / "restore.json").read_text())
    assert set(written["mean"]) == {"rmse", "psnr", "rmse_of_mean", "diversity", "misfit"}
    assert all(len(each) == 2 for each in written["each"].values())
    assert written["map"] == "Blur" and written["mean"]["misfit"] > 0
    assert (tmp_path / "restored.png").stat().st_size > 1_000


def test_a_run_restores_in_python(tiny_run):
    """The measurements pull: a small noise gives a smaller misfit than a large one; rows are themselves."""
    run, map = runs.load(tiny_run), Downsampling(2)
    images = run.data.open().rows(torch.arange(3))[0]
    values = map(images)
    near, far = (run.restore(values, map, sigma, completions=2) for sigma in (0.05, 10.0))
    assert near.shape == (3, 2, 1, 8, 8)
    misfits = [
        float((map(x.flatten(0, 1)).unflatten(0, (3, 2)) - values[:, None]).square().mean())
        for x in (near, far)
    ]
    assert misfits[0] < 0.8 * misfits[1]
    torch.testing.assert_close(run.restore(values, map, 0.05, 2, batch_size=4), near, rtol=1e-3, atol=1e-3)
    settled = run.restore(values, map, 0.05, settling=AdjustedLangevin(5))
    assert settled.shape == (3, 1, 1, 8, 8) and settled.isfinite().all()
    with pytest.raises(ConfigurationError, match=r"by a Blur are \(n, 1, 8, 8\) here, got \(3, 1, 4, 4\)"):
        run.restore(values, Blur(), 0.1)
    for wrong in (values.to(torch.uint8), values / 0):
        with pytest.raises(ConfigurationError, match="measurements must be finite floats"):
            run.restore(wrong, map, 0.1)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--sigma", "0"], "--sigma above 0"),
        (["--map", "FID"], "--map FID must be LinearMap"),
        (["--settle", "4", "--sampler", "Langevin"], "Langevin"),
        (["--set", "restore/Downsampling.factor=3"], "Downsampling.factor 3 doesn't divide"),
        (["--split", "held"], "--split must be one of"),
    ],
)
def test_faults_are_one_line(tiny_run, tmp_path, capsys, options, words):
    assert _restore(tiny_run, tmp_path / "out", *options) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and words in error
    assert not (tmp_path / "out").exists()
