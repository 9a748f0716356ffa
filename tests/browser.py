"""The Chromium that tests with the marker `browser` use, and what they start it with."""

from __future__ import annotations

import importlib.util
import shutil

import pytest

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
DRIVER = shutil.which("chromedriver")

# headless, and asking for nothing of its own
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]

needs_browser = pytest.mark.skipif(BROWSER is None, reason="Chromium is not installed")
needs_driver = pytest.mark.skipif(DRIVER is None, reason="chromedriver is not installed")


def needs_package(name: str, extra: str) -> pytest.MarkDecorator:
    """Skip where an optional package is missing."""
    reason = f'{name} is not installed: pip install -e ".[{extra}]"'
    return pytest.mark.skipif(importlib.util.find_spec(name) is None, reason=reason)
