"""What metrics take of samples: each view from its own network, images resized as is said."""

from __future__ import annotations

import torch
from torch import Tensor

from modules.data.digits import Digits
from modules.data.points import Checkerboard
from modules.evaluation.evaluation import Evaluation
from modules.features.base import Extracted, Features
from modules.features.digits import DigitsClassifier
from modules.features.module import ModuleFeatures
from modules.features.pixels import RawPixels
from modules.features.views import Views
from modules.metrics.recognised import Recognised
from modules.runtime.runtime import Runtime

torch.set_num_threads(1)


def _network(name: str, number: float, asked: list[str]) -> Features:
    """Features of a number, logits for the class of it."""

    def extract(images: Tensor) -> Extracted:
        asked.append(name)
        logits = torch.zeros(len(images), 5)
        logits[:, int(number)] = 10.0
        return Extracted(torch.full((len(images), 2), number), logits)

    return Features(extract, {"extractor": name}, True)


def test_classes_are_the_classifiers_and_the_rest_is_the_extractors():
    asked: list[str] = []
    views = Views(Digits(10), _network("extractor", 1, asked), _network("classifier", 3, asked))
    x = torch.zeros(2, 1, 8, 8, dtype=torch.uint8)
    found = views.of(x, ["features", "probabilities", "classes", "modes"])
    assert asked == ["extractor", "classifier"]  # each once
    assert (found["features"] == 1).all() and (found["probabilities"].argmax(1) == 1).all()
    assert (found["classes"].argmax(1) == 3).all() and (found["modes"] == 3).all()
    by = {takes: views.network(takes).protocol["extractor"] for takes in found}
    assert by == dict.fromkeys(("features", "probabilities"), "extractor") | dict.fromkeys(
        ("classes", "modes"), "classifier"
    )


def test_modes_of_points_are_the_sets_own():
    asked: list[str] = []
    network = _network("extractor", 1, asked)
    x = Checkerboard(num_classes=8).open().rows(torch.arange(20))
    found = Views(Checkerboard(), network, network).of(x[0], ["modes"])
    assert torch.equal(found["modes"], x[1][:, 0]) and asked == []


def test_an_evaluation_opens_the_classifier_that_it_is_given():
    evaluation = Evaluation([Recognised()], RawPixels(), classifier=DigitsClassifier(), num_references=4)
    views = evaluation.open(Digits(), Runtime(trackers=())).views
    assert views.network("classes").protocol["extractor"] == "DigitsClassifier"
    assert views.network("features").protocol["extractor"] == "RawPixels"


def _resized(image: Tensor, size: int) -> Tensor:
    """A row of what a module is given of an image (h, w) of 8 bits."""
    open_features = ModuleFeatures("torch.nn.Flatten", size=size, mean=(0.0,), std=(1.0,)).open
    seen = open_features((1, *image.shape), torch.device("cpu")).extract(image[None, None])
    return 255 * seen.features.reshape(size, size)[size // 2]


def test_modules_see_images_resized_bilinearly_without_aliasing():
    """An edge grows into values between its sides, with no overshoot; columns too fine become their mean."""
    edge = torch.tensor([64, 64, 192, 192], dtype=torch.uint8).expand(4, 4)
    torch.testing.assert_close(_resized(edge, 8), torch.tensor([64.0, 64, 64, 96, 160, 192, 192, 192]))
    columns = torch.tensor([255, 0] * 5, dtype=torch.uint8)[:9].expand(9, 9)
    assert (_resized(columns, 3) - 127.5).abs().max() < 45
