"""Read shape, colour, place and size from pictures of coloured shapes, and count those as asked.

    python -m benchmarks.judge_shapes SAMPLES.npz --asked colour=red shape=cross

SAMPLES: a .npz with `images` (n, 3, h, w), uint8 or floats in [-1, 1], as --task generate and compose write.
Nothing is learnt: a picture is compared with the drawings of all combinations of attributes at 49 places of
the centre (modules/data/shapes.py), and has the attributes of the nearest one.
"""

from __future__ import annotations

import argparse
import itertools
from pathlib import Path

import torch
from torch import Tensor

from benchmarks import arrays
from modules.core.checks import DataError, UserError, nearest
from modules.data.quantization import to_unit_range
from modules.data.shapes import ATTRIBUTES, draw

NEAR = 0.15  # root-mean-square distance per value, in [-1, 1], up to which a picture counts as a drawing


class Judge:
    """Attributes of pictures of one size.

    Args:
        shape: (3, h, w).
    """

    def __init__(self, shape: tuple[int, ...]) -> None:
        values = torch.tensor(list(itertools.product(*(range(len(v)) for v in ATTRIBUTES.values()))))
        offsets = torch.linspace(-0.04, 0.04, 7)
        jitter = torch.cartesian_prod(offsets, offsets)
        self.shape = shape
        self.values = values.repeat_interleave(len(jitter), 0)
        self.drawings = draw(self.values, jitter.repeat(len(values), 1), shape).flatten(1)

    def read(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Values (n, 4) by their places in ATTRIBUTES, and whether (n,) the nearest drawing is near."""
        if images.shape[1:] != self.shape:
            raise DataError(f"pictures must be {self.shape}, got {tuple(images.shape[1:])}")
        flat = images.float().clamp(-1, 1).flatten(1)
        found = [torch.cdist(part, self.drawings).min(1) for part in flat.split(500)]
        distance = torch.cat([f.values for f in found]) / flat.shape[1] ** 0.5
        return self.values[torch.cat([f.indices for f in found])], distance <= NEAR

    def __call__(self, images: Tensor, asked: dict[str, str]) -> dict[str, float]:
        """Shares of pictures: near a drawing, near one with each asked attribute, and with all of them."""
        values, near = self.read(images)
        names = list(ATTRIBUTES)
        has = {
            f"{name}={value}": near & (values[:, names.index(name)] == ATTRIBUTES[name].index(value))
            for name, value in asked.items()
        }
        shares = {"recognised": near, **has, "all": torch.stack([near, *has.values()]).all(0)}
        return {name: float(share.double().mean()) for name, share in shares.items()}


def parse(asked: list[str]) -> dict[str, str]:
    """["colour=red", ...] as {"colour": "red", ...}."""
    known = [f"{name}={value}" for name, values in ATTRIBUTES.items() for value in values]
    for text in asked:
        if text not in known:
            raise DataError(f"--asked {text!r} is none of {', '.join(known)}.{nearest(text, known)}")
    values = dict(text.split("=") for text in asked)
    if len(values) < len(asked):
        raise DataError("--asked names an attribute twice: no shape has two values of one")
    return values


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("samples", type=Path)
    parser.add_argument("--asked", nargs="+", default=[], metavar="ATTRIBUTE=VALUE")
    args = parser.parse_args(arguments)
    try:
        asked = parse(args.asked)
        images = to_unit_range(torch.from_numpy(arrays.images(args.samples)))
        for name, share in Judge(tuple(images.shape[1:]))(images, asked).items():
            print(f"{name:<20}{share:.3f}")
    except UserError as error:
        parser.exit(2, f"{error}\n")


if __name__ == "__main__":
    main()
