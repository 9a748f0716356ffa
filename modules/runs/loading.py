"""A run from its folder: its configuration built, the weights of one checkpoint in its networks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from modules.core.checks import ConfigurationError, check_choice
from modules.core.generators import own_generators
from modules.runs.data_record import DataRecord
from modules.runs.folder import is_bound, saved_config
from modules.runs.run import Run


def load(
    folder: str | Path,
    checkpoint: str | Path | None = None,
    weights: str = "ema",
    overrides: Sequence[str] = (),
    imports: Sequence[str] = (),
    trust_imports: bool = False,
    parts: Mapping[str, Mapping[str, Any]] | None = None,
    allow_changes: bool = False,
) -> Run:
    """Rebuild a run; threads may do so at once. The process keeps its generators and its number of threads.

    Args:
        folder: the run's.
        checkpoint: one of its checkpoints; "best": that of its best step; None: the newest whole one.
        weights: "ema" or "live".
        overrides: gin bindings over the run's own, such as "Langevin.num_steps=30".
        imports: modules of the user's own, those that the run was trained with among them.
        trust_imports: import what the folder names; it is code, which a stranger's folder may name too.
        parts: registered names -> arguments of components to build beside the run's own, with its bindings
            and the overrides, such as {"chains/Langevin": {"num_steps": 20}}.
        allow_changes: let `open_data` give other data than those it was trained on.

    Raises:
        CheckpointError, ConfigurationError: what is missing or doesn't fit, in one line.
    """
    for binding in overrides:
        if binding.split("=")[0].strip().endswith("Schedule.num_levels"):
            raise ConfigurationError(
                f"{binding.strip()}: a run is sampled on the levels it was trained on, its networks know no "
                "other steps between levels: take fewer chain steps (--steps), or train with fewer levels"
            )
    check_choice("weights", weights, ("ema", "live"))
    folder = Path(folder)
    built = saved_config(folder, overrides, imports, trust_imports)
    made: dict[str, Any] = {}
    with own_generators():  # of weights that those of the checkpoint replace
        for name in ("method", "generation", "data", "evaluation", "runtime"):
            needed = name in ("method", "generation", "data") or is_bound(built, f"Trainer.{name}")
            made[name] = built.value(f"Trainer.{name}") if needed else None
        run = Run(**made)
    # outside, where an operation costs less: here nothing is drawn
    run.take_weights(folder, checkpoint, weights)
    with own_generators():
        run.config, run.recorded, run.allow_changes = built, DataRecord.read(folder), allow_changes
        if run.extractor is None and is_bound(built, "Evaluation.extractor"):
            run.extractor = built.value("Evaluation.extractor")
        run.parts = {name: built.build(name, given) for name, given in (parts or {}).items()}
    built.check_used()
    return run
