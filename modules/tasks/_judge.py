"""A user's judge of images: which it recognises, or as what."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from modules.core.checks import ConfigurationError, in_short, one_line
from modules.core.code import object_named

if TYPE_CHECKING:
    from torch import Tensor

_KIND = "a function of images (n, c, h, w) that returns (n,) bool, or (n,) int64 classes, -1 = none"


class Judge:
    """What MODULE:NAME of --judge names, imported.

    Attributes:
        names_classes: whether its last answer was of classes, and not of yes or no.

    Raises:
        ConfigurationError: a name that is none.
    """

    def __init__(self, name: str) -> None:
        module, _, function = name.partition(":")
        if not module or not function:
            raise ConfigurationError(f"--judge {name} must be MODULE:NAME of {_KIND}")
        self.name, self.names_classes = name, False
        self._function: Callable[[Tensor], Tensor] = object_named(name, "--judge", callable, _KIND)

    def classes(self, images: Tensor) -> Tensor:
        """What images (n, c, h, w) are taken for, (n,) int64: -1 for nothing, 0 for a plain yes.

        What isn't a number is grey to it.

        Raises:
            ConfigurationError: a judge that fails on such images, or answers neither bool nor int64 (n,).
        """
        import torch

        shape = tuple(images.shape)
        try:
            found = self._function(images.nan_to_num(0.0))
        except Exception as fault:  # the judge is the user's, and may fail by anything
            reason = f"{type(fault).__name__}: {one_line(fault)}"
            raise ConfigurationError(f"--judge {self.name} fails on images {shape}: {reason}") from fault
        kinds = (torch.bool, torch.int64)
        if not isinstance(found, torch.Tensor) or found.dtype not in kinds or found.shape != shape[:1]:
            given = (
                f"{str(found.dtype).removeprefix('torch.')} {tuple(found.shape)}"
                if isinstance(found, torch.Tensor)
                else in_short(found)
            )
            raise ConfigurationError(
                f"--judge {self.name} must return bool or int64 {shape[:1]} of images {shape}, one each, not "
                f"{given}"
            )
        self.names_classes = found.dtype == torch.int64
        return found if self.names_classes else found.long() - 1

    def changes(self, classes: Tensor, steps_between: float) -> dict[str, Any]:
        """Changes of class from frame to frame of classes (frames, n); none of a judge without classes."""
        from modules.analysis.mixing import class_changes

        if not self.names_classes:
            return {}
        return {"class_changes_per_1000_steps": 1000 / steps_between * class_changes(classes)}
