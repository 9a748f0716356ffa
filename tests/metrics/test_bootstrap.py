"""Standard errors by halves of one set, beside the spread over truly repeated draws."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from modules.metrics.bootstrap import half_samples, standard_errors
from modules.metrics.class_accuracy import ClassAccuracy
from modules.metrics.fid import FID
from modules.metrics.inception_score import InceptionScore
from modules.metrics.kid import KID
from modules.metrics.prdc import PRDC
from modules.metrics.recognised import Recognised
from modules.runtime.runtime import Runtime

torch.set_num_threads(1)


class Alone(Runtime):
    """One process of one."""

    rank, num_processes, is_main = 0, 1, True

    def gather_objects(self, items):
        return items


def test_halves_are_drawn_without_replacement_and_by_number():
    for n in (20, 21):
        halves = half_samples(n, torch.arange(400))
        assert all(len(half) == 10 == len(set(half.tolist())) for half in halves)
        counts = torch.cat(halves).bincount(minlength=n)
        assert counts.min() > 150 and counts.max() < 250
        assert torch.equal(half_samples(n, torch.tensor([7]))[0], halves[7])


@pytest.mark.parametrize("n", [3, 300])
def test_the_error_of_a_share_is_the_binomials(n):
    """√(p(1-p)/(n-1)), which single ones of three miss by √2 without the factor of odd numbers."""
    p = torch.full((n, 2), 0.5)
    p[: n // 3] = torch.tensor([0.95, 0.05])
    share = (n // 3) / n
    found = standard_errors(Recognised(0.9), p, None, 300, Alone())
    assert found == {"recognised": pytest.approx(math.sqrt(share * (1 - share) / (n - 1)), rel=0.15)}
    truth = torch.zeros(n).long()
    wrong = p.flip(1)  # argmax 1 where sure, 0 by the tie elsewhere
    errors = standard_errors(ClassAccuracy(), wrong, truth, 300, Alone())
    assert errors["class_accuracy"] == pytest.approx(found["recognised"], rel=1e-6)


def _draw(kind: str, seed: int) -> Tensor:
    x = 0.5 + 0.8 * torch.randn(200, 4, generator=torch.Generator().manual_seed(seed))
    return (3 * x).softmax(1) if kind == "is" else x


# the largest and the smallest quotient that is accepted of an error and the spread that it estimates
CASES = {
    "fid": (FID, {"fid": (0.75, 1.3)}),
    "kid": (lambda: KID(3, 100), {"kid": (0.75, 1.35)}),
    "is": (lambda: InceptionScore(4), {"is": (0.75, 1.3)}),
    "prdc": (
        lambda: PRDC(3),
        {"precision": (0.7, 1.4), "density": (0.7, 1.4), "recall": (0.65, 1.4), "coverage": (0.55, 1.3)},
    ),
}


@pytest.mark.parametrize("kind", CASES)
def test_errors_are_the_spread_of_repeated_draws(kind):
    make, bounds = CASES[kind]
    references = None if kind == "is" else torch.randn(400, 4, generator=torch.Generator().manual_seed(9))
    repeated = [make().compute(predictions=_draw(kind, k), references=references) for k in range(150)]
    metric = make()
    if references is not None:
        metric.add_batch(references=references)
    errors = [standard_errors(metric, _draw(kind, 1000 + k), None, 60, Alone()) for k in range(4)]
    assert errors[0].keys() == bounds.keys()  # no spread of a spread, none of the references
    for name, (low, high) in bounds.items():
        spread = float(torch.tensor([values[name] for values in repeated]).std())
        mean = sum(error[name] for error in errors) / len(errors)
        assert low < mean / spread < high, (name, mean, spread)
    assert len(metric) == 0  # the metric has no samples but its references still
    if references is not None:
        assert metric.references.count == 400


def test_each_half_keeps_the_classes_that_were_asked_for():
    """Samples that are all of the class asked for have no error, whichever half is looked at."""
    truth = torch.arange(30) % 3
    right = torch.eye(3)[truth]
    assert standard_errors(ClassAccuracy(), right, truth, 20, Alone())["class_accuracy"] == 0


def test_errors_are_of_samples_and_of_no_reference_or_spread():
    """Of an odd number: halves of 10 of 21, of which √(10/11) of their spread is the whole's."""
    p = torch.full((21, 2), 0.5)
    p[:9] = torch.tensor([0.95, 0.05])
    metric = Recognised(0.9)
    metric.add_batch(references=p)
    found = standard_errors(metric, p, None, 40, Alone())
    halves = torch.stack([(p[half, 0] > 0.9).double().mean() for half in half_samples(21, torch.arange(40))])
    assert found == {"recognised": pytest.approx(math.sqrt(10 / 11) * float(halves.std()))}
    assert list(standard_errors(InceptionScore(3), p, None, 5, Alone())) == ["is"]


def test_a_bar_over_the_halves_is_shown_where_it_is_asked_for(capsys):
    p = torch.eye(2).repeat(10, 1)
    standard_errors(Recognised(), p, None, 7, Alone())
    assert capsys.readouterr().err == ""
    standard_errors(Recognised(), p, None, 7, Alone(), progress=True)
    shown = capsys.readouterr().err
    assert "recognised" in shown and "7/7" in shown and "half" in shown
