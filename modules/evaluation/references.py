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

from modules.core.checks import ConfigurationError, DataError
from modules.data.base import Examples
from modules.data.points import Points
from modules.data.quantization import to_bytes
from modules.features.cache import cache_folder
from modules.features.views import Views
from modules.metrics.base import Metric, PairMetric, SetMetric
from modules.metrics.rows import Rows
from modules.metrics.stores import Moments, check_moments
from modules.report.protocol import described
from modules.runtime.runtime import Runtime
from modules.storage import durable

SCHEMA = 2  # of the files, and of what this package's own code puts into them
_BLOCK = 2**12  # rows looked at at once


def prepared(x: Tensor) -> Tensor:
    """Samples as they are measured: images clamped and quantized to 8 bits (spec §6), points as they are."""
    return to_bytes(x) if x.ndim == 4 else x


def fill(
    metrics: list[SetMetric],
    views: Views,
    examples: Examples,
    count: int,
    batch_size: int,
    runtime: Runtime,
) -> dict[str, Any]:
    """Give metrics their references, `count` examples spread evenly over the set; from the cache, if there.

    Returns:
        what they are, for the protocol.
    """
    identity = {
        "data": described(views.data),
        "count": count,
        "of": len(examples),
        # files may change under the same name; one process reads them all
        "fingerprint": runtime.gather_objects([examples.fingerprint if runtime.is_main else None])[0],
    }
    waiting: dict[Path, list[SetMetric]] = {}
    for metric in metrics:
        protocol = views.network(metric.takes).protocol
        waiting.setdefault(_file(metric, {**identity, **protocol}), []).append(metric)
    # one process looks, so that all go the same way
    here = [path for path in waiting if runtime.is_main and _load(path) is not None]
    known = set(runtime.gather_objects(here))
    missing = {path: group[0] for path, group in waiting.items() if path not in known}
    if missing:
        for index, x in _mine(examples, count, batch_size, runtime):
            x = prepared(x).to(runtime.device)
            seen = views.of(x, {metric.takes for metric in missing.values()})
            for metric in missing.values():
                metric.add_batch(references=seen[metric.takes], indices=index)
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
            mean, covariance = (torch.tensor(arrays[name]) for name in ("mu", "sigma"))
    except FileNotFoundError as fault:
        raise DataError(f"there is no file {path}") from fault
    except KeyError as fault:
        raise DataError(f"{path} holds no statistics: it needs the arrays mu and sigma") from fault
    except (OSError, ValueError, TypeError, EOFError, zipfile.BadZipFile) as fault:
        reason = str(fault).splitlines()[0][:150]
        raise DataError(f"{path} cannot be read as an .npz without objects: {reason}") from fault
    check_moments(mean, covariance, f"{path}: ")
    return Moments.of(mean, covariance)


def check_metrics(metrics: list[Metric], views: Views, num_classes: int) -> None:
    """Raise unless each metric can be had of this data by these networks."""
    for metric in metrics:
        label, data, network = metric.label, views.data, views.network(metric.takes)
        if metric.takes == "own":
            raise ConfigurationError(
                f"{label} isn't measured on samples: use {type(metric).__name__} in Python"
            )
        if metric.takes == "density":
            if not isinstance(data, Points) or type(data).log_density is Points.log_density:
                raise ConfigurationError(
                    f"{label} needs data of a known density in the plane, and {type(data).__name__} has none"
                )
            continue
        needs_classes = metric.takes in ("probabilities", "classes") or (
            metric.takes == "modes" and not isinstance(data, Points)
        )
        if needs_classes and not network.has_logits:
            setting = "extractor" if metric.takes == "probabilities" else "classifier"
            raise ConfigurationError(
                f"{label} needs a classifier, and {network.protocol['extractor']} has none: set another "
                f"Evaluation.{setting}"
            )
        if isinstance(metric, PairMetric) and not num_classes:
            raise ConfigurationError(f"{label} needs a run trained with labels (NUM_CLASSES)")


def check_classes(examples: Examples, views: Views, num_classes: int, device: torch.device) -> None:
    """Raise unless the classifier has the model's classes: another's are none that could be asked for."""
    one = views.of(prepared(examples.rows(torch.tensor([0]))[0]).to(device), ["classes"])["classes"]
    if one.shape[1] != num_classes:
        raise ConfigurationError(
            f"class_accuracy: the run has {num_classes} classes, the classifier "
            f"{views.classifier.protocol['extractor']} {one.shape[1]}: set another Evaluation.classifier"
        )


def _mine(
    examples: Examples, count: int, batch_size: int, runtime: Runtime
) -> Iterator[tuple[Tensor, Tensor]]:
    """This process's share, batch by batch: places among the count, and examples."""
    places = torch.arange(count)[runtime.rank :: runtime.num_processes]
    for index in places.split(batch_size):
        yield index, examples.rows(index * len(examples) // count)[0]


def _file(metric: SetMetric, identity: dict[str, Any]) -> Path:
    """Moments and rows of what is taken are the same for all metrics that take the same.

    Sums, summaries and other stores are a metric's own.
    """
    taken = type(metric)
    taken_as_it_is = taken.summary is SetMetric.summary and taken.add_batch is SetMetric.add_batch
    plain = type(metric.references) in (Moments, Rows) and taken_as_it_is
    own = None if plain else described(metric)
    kind = type(metric.references).__name__.lower()
    key = json.dumps([SCHEMA, metric.takes, kind, own, identity], sort_keys=True)
    suffix = "npy" if isinstance(metric.references, Rows) else "npz"  # an .npy can be mapped into memory
    return cache_folder() / "references" / f"{kind}-{hashlib.sha256(key.encode()).hexdigest()[:24]}.{suffix}"


def _load(path: Path) -> dict[str, np.ndarray] | None:
    """The arrays of a cached file; None where there is none, or a broken one, which is then made anew."""
    try:
        if path.suffix == ".npy":
            return _finite({"rows": np.load(path, mmap_mode="c", allow_pickle=False)})
        with np.load(path, allow_pickle=False) as arrays:
            return _finite(dict(arrays))
    except (OSError, ValueError, TypeError, EOFError, zipfile.BadZipFile):
        return None


def _finite(state: dict[str, np.ndarray]) -> dict[str, np.ndarray] | None:
    """The arrays, if all their numbers are finite; of many rows a block is read at a time."""
    blocks = (a[i : i + _BLOCK] for a in map(np.atleast_1d, state.values()) for i in range(0, len(a), _BLOCK))
    return state if all(np.isfinite(block).all() for block in blocks) else None


def _save(path: Path, state: dict[str, np.ndarray]) -> None:
    """Write a cached file, complete or not at all; a cache that can't be written is no fault."""
    part = path.with_name(f".{path.stem}.{os.getpid()}{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".npy":
            np.save(part, state["rows"], allow_pickle=False)
        else:
            np.savez(part, allow_pickle=False, **state)
        part.rename(path)
    except OSError:
        durable.discard(part)
