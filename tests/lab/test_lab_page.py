"""The lab's page in Chromium: it trains, recognises a drawn digit, and works by keyboard and on a phone."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from nnbackprop.data.readers import idx
from nnbackprop.lab.messages import encode
from nnbackprop.runs.config_files import load_run_config
from nnbackprop.runs.run_table import compare_runs
from tests.support.lab_window import start, status

AXE = Path(os.environ.get("AXE", "no file"))
VIOLATIONS = """(rules) => axe.run(document, rules ? {runOnly: rules} : {}).then(({violations}) =>
    violations.map(({id, nodes}) => [id, nodes.slice(0, 3).map((one) => [one.html, one.failureSummary])]))"""
STARTING = """() => document.querySelector('.chip-status').dataset.status === 'starting' && {
    name: document.querySelector('.run-name').textContent,
    charts: document.querySelector('.charts').checkVisibility(),
    loss: document.querySelectorAll('.tiles dd')[2].textContent,
}"""
SAYS = """async (model) => {
    const {says} = await import('/static/js/draw/answer.js');
    const answer = {classes: ['0', '1'], predicted: 1, probabilities: [0.2, 0.8], model};
    says(document.querySelector('#draw'), answer, '');
    return document.querySelector('#draw .model').textContent;  // at once: the page asks for answers of its own
}"""
TABS = ("train", "draw", "step", "look", "share")


def tile(page: Any, name: str) -> float:
    """A number of the run on show."""
    names, values = (page.locator(f".tiles {tag}").all_inner_texts() for tag in ("dt", "dd"))
    return float(dict(zip(names, values, strict=True))[name].replace("\u2009", ""))


def stroke(page: Any, points: list[tuple[int, int]]) -> None:
    box = page.locator(".drawing").bounding_box()
    page.mouse.move(box["x"] + points[0][0], box["y"] + points[0][1])
    page.mouse.down()
    for x, y in points[1:]:
        page.mouse.move(box["x"] + x, box["y"] + y, steps=8)
    page.mouse.up()


def test_weight_height_trains_to_its_end_and_is_compared(window: Any, lab_folder: Path) -> None:
    page = window.open("train")
    start(page, "weight-height", lr="0.2")
    status(page, "finished")
    assert page.inner_text(".tiles dd >> nth=0") == "1000 / 1000"
    assert tile(page, "Loss") < 0.002
    assert page.locator(".loss-chart canvas").count() == 1
    legend = page.locator(
        ".loss-chart .u-legend .u-value"
    ).last.inner_text()  # no pointer is there: the last value
    assert float(legend) == pytest.approx(tile(page, "Loss"), abs=6e-5)
    run = page.inner_text(".run-name")
    page = window.open(f"look?view=compare&run={run}")
    page.select_option("[data-key=other]", "digits")
    page.wait_for_selector("th:text-is('digits')")
    rows = [row.split("\t") for row in page.locator(".compare table.plain tr").all_inner_texts()]
    assert rows[0] == ["Setting", run, "digits"]
    differences = compare_runs([run, "digits"], lab_folder / "runs").differences
    assert {name: [json.loads(a), json.loads(b)] for name, a, b in rows[1:]} == {
        name: json.loads(encode(values)) for name, values in differences.items()
    }


def test_a_second_run_begins_with_nothing_of_the_first(window: Any) -> None:
    page = window.open("train")
    for _ in range(2):
        start(page, "iris", epochs="2")
        seen = page.wait_for_function(STARTING).json_value()
        assert seen == {"name": "A new run is starting", "charts": False, "loss": "–"}
        status(page, "finished")
        assert tile(page, "Loss") > 0
    page.click(".main-buttons [data-do=reset]")
    status(page, "idle")


def test_without_a_network_the_page_says_so_and_asks_for_no_answer(empty_lab: Any) -> None:
    asked: list[str] = []
    page = empty_lab.open("draw")
    page.on("request", lambda request: asked.append(request.url.rsplit("/", 1)[1]))
    stroke(page, [(70, 70), (205, 70), (170, 140), (130, 225)])
    page.wait_for_selector(".verdict-line:text-is('No trained network of digits is here yet.')")
    assert page.is_visible("[data-do=train-now]")
    assert "predict" not in asked
    assert "network" in asked
    with page.expect_request("**/api/network"):  # without another stroke: one may be in training
        pass


def test_a_stroke_before_the_options_are_there_is_answered(window: Any) -> None:
    page, held = window.page, list[Any]()
    page.route("**/api/options", lambda route: held.append(route))
    window.open("draw")
    stroke(page, [(70, 70), (205, 70), (170, 140), (130, 225)])
    page.wait_for_selector(".bar.top-class")
    assert held
    for route in held:
        route.continue_()
    page.wait_for_selector(".own-count:not(:empty)")
    page.unroute("**/api/options")


def test_a_newcomer_trains_draws_and_follows_a_gradient_in_four_clicks_and_a_stroke(window: Any) -> None:
    page = window.page
    page.goto(f"{window.origin}/")
    page.click(".guide [data-do=quick]")
    status(page, "running")
    page.wait_for_selector(".loss-chart canvas")
    page.click(".guide a[href='#draw']")
    stroke(page, [(70, 70), (205, 70), (170, 140), (130, 225)])
    page.wait_for_selector(".bar.top-class")
    page.click("#tab-train")
    page.click(".guide a[href^='#step']")
    page.wait_for_selector(".way li")
    lines = page.locator(".way li").all_inner_texts()
    assert [line.split("=")[0].strip() for line in lines] == ["∂J/∂y", "δ", "∂J/∂h1", "δ1", "∂J/∂w11"]
    assert lines[-1].endswith("−2 · 0.00833 = −0.01666")
    page.click("#tab-train")
    page.click(".main-buttons [data-do=reset]")
    status(page, "idle")


def test_settings_that_are_not_the_recipes_are_named_under_its_text(window: Any) -> None:
    page = window.open("train")
    page.wait_for_selector(".recipe-title")
    page.fill(".settings [name=hidden]", "64")
    assert page.inner_text(".recipe-changes") == "Other than the recipe says: Hidden layers."
    for recipe in page.locator("[name=recipe] option").all_inner_texts():
        page.select_option("[name=recipe]", recipe)
        assert page.text_content(".recipe-changes") == "", recipe


def test_the_answer_of_a_network_in_training_says_after_which_step(window: Any) -> None:
    page = window.open("draw")
    network = {"run": "mnist", "title": "784-64-10"}
    said = [page.evaluate(SAYS, network | {"step": step}) for step in (None, 1200)]
    assert said == [
        "784-64-10, run mnist",
        "784-64-10, run mnist, in training: its weights after step 1\u2009200",
    ]


def test_two_windows_and_a_reload_show_the_same_run(window: Any) -> None:
    page = window.open("train")
    start(page, "iris", hidden="8, 8", epochs="10000", batch_size="1")
    status(page, "running")
    other = window.context.new_page()
    other.goto(f"{window.origin}/#train")
    page.reload()
    for one in (page, other):
        status(one, "running")
        one.wait_for_function("() => document.querySelector('.loss-chart canvas')")
    other.click(".main-buttons [data-do=pause]")
    status(page, "paused")
    before = page.locator(".tiles dd").nth(1).inner_text()
    page.click(".main-buttons [data-do=step]")
    page.wait_for_function(
        "before => document.querySelectorAll('.tiles dd')[1].textContent !== before", arg=before
    )
    page.click(".main-buttons [data-do=stop]")
    for one in (page, other):
        status(one, "stopped")
    run, at = page.inner_text(".run-name"), tile(page, "Step")
    page.click(".main-buttons [data-do=pause]")  # which resumes now
    status(other, "running")
    other.wait_for_function(
        "at => Number(document.querySelectorAll('.tiles dd')[1].textContent.replace(/\\D/g, '')) > at", arg=at
    )
    assert other.inner_text(".run-name") == run
    other.click(".main-buttons [data-do=reset]")
    for one in (page, other):
        status(one, "idle", "stopped")


def test_learning_rate_and_dropout_change_while_it_runs(window: Any, lab_folder: Path) -> None:
    page = window.open("train")
    page.click(".settings summary")
    start(page, "iris", hidden="8, 8", epochs="10000", batch_size="1", dropout="0, 0.2, 0.2")
    status(page, "running")
    for name, value in (("lr", "0.004"), ("dropout", "0.5, 0")):
        page.fill(f"[name=live-{name}]", value)
        page.evaluate("name => document.querySelector(`[name=live-${name}]`).dataset.typed = '1'", name)
        page.locator(f"[name=live-{name}]").press("Enter")
        page.evaluate("document.activeElement.blur()")
        page.wait_for_function(  # the field is made anew, with what the trainer tells
            "([name, value]) => document.querySelector(`[name=live-${name}]:not([data-typed])`)?.value === value",
            arg=[name, value],
        )
    page.click(".main-buttons [data-do=stop]")
    status(page, "stopped")
    config = load_run_config(lab_folder / "runs" / page.inner_text(".run-name") / "config.toml")
    assert [lr for _, lr in config.lr_changes] == [0.004]
    assert [rates for _, rates in config.dropout_changes] == [(0.5, 0.0)]


def test_a_drawn_seven_is_a_seven(window: Any) -> None:
    page = window.open("draw")
    refused: list[str] = []
    page.on("response", lambda answer: refused.append(answer.url) if answer.status >= 400 else None)
    seven = [(70, 70), (205, 70), (170, 140), (130, 225)]
    stroke(page, seven)
    page.wait_for_selector(".bar.top-class .name:text-is('7')")
    assert page.input_value("[name=label]") == "7"
    page.select_option("[name=label]", "1")
    names = page.locator(".stages .tile span").all_inner_texts()
    assert names[0] == "As drawn"
    assert names[-3:] == ["Cropped", "20 × 20", "Centred"]
    page.select_option("[name=towards]", "8")
    page.wait_for_selector(".gradient-row canvas[aria-label*='class 8']")
    page.fill("[name=epsilon]", "0.5")
    page.wait_for_selector(".attack-row canvas")
    assert page.input_value("[name=label]") == "1"  # as the person has chosen, whatever the network says
    page.click("[data-do=clear]")
    page.wait_for_selector(".verdict-line:has-text('Draw a digit')")
    stroke(page, seven[:1])  # a touch, which draws nothing
    stroke(page, seven)
    page.wait_for_selector(".bar.top-class .name:text-is('7')")
    assert refused == []


def test_the_keyboard_is_enough(window: Any) -> None:
    page = window.open("train")
    page.focus("#tab-train")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    assert page.evaluate("document.activeElement.id") == "tab-step"
    page.wait_for_selector(".diagram")
    for _ in range(60):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.dataset.do") == "next":
            page.keyboard.press("Enter")
            assert page.evaluate("document.activeElement.dataset.do") == "next"
        if page.evaluate("document.activeElement.closest('.diagram') !== null"):
            break
    assert page.get_attribute(".progress-bar", "value") == "1"
    first = page.evaluate("document.activeElement.dataset.id")
    page.keyboard.press("ArrowRight")
    second = page.evaluate("document.activeElement.dataset.id")
    assert first != second
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.dataset.id") == second
    assert second in page.url
    page.focus("#tab-draw")
    page.keyboard.press("Enter")
    page.focus(".drawing")
    for key in ["ArrowDown"] * 3 + ["Shift+ArrowDown"] * 10:
        page.keyboard.press(key)
    page.wait_for_selector(".bar.top-class")


def test_a_phone_shows_every_tab_without_scrolling_sideways(phone: Any) -> None:
    for tab in TABS:
        page = phone.open(tab)
        page.wait_for_timeout(300)
        assert page.evaluate("document.documentElement.scrollWidth") == 360, tab
        assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(19, 20, 22)"


def test_axe_finds_no_violation(window: Any) -> None:
    """In the dark, of the rules that a colour can break."""
    if not AXE.is_file():
        pytest.skip("axe-core is not installed: make test-lab")
    for fragment in (
        "train",
        "draw",
        "step?line=14",
        "step?net=16-3-10&line=9&mistake=sign-flipped",
        "look?view=confusion",
        "look?view=map",
        "share",
    ):
        page = window.open(fragment)
        page.wait_for_timeout(400)
        page.evaluate(AXE.read_text(encoding="utf-8"))
        for scheme, rules in (("light", None), ("dark", ["color-contrast"])):
            page.emulate_media(color_scheme=scheme)
            assert page.evaluate(VIOLATIONS, rules) == [], (fragment, scheme)
        page.emulate_media(color_scheme="light")


def test_every_part_gives_a_picture_and_a_table(window: Any) -> None:
    views = ("confusion", "wrong", "weights", "unit", "map")
    for name, places in {
        "step": ["step"],
        "draw": ["draw"],
        "look": [f"look?view={v}&run=digits" for v in views],
    }.items():
        for place in places:
            page = window.open(place)
            if name == "draw":
                page.click("[data-do=example]")
                page.wait_for_selector(".bar.top-class")
            page.wait_for_selector(f"#{name} :is(.diagram, .bar.top-class, .view-body)")
            page.click("#tab-share")
            page.select_option("[name=panel]", name)
            for what in ("table", "picture") if place != places[0] or name != "look" else ("table",):
                with page.expect_download() as download:
                    page.click(f"[data-do={what}]")
                saved = Path(download.value.path()).read_bytes()
                if what == "table":
                    rows = saved.decode().splitlines()
                    assert len(rows) >= 10, place
                    columns = {row.count(",") + 1 for row in rows}
                    assert columns == {2} if name == "draw" else len(columns) == 1, place
                else:
                    assert saved.startswith((b"<svg", b"\x89PNG")), place


def test_a_confusion_opens_its_samples_and_a_point_of_the_map_its_own(window: Any) -> None:
    page = window.open("look?view=confusion&run=digits")
    page.wait_for_selector(".matrix")
    counts = [int(text) for text in page.locator(".matrix .n").all_inner_texts()]
    assert len(counts) == 100
    assert sum(counts) == 10_000
    mistake = page.locator(".matrix button.mistake:not(.empty)").first
    n = int(mistake.inner_text())
    mistake.click()
    page.wait_for_selector(".cell-samples .tile canvas")
    assert page.locator(".cell-samples .tile").count() == min(n, 64)
    page.click("[data-view=map]")
    page.wait_for_selector("canvas.map")
    page.locator("canvas.map").click(position={"x": 200, "y": 150})
    page.wait_for_selector(".map-sample canvas")


def test_a_link_that_is_followed_in_an_open_page_opens_its_view(window: Any) -> None:
    page = window.open("look?view=confusion&run=digits")
    page.wait_for_selector(".matrix")
    page.evaluate("location.hash = '#look?view=weights&run=digits'")
    page.wait_for_selector("[data-view=weights][aria-pressed=true]")
    page.wait_for_selector(".matrix", state="detached")
    assert page.url.endswith("#look?run=digits&view=weights")


def test_drawings_of_ones_own_are_kept_and_trained_on(window: Any, lab_folder: Path) -> None:
    page = window.open("draw")
    for n, label in enumerate([7, 2, 3, 4, 0] * 2, 1):  # the page's examples
        page.click("[data-do=example]")
        page.select_option("[name=label]", str(label))
        page.click("[data-do=keep]")
        page.wait_for_selector(f".own-count:has-text('{n} drawings')")
    page.click("[data-do=train-own]")
    page.fill(".settings [name=hidden]", "32")
    page.fill(".settings [name=epochs]", "60")
    page.fill(".settings [name=batch_size]", "5")
    page.click(".main-buttons [data-do=start]")
    status(page, "running", "finished")
    status(page, "finished")
    assert page.inner_text(".run-name") == "drawings"
    labels = idx.read(lab_folder / "runs" / "lab-drawings" / "train-labels-idx1-ubyte")
    assert labels.tolist() == [7, 2, 3, 4, 0] * 2
    page.click("#tab-draw")
    page.click("[data-do=example]")  # a seven, by a network that knows five digits
    page.wait_for_selector(".bar.top-class .name:text-is('7')")
    assert page.locator(".bar").count() == 5
    page.click("[data-do=forget]")
    page.wait_for_selector(".own-count:has-text('9')")
