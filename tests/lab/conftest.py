"""A lab that is served, with a small trained network, and a browser to open it in: Chromium, driven by Playwright.

`make test-lab` installs what these tests need. CHROMIUM names a browser that is not on the PATH.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-background-networking",
    "--disable-component-update",
]
TRAIN = "train mnist --hidden 32 --dropout 0 --epochs 2 --name digits --progress off"


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    """The browser; tests skip where there is none."""
    path = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    if path is None:
        pytest.skip("chromium is not on the PATH, and CHROMIUM does not name it")
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: make test-lab")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def lab_address(chromium: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address, with its token, of a lab whose folder has a trained network of digits."""
    folder = tmp_path_factory.mktemp("lab")
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "nnbackprop"]
    subprocess.run([*command, *TRAIN.split()], cwd=folder, env=environment, check=True, timeout=120)
    words = [*command, "lab", "--port", "0", "--no-browser"]
    with subprocess.Popen(words, cwd=folder, env=environment, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        found = re.search(r"http://\S+", server.stdout.readline())
        assert found is not None
        yield found.group()
        server.terminate()


class Window:
    """A window of the browser, and everything that the page complained of or asked another server for."""

    def __init__(self, browser: Any, address: str, **options: Any) -> None:
        self.complaints: list[str] = []
        self.origin = address.split("/?")[0]
        self.context = browser.new_context(reduced_motion="reduce", locale="en-US", **options)
        self.context.grant_permissions(["clipboard-read", "clipboard-write"], origin=self.origin)
        self.context.set_default_timeout(15_000)
        self.page = self.context.new_page()
        self.page.on("console", lambda message: self._note(message.type == "error", message.text))
        self.page.on(
            "response", lambda answer: self._note(answer.status >= 500, f"{answer.status} for {answer.url}")
        )
        self.page.on("pageerror", lambda error: self._note(True, str(error)))
        self.page.on("request", lambda request: self._note(not self._ours(request.url), f"asks for {request.url}"))
        self.page.goto(address)

    def _ours(self, url: str) -> bool:
        return url.startswith((self.origin, "data:", "blob:"))

    def _note(self, bad: bool, text: str) -> None:
        refused = text.startswith("Failed to load resource")  # such as a drawing that has no digit yet
        if bad and not refused:
            self.complaints.append(text)

    def open(self, fragment: str) -> Any:
        """The page at a fragment, as when its link is followed."""
        self.page.goto(f"{self.origin}/#{fragment}")
        self.page.reload()
        self.page.wait_for_function("() => document.querySelector('[role=tab][aria-selected=true]')")
        return self.page


@pytest.fixture
def window(chromium: Any, lab_address: str) -> Iterator[Window]:
    """A window of 1280 x 900; the test fails if the page complains or asks for anything from elsewhere."""
    opened = Window(chromium, lab_address, viewport={"width": 1280, "height": 900})
    yield opened
    opened.context.close()
    assert opened.complaints == []


@pytest.fixture
def phone(chromium: Any, lab_address: str) -> Iterator[Window]:
    """A window of 360 x 740 in the dark."""
    opened = Window(chromium, lab_address, viewport={"width": 360, "height": 740}, color_scheme="dark")
    yield opened
    opened.context.close()
    assert opened.complaints == []
