"""What several files of this room share."""

from __future__ import annotations

import datasets
import pytest


@pytest.fixture
def own_cache(tmp_path, monkeypatch) -> None:
    """Converted files go below the test's folder, which is the working folder."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.chdir(tmp_path)
