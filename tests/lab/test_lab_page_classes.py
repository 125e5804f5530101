"""The lab's page with a network whose classes are not named by their numbers: ex4 has 1, 2, ..., 9 and 0."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from benchmarks.lab_visitor import COMMAND, environment, serving
from nnbackprop.runs.trained_model import TrainedModel
from tests.support.lab_window import TEXTS, Window

CLASSES = [*"123456789", "0"]
LEGEND = """async () => {
    const {map} = await import('/static/js/look/map.js');
    const labels = Array.from({length: 12}, (_, k) => 11 - k);
    const found = {labels, predicted: labels, indices: labels, classes: labels.map((k) => `class ${11 - k}`),
        points: labels.map((k) => [k, k]), layer: 'dense1', layers: null, explained: [1, 0]};
    const box = document.createElement('div');
    await map(box, async () => found, () => {});
    return [...box.querySelectorAll('.map-legend li')].map((one) => one.textContent);
}"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run of ex4."""
    place = tmp_path_factory.mktemp("named")
    words = "train ex4 --epochs 20 --name ex4 --progress off"
    subprocess.run([*COMMAND, *words.split()], cwd=place, env=environment(), check=True, timeout=300)
    return place


@pytest.fixture(scope="module")
def named(chromium: Any, folder: Path) -> Iterator[Window]:
    with serving(folder) as (address, _):
        window = Window(chromium, address)
        yield window
        window.context.close()
        assert window.complaints == []


def test_an_answer_is_told_by_the_names_of_the_classes(named: Window) -> None:
    page = named.open("draw")
    page.click("[data-do=example]")
    page.wait_for_selector(".bar.top-class")
    assert page.locator(".bar .name").all_inner_texts() == CLASSES
    assert page.inner_text(".verdict-line").split(",")[0] == page.inner_text(".bar.top-class .name")
    page.wait_for_function(TEXTS, arg=["[name=towards] option", ["predicted class", *CLASSES]])
    with page.expect_request(lambda request: '"explain":0' in (request.post_data or "")):
        page.select_option("[name=towards]", "1")
    page.wait_for_selector(".gradient-row canvas[aria-label*='class 1 ']")


def test_samples_and_the_map_are_named_by_class(named: Window, folder: Path) -> None:
    model = TrainedModel.open("ex4", folder / "runs")
    data = model.data()
    predicted = model.predict(data.inputs)
    true, said = next((t, p) for t, p in zip(data.targets, predicted, strict=True) if t != p)
    page = named.open("look?view=confusion&run=ex4")
    page.wait_for_selector(".matrix")
    page.locator(".matrix tbody tr").nth(true).locator("button").nth(said).click()
    page.wait_for_selector(".cell-samples .tile span")
    caption = page.locator(".cell-samples .tile span").first.inner_text()
    assert caption.startswith(f"{CLASSES[true]} called {CLASSES[said]}, ")
    page.click(".matrix button.empty")
    page.wait_for_selector(".cell-samples p:text-is('There are none.')")
    page.click("[data-view=map]")
    page.wait_for_selector(".map-legend")
    assert page.locator(".map-legend li").all_inner_texts() == CLASSES
    assert page.evaluate(LEGEND) == [f"class {k}" for k in range(12)]  # in numeric order
