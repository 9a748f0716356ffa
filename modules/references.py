"""What samples are compared with: statistics of a data set, computed once and kept, or published ones."""

from __future__ import annotations

import hashlib
import json
import os
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from modules.checks import ConfigurationError, DataError
from modules.data.base import Data, Examples
from modules.data.points import Points
from modules.features.base import Extracted, Features
from modules.features.cache import cache_folder
from modules.metrics.base import Metric, SetMetric
from modules.metrics.stores import Moments, Sums
from modules.report.pictures import to_bytes
from modules.report.protocol import described
from modules.runtime import Runtime

SCHEMA = 1


def prepared(x: Tensor) -> Tensor:
    """Samples as they are measured: images clamped and quantized to 8 bits (spec §6), points as they are."""
    return to_bytes(x) if x.ndim == 4 else x


def taken(metric: Metric, x: Tensor, extracted: Extracted, data: Data) -> Tensor:
    """What a metric takes of samples x, as they are measured."""
    if metric.takes == "features":
        return extracted.features
    if metric.takes == "modes" and isinstance(data, Points):
        return data.cell(x.cpu())
    assert extracted.logits is not None  # see check_metrics
    return extracted.logits.argmax(1) if metric.takes == "modes" else extracted.logits.softmax(1)


def fill(
    metrics: list[SetMetric],
    data: Data,
    examples: Examples,
    count: int,
    features: Features,
    batch_size: int,
    runtime: Runtime,
) -> dict[str, Any]:
    """Give metrics their references, `count` examples spread evenly over the set; from the cache, if there.

    Returns:
        what they are, for the protocol.
    """
    identity = {
        "data": described(data),
        "count": count,
        "of": len(examples),
        "fingerprint": _fingerprint(examples),
    }
    waiting: dict[Path, list[SetMetric]] = {}
    for metric in metrics:
        waiting.setdefault(_file(metric, {**identity, **features.protocol}), []).append(metric)
    # one process looks, so that all go the same way
    here = [path for path in waiting if runtime.is_main and _load(path) is not None]
    known = set(runtime.gather_objects(here))
    missing = {path: group[0] for path, group in waiting.items() if path not in known}
    if missing:
        for index, x in _mine(examples, count, batch_size, runtime):
            x = prepared(x).to(runtime.device)
            extracted = features.extract(x)
            for metric in missing.values():
                metric.add_batch(references=taken(metric, x, extracted, data), indices=index)
        for path, metric in missing.items():
            metric.references.combine(runtime)
            if runtime.is_main:
                _save(path, metric.references.state())
    for path, group in waiting.items():
        state = group[0].references.state() if path in missing else _load(path)
        if state is None:
            raise DataError(f"{path} cannot be read by every process: HF_HOME must be shared by them")
        for metric in group:
            metric.references.load(state)
    return identity


def published(path: str | Path) -> Moments:
    """Moments of a published .npz with `mu` (d,) and `sigma` (d, d), as FID's codes write them."""
    path = Path(path).expanduser()
    try:
        with np.load(path, allow_pickle=False) as arrays:
            mean, covariance = (torch.tensor(arrays[name]).double() for name in ("mu", "sigma"))
    except FileNotFoundError as fault:
        raise DataError(f"there is no file {path}") from fault
    except KeyError as fault:
        raise DataError(f"{path} holds no statistics: it needs the arrays mu and sigma") from fault
    except (OSError, ValueError, TypeError, EOFError, zipfile.BadZipFile) as fault:
        reason = str(fault).splitlines()[0][:150]
        raise DataError(f"{path} cannot be read as an .npz without objects: {reason}") from fault
    if mean.ndim != 1 or covariance.shape != (len(mean), len(mean)):
        raise DataError(f"{path}: mu must be (d,) and sigma (d, d), got {tuple(mean.shape)}, "
                        f"{tuple(covariance.shape)}")  # fmt: skip
    return Moments.of(mean, covariance)


def check_metrics(metrics: list[Metric], features: Features, data: Data, num_classes: int) -> None:
    """Raise unless each metric can be had of this data by these features."""
    for metric in metrics:
        label = metric.label
        if metric.takes == "own":
            raise ConfigurationError(
                f"{label} isn't measured on samples: use {type(metric).__name__} in Python"
            )
        needs_classes = metric.takes == "probabilities" or (
            metric.takes == "modes" and not isinstance(data, Points)
        )
        if needs_classes and not features.has_logits:
            raise ConfigurationError(
                f"{label} needs a classifier, and {features.protocol['extractor']} has none: set "
                "another Evaluation.extractor"
            )
        if not isinstance(metric, SetMetric) and not num_classes:
            raise ConfigurationError(f"{label} needs a run trained with labels (NUM_CLASSES)")


def _mine(
    examples: Examples, count: int, batch_size: int, runtime: Runtime
) -> Iterator[tuple[Tensor, Tensor]]:
    """This process's share, batch by batch: places among the count, and examples."""
    places = torch.arange(count)[runtime.rank :: runtime.num_processes]
    for index in places.split(batch_size):
        yield index, examples.rows(index * len(examples) // count)[0]


def _fingerprint(examples: Examples) -> str:
    """SHA-256 of 64 examples: files may change under the same name."""
    few = min(64, len(examples))
    x = prepared(examples.rows(torch.arange(few) * len(examples) // few)[0])
    return hashlib.sha256(x.contiguous().numpy().tobytes()).hexdigest()[:16]


def _file(metric: SetMetric, identity: dict[str, Any]) -> Path:
    """Moments and rows are the same for all metrics that take the same; sums are a metric's own."""
    own = described(metric) if isinstance(metric.references, Sums) else None
    kind = type(metric.references).__name__.lower()
    key = json.dumps([SCHEMA, metric.takes, kind, own, identity], sort_keys=True)
    return cache_folder() / "references" / f"{kind}-{hashlib.sha256(key.encode()).hexdigest()[:24]}.npz"


def _load(path: Path) -> dict[str, np.ndarray] | None:
    """The arrays of a cached file; None where there is none, or a broken one, which is then made anew."""
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return dict(arrays)
    except (OSError, ValueError, EOFError, zipfile.BadZipFile):
        return None


def _save(path: Path, state: dict[str, np.ndarray]) -> None:
    """Write a cached file, complete or not at all; a cache that can't be written is no fault."""
    part = path.with_name(f".{path.name}.{os.getpid()}.npz")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        np.savez(part, allow_pickle=False, **state)
        part.rename(path)
    except OSError:
        part.unlink(missing_ok=True)
