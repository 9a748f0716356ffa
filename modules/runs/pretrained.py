"""A shared run, from a folder or from the Hub."""

from __future__ import annotations

from pathlib import Path

from modules.runs.hub import SHARED, one_line
from modules.runs.loading import load
from modules.runs.run import Run


def from_pretrained(
    name: str | Path,
    revision: str | None = None,
    imports: tuple[str, ...] = (),
    cache_dir: str | Path | None = None,
    local_files_only: bool = False,
    token: str | None = None,
    endpoint: str | None = None,
) -> Run:
    """The run that a folder of save_pretrained holds, or a repository of the Hub. No code of it is run.

    Args:
        name: the folder, or "user/name".
        revision: a branch, tag or commit; None: main.
        imports: modules of the run's own, from a source that you trust.
        cache_dir, local_files_only, token, endpoint: of the download, as huggingface_hub has them.

    Raises:
        CheckpointError: there is no such folder or repository, or it holds no run.
    """
    folder = Path(name)
    if not folder.is_dir():
        from huggingface_hub import snapshot_download

        with one_line(str(name), revision):
            folder = Path(
                snapshot_download(
                    str(name),
                    revision=revision,
                    cache_dir=cache_dir,
                    local_files_only=local_files_only,
                    token=token,
                    endpoint=endpoint,
                    allow_patterns=SHARED,
                )
            )
    weights = "ema" if any(folder.glob("checkpoints/*/energy_ema.safetensors")) else "live"
    return load(folder, weights=weights, imports=imports)
