"""Components as small as can be, and gin files made of them."""

from pathlib import Path

import gin
import torch
from torch import nn

from modules import config
from modules.core.checks import DataError, check_choice, check_instance, check_integer, check_number


@gin.register
class ToySampler:
    def __init__(self, num_steps, rate=0.1, kind="plain"):
        check_integer("ToySampler.num_steps", num_steps, low=1)
        check_number("ToySampler.rate", rate, above=0)
        check_choice("ToySampler.kind", kind, ("plain", "mirror"))
        self.num_steps, self.rate, self.kind = num_steps, rate, kind


@gin.register
class ToyFolder:
    """Refuses what it is given in other ways than by a check of its own arguments."""

    def __init__(self, path, *, depth):
        if path == "missing":
            raise DataError(f"no data in {path!r}")
        if path == "odd":
            raise KeyError("a bug,\nin two lines")
        self.path, self.depth = path, depth


@gin.register
class ToyModel:
    def __init__(self, sampler=None, parts=None, size=1, make=None):
        if sampler is not None:
            check_instance("ToyModel.sampler", sampler, ToySampler)
        self.sampler, self.parts, self.size, self.make = sampler, parts, size, make


@gin.register
class ToyNetwork(nn.Module):
    def __init__(self, widths, depth):
        super().__init__()
        rows, columns = widths
        for index in range(depth):  # as lazy as a real one before it is filled
            self.register_parameter(str(index), nn.Parameter(torch.empty(rows * 1000, columns * 1000)))


GOOD = """\
# A model with one sampler.
STEPS = 5
ToyModel.sampler = @ToySampler()
ToySampler.num_steps = %STEPS
"""


def write(folder: Path, name: str, text: str) -> str:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return name


def built(files, overrides=(), imports=()):
    loaded = config.load(files, overrides, imports)
    model = loaded.build("ToyModel")
    loaded.check_used()
    return model
