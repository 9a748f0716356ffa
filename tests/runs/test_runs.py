"""A run comes back from its folder, samples image by image, and says in one line what it cannot do."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from modules import runs
from modules.core.checks import CheckpointError, ConfigurationError, UserError
from modules.layers.spectral import SpectralNormalized
from modules.storage import checkpoints

torch.set_num_threads(1)


@pytest.fixture(scope="module")
def run(tiny_run) -> runs.Run:
    return runs.load(tiny_run)


@pytest.fixture(scope="module")
def exact(tiny_run) -> runs.Run:
    """In float64, where an image may not depend on the batch at all."""
    loaded = runs.load(tiny_run)
    loaded.method.double()
    return loaded


def test_it_holds_the_averaged_weights_of_the_newest_checkpoint(run, tiny_run):
    tensors, _ = checkpoints.load(checkpoints.path_of(tiny_run, 4))
    assert run.step == 4 and not run.method.training
    for name, network in run.method.networks().items():
        for key, value in network.named_parameters():
            assert torch.equal(value, tensors[f"{name}_ema"][key]) and not value.requires_grad
    for layer in run.method.energy.modules():
        if isinstance(layer, SpectralNormalized):
            largest = torch.linalg.matrix_norm(layer.effective_weight().flatten(1), 2)
            assert float(largest) == pytest.approx(1, abs=1e-4)


def test_live_weights_and_older_checkpoints(tiny_run):
    path = checkpoints.path_of(tiny_run, 2)
    older = runs.load(tiny_run, path, weights="live")
    assert older.step == 2
    tensors, _ = checkpoints.load(path)
    for key, value in older.method.energy.state_dict().items():
        assert torch.equal(value, tensors["energy"][key])


def test_the_samples_are_those_of_the_run_itself(run, tiny_run, tmp_path):
    """What training drew with its averages at the last step, a loaded run draws again."""
    from modules.report.pictures import save_samples

    drawn = run.generate(4, label=[0, 1, 2, 3], seed=0)
    save_samples(drawn.x, drawn.levels, tmp_path / "again.png")
    pictures = [tiny_run / "samples" / "step_00000004.png", tmp_path / "again.png"]
    one, other = (np.asarray(Image.open(path), int) for path in pictures)
    assert one.shape == other.shape and abs(one - other).max() <= 1


@pytest.mark.parametrize("guidance", [None, 0.7])
def test_an_image_depends_on_seed_index_and_label_alone(exact, guidance):
    labels = [3, 1, -1, 7, 0]
    whole = exact.generate(5, labels, guidance, seed=2, dtype=torch.float64)
    parts = exact.generate(5, labels, guidance, seed=2, batch_size=2, dtype=torch.float64)
    fewer = exact.generate(3, labels[:3], guidance, seed=2, dtype=torch.float64)
    torch.testing.assert_close(parts.x, whole.x, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(fewer.x, whole.x[:3], rtol=1e-9, atol=1e-9)
    assert len(whole.levels) == 7
    for level, other in zip(whole.levels, parts.levels, strict=True):
        torch.testing.assert_close(level, other, rtol=1e-9, atol=1e-9)
    relabelled = exact.generate(5, [3, 1, -1, 8, 0], guidance, seed=2, dtype=torch.float64)
    moved = (relabelled.x - whole.x).flatten(1).abs().amax(1) > 1e-6
    assert moved.tolist() == [False, False, False, True, False]


def test_seeds_and_images_differ(run):
    x = torch.cat([run.generate(2, 0, seed=seed).x for seed in (0, 1)]).flatten(1)
    assert torch.pdist(x).min() > 0.1


def test_guidance_moves_conditional_samples_only(exact):
    plain, guided, unguided = (exact.generate(2, [4, -1], w, dtype=torch.float64).x for w in (None, 2.0, 0.0))
    assert torch.equal(plain, unguided)
    assert (guided[0] - plain[0]).abs().max() > 1e-4
    torch.testing.assert_close(guided[1], plain[1], rtol=1e-9, atol=1e-9)


def test_overrides_take_effect(tiny_run):
    still = runs.load(tiny_run, overrides=["Langevin.num_steps=0"])
    assert still.generation.sampler.num_steps == 0
    loaded = runs.load(tiny_run, overrides=["generate/Langevin.num_steps=7"])
    assert (loaded.generation.sampler.num_steps, loaded.method.sampler.num_steps) == (7, 2)


def test_classes_by_name_and_number(run):
    assert (run.label_of("7"), run.label_of("-1")) == (7, -1)
    with pytest.raises(ConfigurationError, match="no class is named 'seven'"):
        run.label_of("seven")


FAULTS = {
    "no folder": (lambda run, folder: runs.load(folder.parent / "rum"), "Did you mean"),
    "no checkpoint of that name": (
        lambda run, folder: runs.load(folder, folder / "step_9"),
        "is no checkpoint",
    ),
    "weights": (lambda run, folder: runs.load(folder, weights="emma"), "Did you mean 'ema'?"),
    "an override without effect": (
        lambda run, folder: runs.load(folder, overrides=["NUM_STEPS=9"]),
        "NUM_STEPS",
    ),
    "a misspelt override": (
        lambda run, folder: runs.load(folder, overrides=["Langevin.num_step=9"]),
        "'num_steps'",
    ),
    "another network": (
        lambda run, folder: runs.load(folder, overrides=["UNet.dim=16"]),
        "doesn't fit the configured network",
    ),
    "a label too high": (lambda run, folder: run.generate(2, 10), "in 0..9 (-1 = none), got 10"),
    "a label too low": (lambda run, folder: run.generate(2, -2), "got -2"),
    "too few labels": (
        lambda run, folder: run.generate(3, [1, 2]),
        "3 labels are needed, or one",
    ),
    "no images": (lambda run, folder: run.generate(0), "num must be at least 1"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_one_line(run, tiny_run, fault):
    act, expected = FAULTS[fault]
    with pytest.raises(UserError) as caught:
        act(run, tiny_run)
    assert expected in str(caught.value) and "\n" not in str(caught.value)


def test_a_damaged_folder_is_named(tiny_run, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(tiny_run, folder)
    (folder / "config.json").write_text("[]")
    with pytest.raises(CheckpointError, match=r"config\.json must hold"):
        runs.load(folder)
    (folder / "config.json").unlink()
    assert runs.load(folder).step == 4  # nothing of the user's own was imported
    shutil.rmtree(folder / "checkpoints")
    with pytest.raises(CheckpointError, match="has no checkpoint"):
        runs.load(folder)
