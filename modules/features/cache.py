"""Where what is computed or fetched once is kept: below the Hugging Face cache folder."""

from __future__ import annotations

import os
from pathlib import Path


def cache_folder() -> Path:
    """$HF_HOME/recovery-likelihood; not made here."""
    home = os.environ.get("HF_HOME") or Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")) / "huggingface"
    return Path(home).expanduser() / "recovery-likelihood"
