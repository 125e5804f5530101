"""The picture of the lab in README and docs/lab.md: Step through in Chromium, driven by Playwright."""

from __future__ import annotations

import os
import shutil
import tempfile
from io import BytesIO
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright

from benchmarks.lab_visitor import serving

from . import ROOT

PATH = ROOT / "docs" / "figures" / "lab.png"
WIDTH, HEIGHT, SCALE = 1240, 960, 1.5
STATE = "#step?net=2-2-1&sample=0&line=17&number=dw1.0.0"


def draw() -> None:
    """Serve the lab, open it at a line of backward, and keep what the window shows."""
    with tempfile.TemporaryDirectory() as folder, serving(Path(folder)) as (address, _):
        picture = _window(address)
    colours = Image.open(BytesIO(picture)).convert("RGB").quantize(192, dither=Image.Dither.NONE)
    colours.save(PATH, optimize=True)


def _window(address: str) -> bytes:
    """What a window shows of the page, in light."""
    with sync_playwright() as playwright:
        path = os.environ.get("CHROMIUM") or shutil.which("chromium")
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        page = browser.new_page(
            viewport={"width": WIDTH, "height": HEIGHT},
            device_scale_factor=SCALE,
            color_scheme="light",
            locale="en-US",
        )
        page.goto(address)
        page.goto(address.split("?")[0] + STATE)
        page.reload()
        page.wait_for_selector(".diagram .number.now")
        page.mouse.move(0, 0)
        picture: bytes = page.screenshot()
        browser.close()
    return picture
