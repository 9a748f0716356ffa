"""Someone who looks at the demo page with Chromium, and sees what it asks for and complains of."""

from __future__ import annotations

import json
import time
import urllib.request
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
from PIL import Image

from tests.browser import BROWSER, DRIVER, FLAGS

_SEEN = """
const image = document.querySelector('#' + arguments[0] + ' img');
if (!image || !image.complete || image.naturalWidth < 2) return null;
const box = image.getBoundingClientRect();
return box.width > 50 && box.height > 50 ? [image.src, getComputedStyle(image).imageRendering] : null;
"""


class Visitor:
    """A browser on a page. Its log of requests and of the console goes back to the last look at it."""

    def __init__(self, url: str, profile: Path) -> None:
        from selenium import webdriver

        options = webdriver.ChromeOptions()
        options.binary_location = str(BROWSER)
        for flag in (*FLAGS, "--window-size=1280,1000", f"--user-data-dir={profile}"):
            options.add_argument(flag)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
        self.url, self.folder = url, profile
        self.driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
        self.driver.get(url)
        self.until(lambda: self.text("h1"))

    def until(self, seen: Callable[[], Any], seconds: float = 90) -> Any:
        """The first true value of `seen`, waited for; the page may change while it's looked at."""
        from selenium.common.exceptions import StaleElementReferenceException

        end = time.monotonic() + seconds
        while time.monotonic() < end:
            try:
                if value := seen():
                    return value
            except StaleElementReferenceException:
                pass
            time.sleep(0.2)
        raise AssertionError(f"waited in vain; the page shows {self.text('body')!r}")

    def all(self, selector: str) -> list[Any]:
        """Elements by CSS that are shown."""
        return [e for e in self.driver.find_elements("css selector", selector) if e.is_displayed()]

    def text(self, selector: str) -> str:
        """Of the first such element, empty if there is none."""
        found = self.all(selector)
        return found[0].text if found else ""

    def tab(self, name: str) -> None:
        """Turn to a tab."""
        self.until(lambda: [e for e in self.all("button[role=tab]") if e.text == name])[0].click()
        self.until(lambda: self.text("button[role=tab][aria-selected=true]") == name)

    def press(self, elem_id: str) -> None:
        """Click on a button."""
        self.until(lambda: self.all(f"#{elem_id}"))[0].click()

    def fill(self, label: str, value: str) -> None:
        """Type into the field with this label, in place of what it has."""
        field = self.until(lambda: self.all(f"input[aria-label^='{label}']"))[0]
        field.click()
        field.send_keys("\ue009a\ue000", value, "\ue007\ue004")  # Ctrl+A; then Enter, Tab

    def choose(self, label: str, option: str) -> None:
        """Choose from the list with this label."""
        self.until(lambda: self.all(f"input[aria-label^='{label}']"))[0].click()
        self.until(lambda: [e for e in self.all("[role=option]") if e.text.endswith(option)])[0].click()

    def upload(self, path: Path) -> None:
        """Give a file to the page's upload button."""
        self.driver.find_element("css selector", "input[data-testid$='upload-button']").send_keys(str(path))

    def picture(self, elem_id: str, other_than: str = "") -> tuple[str, Image.Image]:
        """Address and pixels of a picture once it is shown, with hard pixels."""
        found = self.until(
            lambda: (seen := self.driver.execute_script(_SEEN, elem_id)) and seen[0] != other_than and seen
        )
        assert found[1] == "pixelated"
        return found[0], Image.open(BytesIO(urllib.request.urlopen(found[0], timeout=60).read()))

    def screenshot(self) -> np.ndarray:
        """What is seen, as grey values (h, w)."""
        return np.asarray(Image.open(BytesIO(self.driver.get_screenshot_as_png())).convert("L"))

    def complaints(self) -> list[str]:
        """Errors on the console, and requests to anywhere but the page's own server."""
        errors = [e["message"] for e in self.driver.get_log("browser") if e["level"] == "SEVERE"]
        requests = []
        for entry in self.driver.get_log("performance"):
            message = json.loads(entry["message"])["message"]
            if message["method"] == "Network.requestWillBeSent":
                requests.append(message["params"]["request"]["url"])
            elif message["method"] == "Network.webSocketCreated":
                requests.append(message["params"]["url"])
        own = urlsplit(self.url).netloc
        assert any(urlsplit(url).netloc == own for url in requests)  # the log is a log
        return errors + [u for u in requests if urlsplit(u).scheme in _NETWORK and urlsplit(u).netloc != own]


_NETWORK = ("http", "https", "ws", "wss", "ftp")
