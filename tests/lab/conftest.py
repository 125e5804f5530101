"""A lab that is served, with a small trained network, and a browser to open it in: Chromium, driven by Playwright.

`make test-lab` installs what these tests need. CHROMIUM names a browser that is not on the PATH.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from benchmarks.lab_visitor import COMMAND, environment, serving
from tests.support.lab_window import Window

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
def lab_folder(chromium: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a trained network of digits, runs/digits."""
    folder = tmp_path_factory.mktemp("lab")
    subprocess.run([*COMMAND, *TRAIN.split()], cwd=folder, env=environment(), check=True, timeout=300)
    return folder


@pytest.fixture(scope="session")
def lab_address(lab_folder: Path) -> Iterator[str]:
    """The address, with its token, of a lab of that folder."""
    with serving(lab_folder) as (address, _):
        yield address


@pytest.fixture
def window(chromium: Any, lab_address: str) -> Iterator[Window]:
    """A window of 1280 x 900; the test fails if the page complains or asks for anything from elsewhere."""
    opened = Window(chromium, lab_address, viewport={"width": 1280, "height": 900})
    yield opened
    opened.context.close()
    assert opened.complaints == []


@pytest.fixture
def empty_lab(chromium: Any, tmp_path: Path) -> Iterator[Window]:
    """A window on a lab of a folder without runs."""
    with serving(tmp_path) as (address, _):
        opened = Window(chromium, address, viewport={"width": 1280, "height": 900})
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
