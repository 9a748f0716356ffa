"""The Inception score of class probabilities (Salimans et al. 2016)."""

from __future__ import annotations

import gin
import torch
from torch import Tensor

from modules.core.checks import DataError, check_integer
from modules.metrics.base import SetMetric, check_probabilities
from modules.metrics.order import scattered
from modules.metrics.stores import Store, Sums


@gin.register
class InceptionScore(SetMetric):
    """exp(mean KL(p(c|x) || p̄(c))) of class probabilities (n, classes): `is`.

    It is the mean over splits, and `is_sd` the spread over them. Splits are scattered over the images, for
    classes that are asked for in turn would each have a split; their sizes differ by one or two.
    References, if given, are scored too: `is_real`.

    Args:
        num_splits: 10 as published.
    """

    label, takes, needs = "is", "probabilities", 10_000

    def __init__(self, num_splits: int = 10) -> None:
        check_integer("InceptionScore.num_splits", num_splits, low=1)
        self.num_splits = num_splits
        super().__init__()

    def make_store(self) -> Store:
        return Sums()

    def summary(self, x: Tensor, indices: Tensor) -> Tensor:
        """For each split the sums of p (classes), of Σ p log p, and of 1: (n, splits, classes + 2)."""
        check_probabilities(self, x)
        p = x.double().cpu()
        terms = torch.cat([p, torch.special.xlogy(p, p).sum(1, keepdim=True), torch.ones(len(p), 1)], 1)
        member = torch.nn.functional.one_hot(self.split(indices.cpu()), self.num_splits)
        # summed here: (n, splits, classes) of 1,008 classes would be large
        return torch.einsum("ns,nk->sk", member.double(), terms)[None]

    def split(self, indices: Tensor) -> Tensor:
        """The split of each image, 0..num_splits-1."""
        return scattered(indices) * self.num_splits // 2**32

    def figures(self) -> dict[str, float]:
        if not self.predictions.count:
            raise DataError("is was given no samples")
        scores = self._scores(self.predictions)
        figures = {"is": float(scores.mean())}
        if len(scores) > 1:
            figures["is_sd"] = float(scores.std(correction=0))
        if self.references.count:
            figures["is_real"] = float(self._scores(self.references).mean())
        return figures

    def _scores(self, store: Store) -> Tensor:
        assert isinstance(store, Sums)
        total = store.total[store.total[:, -1] > 0]  # fewer images than splits leave some empty
        count = total[:, -1:]
        marginal = total[:, :-2] / count
        divergence = total[:, -2] / count[:, 0] - torch.special.xlogy(marginal, marginal).sum(1)
        return divergence.exp()
