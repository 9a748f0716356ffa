"""Figures are drawn here, where they are looked at."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests import light


@pytest.fixture(scope="package", autouse=True)
def figures() -> Iterator[None]:
    with light.drawn():
        yield
