"""The exported page: it needs no server of ours, computes what the package computes, and knows a drawn seven."""

from __future__ import annotations

import json
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
from nnbackprop.data.readers import idx
from nnbackprop.lab.export import network
from nnbackprop.lab.messages import encode
from nnbackprop.runs.config_files import resolve
from nnbackprop.runs.explanation import output_gradient
from nnbackprop.runs.train import start
from nnbackprop.runs.trained_model import TrainedModel
from tests.support.lab_window import Window

ROOT = Path(__file__).resolve().parents[2]
IMAGES = """async ([draw, pixels, label]) => {
    const {forward, inputGradient, inputOf} = await import('./static/js/draw/local.js');
    const {passes, answer} = forward(draw, inputOf(draw, pixels));
    return [answer.probabilities, [...inputGradient(passes, (_, k) => Number(k === label))]];
}"""
LAYERS = (
    *("conv 4 5x5 padding=same stride=2", "batchnorm", "leaky-relu", "maxpool 3 stride=2"),
    *("conv 6 3x2 padding=1", "relu", "averagepool 2", "dropout 0.1", "conv 8 2x2", "tanh"),
    *("globalaveragepool", "dense 12", "batchnorm", "gelu", "dense"),
)
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


def test_a_page_without_a_network_says_so_and_offers_no_training(chromium: Any, exported: str) -> None:
    window = Window(chromium, exported)
    page = window.page
    page.route("**/lab.json", lambda route: route.fulfill(json=route.fetch().json() | {"draw": None}))
    page.reload()
    page.click("#tab-draw")
    page.click("[data-do=example]")
    page.wait_for_selector(".verdict-line:text-is('No trained network of digits is here yet.')")
    assert not page.is_visible("[data-do=train-now]")
    window.context.close()


def test_a_link_of_a_sample_that_is_not_on_the_page_says_so(chromium: Any, exported: str) -> None:
    window = Window(chromium, exported)
    page = window.page
    page.wait_for_selector(".diagram")
    page.goto(f"{exported}#step?net=16-3-10&sample=5&seed=0")
    page.wait_for_selector(".batch-name:text-is('Batch of 8 samples')")
    assert not page.is_visible("#notice")
    for words in ("sample=50", "sample=5&seed=3"):
        page.goto(f"{exported}#step?net=16-3-10&{words}")
        page.wait_for_selector("#notice:has-text('does not have the sample or the first weights')")
        page.click("#notice .close")
    assert window.complaints == []
    window.context.close()


def test_layers_of_images_are_those_of_the_package_forward_and_backward(
    chromium: Any, exported: str, tmp_path: Path
) -> None:
    digits = load("mnist").test
    for name, array in (("images-idx3", digits.inputs[:300]), ("labels-idx1", digits.targets[:300])):
        content = np.asarray(array, np.uint8).reshape(-1, 28, 28) if name == "images-idx3" else np.uint8(array)
        (tmp_path / f"train-{name}-ubyte").write_bytes(idx.to_bytes(content))
    settings = {"data": str(tmp_path), "layers": LAYERS, "epochs": 2, "runs_dir": str(tmp_path), "name": "cnn"}
    with start(resolve("cnn", settings)) as run:
        run.fit()
    model = TrainedModel.open("cnn", tmp_path)
    draw = json.loads(encode(network(model)))
    assert draw["title"] == "784-4-6-8-12-10"

    window = Window(chromium, exported)
    for image, label in zip(np.asarray(digits.inputs[300:303]).reshape(-1, 1, 784), (1, 4, 7), strict=True):
        p, dx = window.page.evaluate(IMAGES, [draw, image[0].tolist(), label])
        np.testing.assert_allclose(p, model.predict_proba(image)[0], rtol=1e-4, atol=1e-6)
        expected = output_gradient(model, image, label)[0] / model.evaluator.scaling.scale
        np.testing.assert_allclose(dx, expected, rtol=1e-3, atol=1e-5 * np.abs(expected).max())
    window.context.close()
