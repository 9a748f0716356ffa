"""The judge of shapes reads real ones without a fault, noisy ones nearly, and no shape in noise."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from benchmarks import judge_shapes
from modules.data.shapes import ATTRIBUTES, Shapes

torch.set_num_threads(1)

SIZES = torch.tensor([len(values) for values in ATTRIBUTES.values()])
FIRST = SIZES.cumsum(0) - SIZES


@pytest.fixture(scope="module")
def judged() -> tuple[judge_shapes.Judge, torch.Tensor, torch.Tensor]:
    """The judge, 1,000 real pictures of 16x16 and their attribute values."""
    images, labels = Shapes(num_classes=14).open().rows(torch.arange(1000))
    return judge_shapes.Judge((3, 16, 16)), images, labels - FIRST


def test_real_shapes_are_read_as_drawn(judged) -> None:
    judge, images, values = judged
    found, near = judge.read(images)
    assert near.all() and (found == values).double().mean() > 0.999


def test_noise_in_a_picture_matters_little_and_noise_alone_is_no_shape(judged) -> None:
    judge, images, values = judged
    noise = torch.randn(images.shape, generator=torch.Generator().manual_seed(0))
    found, near = judge.read(images + 0.08 * noise)
    assert near.double().mean() > 0.99 and (found == values).all(1).double().mean() > 0.97
    assert not judge.read(noise)[1].any()
    for grey in (0.5, -0.9):  # empty ground is none either
        assert not judge.read(torch.full((1, 3, 16, 16), grey))[1].any()


def test_shares_count_what_was_asked(judged) -> None:
    judge, images, values = judged
    shares = judge(images, judge_shapes.parse(["colour=red", "place=upper left"]))
    red, place = values[:, 1] == 0, values[:, 2] == 0
    assert shares["recognised"] == 1
    assert shares["colour=red"] == pytest.approx(red.double().mean().item(), abs=0.002)
    assert shares["all"] == pytest.approx((red & place).double().mean().item(), abs=0.002)


def test_the_command_reads_a_file_and_names_faults(judged, tmp_path, capsys) -> None:
    _, images, _ = judged
    np.savez(tmp_path / "samples.npz", images=((images[:20] + 1) * 127.5).round().byte().numpy())
    judge_shapes.main([str(tmp_path / "samples.npz"), "--asked", "size=small"])
    printed = capsys.readouterr().out
    assert "recognised" in printed and "1.000" in printed and "size=small" in printed
    for arguments, words in (
        (["--asked", "colour=rod"], "Did you mean 'colour=red'?"),
        ([], "nowhere.npz is no file"),
    ):
        with pytest.raises(SystemExit) as left:
            judge_shapes.main([str(tmp_path / "nowhere.npz"), *arguments])
        assert left.value.code == 2 and words in capsys.readouterr().err
