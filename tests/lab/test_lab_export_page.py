"""The exported page: it needs no server of ours, computes what the package computes, and knows a drawn seven."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nnbackprop.data.catalog import load
from nnbackprop.runs.trained_model import TrainedModel
from tests.support.lab_window import Window

ROOT = Path(__file__).resolve().parents[2]
PREDICT = """async (images) => {
    const {draw} = await (await fetch('lab.json')).json();
    const {forward, inputOf} = await import('./static/js/draw/local.js');
    return images.map((pixels) => forward(draw, inputOf(draw, pixels)).answer.probabilities);
}"""


class Quiet(SimpleHTTPRequestHandler):
    """A web server of files, as a school has, that writes no log."""

    def log_message(self, format: str, *values: Any) -> None:
        """Nothing."""


@pytest.fixture(scope="module")
def exported(lab_folder: Path) -> Iterator[str]:
    """The address of the page that `nnbackprop lab digits --export page` writes, on another server."""
    words = [sys.executable, "-m", "nnbackprop", "lab", "digits", "--export", "page"]
    subprocess.run(words, cwd=lab_folder, env={**os.environ, "PYTHONPATH": str(ROOT)}, check=True, timeout=120)
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(lab_folder / "page")))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    server.server_close()


def test_the_exported_page_works_without_our_server(chromium: Any, exported: str, lab_folder: Path) -> None:
    window = Window(chromium, exported, viewport={"width": 1280, "height": 900})
    page = window.page
    page.wait_for_selector(".diagram")
    assert page.locator("[role=tab]").all_inner_texts() == ["Draw", "Step through", "Share"]
    page.click("[data-do=end]")
    assert page.get_attribute('.diagram [data-id="J"]', "data-value") is not None
    page.select_option("[name=optimizer]", "adam")
    page.select_option("[name=activation]", "silu")
    page.click("[data-do=end]")
    page.click('.diagram [data-id="s0w1.0.0"]')
    assert "m = beta1 * m + one_minus_beta1 * dw" in page.text_content(".code mark")
    page.click("#tab-draw")
    page.click("[data-do=example]")  # a seven
    page.wait_for_selector(".bar.top-class .name:text-is('7')")

    images = load("mnist").test.inputs[:50]
    model = TrainedModel.open("digits", lab_folder / "runs")
    made = page.evaluate(PREDICT, np.asarray(images).reshape(50, -1).tolist())
    np.testing.assert_allclose(made, model.predict_proba(images), rtol=1e-4, atol=1e-6)
    assert window.complaints == []
    window.context.close()
