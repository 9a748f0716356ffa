"""The judges pass real data, and fail each kind of bad samples by the figure meant for it."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import avg_pool2d, pad

from benchmarks import judge_digits, judge_points
from benchmarks.judge_digits import ConvolutionalClassifier, real_digits
from benchmarks.judge_points import PointsJudge, density_kl
from modules.core.checks import DataError
from modules.metrics.grid_kl import square_grid
from modules.metrics.prdc import neighbour_radii, prdc
from modules.metrics.sliced_wasserstein import sliced_wasserstein

FLOAT64 = torch.float64


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def reference() -> tuple[Tensor, Tensor]:
    return real_digits("train")


@pytest.fixture(scope="module")
def held_out() -> tuple[Tensor, Tensor]:
    return real_digits("held_out")


def normal(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(7))


# digits


def test_real_digits_pass(judge, held_out):
    figures = judge(*held_out)
    assert 0.90 < figures["recognised"] < 0.99  # a judge that recognises all is no judge
    assert figures["as_asked"] > 0.90
    assert figures["total_variation"] < 0.10
    # judged against themselves, in another order, the held-out digits are their own measure
    assert figures["coverage_ratio"] == pytest.approx(1) and figures["recall_ratio"] == pytest.approx(1)
    assert figures["nearest_ratio"] == pytest.approx(1)


def test_fewer_real_digits_are_measured_at_equal_counts(judge, held_out):
    few, all_ = judge(held_out[0][:120]), judge(held_out[0])
    assert few["coverage"] < 0.75 * all_["coverage"]  # the figure itself sinks with the count
    assert 0.85 < few["coverage_ratio"] < 1.15
    assert 0.85 < few["recall_ratio"] < 1.15
    assert 0.9 < few["nearest_ratio"] < 1.1


def test_labels_asked_for_are_compared(judge, held_out):
    images, labels = held_out
    figures = judge(images, (labels + 1) % 10)
    assert figures["recognised"] > 0.90
    assert figures["as_asked"] < 0.03


def test_noise_is_not_recognised(judge):
    figures = judge(2 * torch.rand(360, 1, 8, 8, generator=torch.Generator().manual_seed(1)) - 1)
    assert figures["recognised"] == 0.0
    assert figures["coverage"] < 0.01
    assert figures["nearest_ratio"] > 2


def test_ten_class_means_fail_by_coverage_and_recall_alone(judge, reference):
    images, labels = reference
    means = torch.stack([images[labels == c].mean(0) for c in range(10)])
    figures = judge(means.repeat(36, 1, 1, 1))
    assert figures["recognised"] > 0.90 and figures["total_variation"] < 0.10
    assert figures["nearest_ratio"] > 0.9
    assert figures["coverage_ratio"] < 0.4
    assert figures["recall_ratio"] < 0.05


def test_blurred_digits_are_not_recognised(judge, held_out):
    blurred = avg_pool2d(pad(held_out[0], (1, 1, 1, 1), value=-1.0), 3, stride=1)
    figures = judge(blurred)
    assert figures["recognised"] < 0.10
    assert figures["nearest_ratio"] > 1.3


def test_slightly_blurred_digits_fail_by_recall(judge, held_out):
    images = held_out[0]
    blurred = avg_pool2d(pad(images, (1, 1, 1, 1), value=-1.0), 3, stride=1)
    figures = judge((images + blurred) / 2)
    assert figures["recognised"] > 0.6  # most are readable still, but their strokes are all alike
    assert figures["recall_ratio"] < 0.3


def test_copies_fail_by_nearest_distance_alone(judge, reference):
    images = reference[0][:360]
    figures = judge(images + 0.1 * normal(*images.shape))
    assert figures["recognised"] > 0.90 and figures["total_variation"] < 0.10
    assert figures["coverage_ratio"] > 0.8 and figures["recall_ratio"] > 0.8
    assert figures["nearest_ratio"] < 0.5


def test_exact_copies_have_distance_zero(judge, reference):
    assert judge(reference[0][:100])["nearest"] == 0.0


def test_one_class_fails_by_total_variation_and_coverage(judge, held_out):
    images, labels = held_out
    figures = judge(images[labels == 1])
    assert figures["recognised"] > 0.90
    assert figures["total_variation"] == pytest.approx(0.9, abs=0.01)  # all but a tenth in the wrong place
    assert figures["coverage_ratio"] < 0.7
    assert figures["recall_ratio"] < 0.4


def test_images_are_judged_as_8_bits(judge, held_out):
    images = held_out[0]
    assert judge(images + 0.4 / 127.5) == judge(images)
    assert judge(torch.where(images > 0.999, 5.0, images)) == judge(images)


@pytest.mark.parametrize(
    ("images", "labels", "culprit"),
    [
        (torch.zeros(30, 8, 8), None, r"got \(30, 8, 8\)"),
        (torch.zeros(5, 1, 8, 8), None, "5 images are too few"),
        (torch.full((30, 1, 8, 8), math.nan), None, "diverged"),
        (torch.zeros(30, 1, 8, 8), torch.zeros(29), "30 classes"),
        (torch.zeros(30, 1, 8, 8), torch.full((30,), -1), "30 classes"),
    ],
)
def test_what_cannot_be_judged_is_refused(judge, images, labels, culprit):
    with pytest.raises(DataError, match=culprit):
        judge(images, labels)


def test_training_repeats_by_seed_and_leaves_the_global_generator(reference):
    images, labels = reference[0][:200], reference[1][:200]
    before = torch.get_rng_state()
    first, again, other = (ConvolutionalClassifier(images, labels, seed, num_epochs=2) for seed in (3, 3, 4))
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(first(images), again(images))
    assert not torch.equal(first(images), other(images))


def test_left_out_scores_are_those_of_a_regression_without_the_row():
    x = normal(12, 3).to(FLOAT64)
    kernel, targets = torch.exp(-(judge_digits.distances(x, x) ** 2)), normal(12, 2).to(FLOAT64)
    _, left_out = judge_digits.ridge_regression(kernel, targets, 0.1)
    for row in range(12):
        others = torch.arange(12) != row
        weights, _ = judge_digits.ridge_regression(kernel[others][:, others], targets[others], 0.1)
        torch.testing.assert_close(left_out[row], kernel[row, others] @ weights)


def test_coverage_and_recall_on_a_line():
    real = torch.arange(20, dtype=FLOAT64)[:, None]
    radii = neighbour_radii(real, 5)
    assert radii[[0, 1, 2, 10]].tolist() == [5, 4, 3, 3]  # at the end all five lie on one side
    # points beyond the left end: reached by the balls of 0 (radius 5) and 1 (radius 4) only
    beyond = torch.full((6, 1), -2.9, dtype=FLOAT64)
    assert prdc(real, beyond, 5, radii)["coverage"] == 2 / 20
    # six points from 10 to 10.25: their radii of at most 0.25 reach the real point 10 alone
    close = 10 + 0.05 * torch.arange(6, dtype=FLOAT64)[:, None]
    assert prdc(real, close, 5)["recall"] == 1 / 20
    # spaced by 1, from 10 to 15: the ends' radii of 5 reach 5..20, that is 15 of the real points
    assert prdc(real, 10 + 20 * (close - 10), 5)["recall"] == 15 / 20


def test_files_of_every_kind_give_the_same_images(tmp_path, held_out):
    images, labels = held_out[0][:30], held_out[1][:30]
    pixels = ((images[:, 0] + 1) * 127.5).round().to(torch.uint8).numpy()
    (tmp_path / "png").mkdir()
    for i, p in enumerate(pixels):
        Image.fromarray(p).save(tmp_path / "png" / f"{i:05d}.png")
    Image.fromarray(np.concatenate(list(pixels), 1)).save(tmp_path / "png" / "grid.png")
    np.save(tmp_path / "bytes.npy", pixels)
    np.savez(tmp_path / "floats.npz", images=images.numpy(), labels=labels.numpy())
    for name in ("png", "bytes.npy", "floats.npz"):
        read, read_labels = judge_digits.read_images(tmp_path / name)
        torch.testing.assert_close(read, images)
        assert read_labels is None or torch.equal(read_labels, labels)
    assert read_labels is not None  # the .npz brought its own
    np.savetxt(tmp_path / "labels.txt", labels.numpy(), fmt="%d")
    assert torch.equal(judge_digits.read_labels(str(tmp_path / "labels.txt"), 30), labels)
    assert judge_digits.read_labels("3", 4).tolist() == [3, 3, 3, 3]


def test_table_shows_the_figures_beside_the_real_ones(judge, held_out):
    figures = judge(*held_out)
    rows = {line.split()[0]: line.split()[1:] for line in judge_digits.table(figures).splitlines()[1:]}
    assert list(rows) == ["recognised", "as_asked", "coverage", "recall", "total_variation", "nearest"]
    assert rows["recognised"] == 2 * [f"{figures['recognised_real']:.3f}"]  # the same digits
    assert rows["nearest"][2] == "1.000"
    assert "as_asked" not in judge_digits.table(judge(held_out[0]))


@pytest.mark.parametrize(
    ("main", "name"),
    [(judge_digits.main, "none.npy"), (judge_digits.main, ""), (judge_points.main, "none.npy")],
)
def test_commands_refuse_in_one_line(tmp_path, capsys, main, name):
    with pytest.raises(SystemExit) as refused:
        main([str(tmp_path / name)])
    error = capsys.readouterr().err
    assert refused.value.code == 2 and error.count("\n") == 1 and str(tmp_path) in error


# points


def test_exact_points_lie_inside_and_at_the_floor():
    judge = PointsJudge()
    figures = judge(judge.exact(2000, draw=999))
    assert figures["inside"] == 1.0
    assert figures["total_variation"] < 0.05
    assert abs(figures["sliced_wasserstein"] - figures["floor"]) < 3 * figures["floor_sd"]
    assert 0 < figures["floor_sd"] < 0.5 * figures["floor"]


def test_the_floor_falls_with_the_number_of_points():
    judge = PointsJudge()
    assert judge.floor(4000)[0] == pytest.approx(judge.floor(1000)[0] / 2, rel=0.35)


def test_the_full_square_is_inside_by_half():
    grid = square_grid(1.0, 48)
    figures = PointsJudge()(grid)
    assert figures["inside"] == pytest.approx(0.5)
    assert figures["total_variation"] == pytest.approx(0.5)  # an equal share, 1/16, of each square
    assert figures["floor_ratio"] > 2


def test_a_shift_by_half_a_square_is_half_outside_and_far():
    judge = PointsJudge()
    figures = judge(judge.exact(4000, draw=999) + torch.tensor([0.25, 0.0]))
    assert figures["inside"] == pytest.approx(0.5, abs=0.03)
    assert figures["sliced_wasserstein"] == pytest.approx(0.25 / math.sqrt(2), abs=0.02)
    assert figures["floor_ratio"] > 5


@pytest.mark.parametrize(("target", "inside"), [((0.75, 0.75), 1.0), ((5.0, 5.0), 0.875)])
def test_the_mass_moved_from_a_square_is_the_total_variation(target, inside):
    grid = square_grid(1.0, 48)
    exact = grid[judge_points.Checkerboard().inside(grid)]
    judge = PointsJudge()
    assert judge(exact)["total_variation"] == pytest.approx(0, abs=1e-12)
    in_corner = (exact < -0.5).all(1)  # the lower left of the eight squares
    figures = judge(torch.where(in_corner[:, None], torch.tensor(target, dtype=FLOAT64), exact))
    assert figures["inside"] == pytest.approx(inside)
    assert figures["total_variation"] == pytest.approx(1 / 8)


def test_points_follow_the_scale():
    board = PointsJudge(scale=2.0)
    assert board(board.exact(500, draw=99))["inside"] == 1.0
    assert board(PointsJudge(scale=0.5).exact(500, draw=99))["inside"] < 0.9


def test_sliced_distance_of_a_shift_and_of_a_scaling():
    x = normal(300, 2)
    shift = torch.tensor([0.3, -0.4])
    assert sliced_wasserstein(x, (x + shift).flip(0)) == pytest.approx(0.5 / math.sqrt(2))
    # x to 3x: each projection moves by 2θ·x, on average over θ |2x|²/2
    assert sliced_wasserstein(x, 3 * x) == pytest.approx(2 * (x.square().sum(1).mean() / 2).sqrt().item())


def test_divergence_of_two_gaussians_on_a_grid():
    mean, std = torch.tensor([0.2, -0.1], dtype=FLOAT64), 0.3

    def log_p(x: Tensor) -> Tensor:
        return -0.5 * x.square().sum(1) / 0.2**2

    def energy(x: Tensor) -> Tensor:
        return 0.5 * (x - mean).square().sum(1) / std**2 + 17.0

    exact = (0.2 / std) ** 2 - 1 + 0.5 * 0.05 / std**2 - 2 * math.log(0.2 / std)
    grid = square_grid(2.0, 100)
    assert density_kl(energy, log_p, grid) == pytest.approx(exact, rel=1e-6)
    assert density_kl(lambda x: -log_p(x), log_p, grid) == pytest.approx(0, abs=1e-12)


def test_divergence_where_the_truth_is_zero():
    board = judge_points.Checkerboard()
    kl = density_kl(
        lambda x: x.new_zeros(len(x)), lambda x: board.inside(x).double().log(), square_grid(1.0, 40)
    )
    assert kl == pytest.approx(math.log(2))  # a uniform model of half a square


@pytest.mark.parametrize("points", [torch.zeros(3), torch.zeros(3, 3), torch.full((3, 2), math.inf)])
def test_what_are_no_points_is_refused(points):
    with pytest.raises(DataError, match="points"):
        PointsJudge()(points)


def test_points_command(tmp_path, capsys):
    np.save(tmp_path / "points.npy", PointsJudge().exact(200, draw=99).numpy())
    judge_points.main([str(tmp_path / "points.npy")])
    assert capsys.readouterr().out.splitlines()[0].split() == ["inside", "1.0000"]
