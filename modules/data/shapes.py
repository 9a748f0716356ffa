"""Pictures made by code, for attributes and their composition: one small coloured shape on dark ground."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Iterator, Sequence

import gin
import torch
from torch import Tensor

from modules.core.checks import ConfigurationError, check_choice, check_integer, nearest
from modules.core.noise import Noise
from modules.data.base import OTHERS, Data, Examples, made_contents

ATTRIBUTES: dict[str, tuple[str, ...]] = {
    "shape": ("circle", "square", "triangle", "cross"),
    "colour": ("red", "green", "blue", "yellow"),
    "place": ("upper left", "upper right", "lower left", "lower right"),
    "size": ("small", "large"),
}
"""Attributes and their values, in the order of the class ids: "shape=circle" is 0, "size=large" 13."""

COLOURS = torch.tensor([[0.9, -0.7, -0.7], [-0.7, 0.8, -0.6], [-0.7, -0.3, 1.0], [0.9, 0.8, -0.7]])
"""RGB in [-1, 1] of each colour."""

BACKGROUND = -0.9
"""Grey in [-1, 1] of the ground."""

# lengths in units of the image's shorter side (places: of each side)
_CENTRE = torch.tensor([[0.3, 0.3], [0.3, 0.7], [0.7, 0.3], [0.7, 0.7]])  # (down, right) by place
_RADIUS = torch.tensor([0.14, 0.25])  # by size
_JITTER = 0.04  # of the centre, in each direction


@gin.register
class Shapes(Data):
    """One antialiased shape an image, with the attributes shape, colour, place and size.

    Example i is a function of (seed, i): its combination of values is drawn uniformly from those not
    omitted, its centre wanders by 4% of the image. Labels are (n, 4), one class id an attribute
    (spec §8), out of 14 classes.

    Args:
        shape: (3, h, w) with h, w >= 8.
        num_classes: 14, or 0 to leave the labels out.
        length: of one pass over the set, at most 2^32.
        seed: of the pictures.
        omit: combinations of values never shown, such as (("circle", "red"), ("large", "cross")).
    """

    def __init__(
        self,
        shape: tuple[int, ...] = (3, 16, 16),
        num_classes: int = 0,
        length: int = 2**17,
        seed: int = 0,
        omit: Sequence[Sequence[str]] = (),
    ) -> None:
        super().__init__(shape, num_classes)
        if len(self.shape) != 3 or self.shape[0] != 3 or min(self.shape[1:]) < 8:
            raise ConfigurationError(f"Shapes.shape must be (3, height, width) with sides >= 8, got {shape}")
        names = [f"{name}={value}" for name, values in ATTRIBUTES.items() for value in values]
        if num_classes not in (0, len(names)):
            raise ConfigurationError(
                f"Shapes.num_classes must be {len(names)} or 0 (no labels), got {num_classes}"
            )
        check_integer("Shapes.length", length, low=1, high=2**32)
        check_integer("Shapes.seed", seed)
        self.length, self.seed = length, seed
        self.combinations, self.omit = _combinations(omit), omit
        self.class_names = names[:num_classes]

    def with_split(self, name: str) -> Shapes:
        """ "train", the pictures themselves, or "test", as many others of the same law."""
        check_choice("--split", name, ("train", "test"))
        other = copy.copy(self)
        other.seed = self.seed if name == "train" else self.seed + OTHERS
        return other

    def open(self) -> Examples:
        return _ShapeExamples(self)


def _combinations(omit: Sequence[Sequence[str]]) -> Tensor:
    """The combinations to be shown: (m, 4) int64, one column an attribute."""
    known = [value for values in ATTRIBUTES.values() for value in values]
    for values in omit:
        if isinstance(values, str) or not values:
            raise ConfigurationError(
                f"Shapes.omit must hold combinations such as ('circle', 'red'), got {values!r}"
            )
        for value in values:
            if value not in known:
                raise ConfigurationError(
                    f"Shapes.omit: {value!r} is none of {', '.join(known)}.{nearest(value, known)}"
                )
    kept = [
        [ATTRIBUTES[name].index(value) for name, value in zip(ATTRIBUTES, combination, strict=True)]
        for combination in itertools.product(*ATTRIBUTES.values())
        if not any(set(values) <= set(combination) for values in omit)
    ]
    if not kept:
        raise ConfigurationError("Shapes.omit leaves nothing to show: omit less")
    return torch.tensor(kept)


class _ShapeExamples(Examples):
    def __init__(self, shapes: Shapes) -> None:
        self.shapes, self.shape, self.class_names = shapes, shapes.shape, shapes.class_names
        sizes = torch.tensor([len(values) for values in ATTRIBUTES.values()])
        self.first_class = sizes.cumsum(0) - sizes

    def __len__(self) -> int:
        return self.shapes.length

    def rows(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        noise = Noise(self.shapes.seed, indices, stream="shapes")
        values = self.shapes.combinations[noise.integers("combination", 0, self.shapes.combinations.shape[0])]
        jitter = _JITTER * (2 * noise.uniform("jitter", (2,)) - 1)
        labels = values + self.first_class
        return draw(values, jitter, self.shape), labels if self.class_names else torch.full_like(labels, -1)

    def contents(self) -> Iterator[bytes | memoryview]:
        return made_contents(self.shapes, self)


def draw(values: Tensor, jitter: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Pictures of given attributes.

    A pixel's share of the shape is clamp(1/2 - d, 0, 1), d its centre's distance in pixels from the
    outline (negative inside): exact for straight edges along the grid, close elsewhere.

    Args:
        values: (n, 4) int64, each attribute's value by its place in ATTRIBUTES.
        jitter: (n, 2) of the centre (down, right), in parts of the image.
        shape: (3, h, w).
    Returns:
        (n, 3, h, w) float32 in [-1, 1].
    """
    _, height, width = shape
    kind, colour, place, size = values.unbind(1)
    centre = (_CENTRE[place] + jitter) * torch.tensor([float(height), float(width)])
    down = (torch.arange(height) + 0.5)[None, :, None] - centre[:, 0, None, None]
    right = (torch.arange(width) + 0.5)[None, None, :] - centre[:, 1, None, None]
    radius = (_RADIUS[size] * min(height, width))[:, None, None]
    outlines = (_circle, _square, _triangle, _cross)  # in the order of ATTRIBUTES
    distances = torch.stack([outline(down, right, radius) for outline in outlines])
    distance = distances[kind, torch.arange(values.shape[0])]
    cover = (0.5 - distance).clamp(0, 1)[:, None]
    return BACKGROUND + cover * (COLOURS[colour][:, :, None, None] - BACKGROUND)


def _circle(down: Tensor, right: Tensor, radius: Tensor) -> Tensor:
    return (down.square() + right.square()).sqrt() - radius


def _square(down: Tensor, right: Tensor, radius: Tensor) -> Tensor:
    return torch.maximum(down.abs(), right.abs()) - 0.88 * radius


def _triangle(down: Tensor, right: Tensor, radius: Tensor) -> Tensor:
    """Equilateral, pointing up: three edges at 0.62·radius from a point below the middle."""
    inner = 0.62 * radius
    lowered = down - 0.3 * radius
    slanted = 0.75**0.5 * right.abs() - 0.5 * lowered
    return torch.maximum(lowered, slanted) - inner


def _cross(down: Tensor, right: Tensor, radius: Tensor) -> Tensor:
    arm, half = 1.05 * radius, 0.36 * radius
    bar = torch.maximum(down.abs() - arm, right.abs() - half)
    beam = torch.maximum(down.abs() - half, right.abs() - arm)
    return torch.minimum(bar, beam)
