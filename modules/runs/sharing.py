"""A run given to others: a folder with what sampling needs, which is a run's folder itself, and the Hub.

run.save_pretrained("shared")                      # the averaged weights, the configuration, a model card
run.push_to_hub("user/name")
run = runs.from_pretrained("user/name", revision="main")
"""

from __future__ import annotations

import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from modules.core.checks import CheckpointError, ConfigurationError, check_integer
from modules.report.pictures import save_samples
from modules.runs import card
from modules.runs.folder import CONFIG, IMPORTS
from modules.runs.hub import SHARED, one_line
from modules.runs.trained import Trained
from modules.storage import checkpoints, durable


def save_pretrained(run: Trained, folder: str | Path, license: str = "other", num_samples: int = 16) -> Path:
    """Write what others need to sample: a run's folder without optimizers, whose README.md is a model card.

    The weights are those that the run was loaded with, as safetensors; the configuration is gin text without
    imports, and names modules of the user's own without their folders.

    Args:
        run: as it was loaded, not a composition.
        folder: a new or empty one.
        license: of the weights, as the Hub names it.
        num_samples: of the card's picture; 0: none.

    Returns:
        the folder.

    Raises:
        ConfigurationError: a composition of runs. CheckpointError: a folder that holds something.
    """
    folder = Path(folder)
    check_integer("num_samples", num_samples, low=0)
    if run.energy is not run.method.energy:
        raise ConfigurationError("a composition of runs has no weights of its own: share its runs one by one")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise CheckpointError(f"{folder} holds something already: name a new folder")
    if run.config is None or run.checkpoint is None:
        raise ConfigurationError(
            "a run made of objects has no configuration to share: load the folder that its Trainer wrote"
        )
    tensors, state = checkpoints.load(run.checkpoint)
    suffix = "_ema" if run.weights == "ema" else ""
    wanted = {f"{name}{suffix}" for name in run.method.networks()} | {"method_state", "generation_state"}
    numbers: dict[str, Any] = {name: state[name] for name in ("step", "seed", "updates") if name in state}
    of_run = {group: values for group, values in tensors.items() if group in wanted}
    checkpoints.save(checkpoints.path_of(folder, run.step), of_run, numbers)
    durable.replace_file(folder / CONFIG, run.config.text)
    names = [Path(name).name if name.endswith(".py") else name for name in run.config.imports]
    about = {"library_name": card.LIBRARY, "step": run.step, "weights": run.weights, "imports": names}
    durable.replace_file(folder / IMPORTS, json.dumps(about, indent=1) + "\n")
    if run.recorded is not None:
        run.recorded.write(folder)
    if num_samples:
        classes = run.energy.num_classes
        label = [i % classes for i in range(num_samples)] if classes else None
        save_samples(run.generate(num_samples, label=label).x, [], folder / card.PICTURE)
    durable.replace_file(folder / "README.md", card.text(run, run.config.text, license, bool(num_samples)))
    return folder


def push_to_hub(
    run: Trained,
    repo_id: str,
    license: str = "other",
    num_samples: int = 16,
    private: bool = False,
    revision: str | None = None,
    token: str | None = None,
    endpoint: str | None = None,
) -> str:
    """Upload what save_pretrained writes; the address of the commit.

    Args:
        repo_id: "user/name", which is made where it isn't there.
        license, num_samples: see save_pretrained.
        private: whether a new repository is.
        revision: a branch that is there; None: main.
        token: None: that of `hf auth login`, or of HF_TOKEN.
        endpoint: of another Hub.

    Raises:
        CheckpointError: the Hub refuses, or can't be reached.
    """
    from huggingface_hub import HfApi

    api = HfApi(endpoint=endpoint, token=token)
    with TemporaryDirectory() as temporary:
        folder = save_pretrained(run, Path(temporary) / "shared", license, num_samples)
        with one_line(repo_id):
            api.create_repo(repo_id, private=private, exist_ok=True)
            done = api.upload_folder(
                repo_id=repo_id,
                folder_path=folder,
                revision=revision,
                allow_patterns=SHARED,
                commit_message=f"Step {run.step:,} of a run of {card.LIBRARY}",
            )
    return str(done)
