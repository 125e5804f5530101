"""The tab Train: settings that are refused, windows that nobody sees, a server that is gone, runs that failed."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import pytest

from tests.support.lab_window import TEXTS, start, status

SEEN = """seen => {
    Object.defineProperty(document, 'hidden', {configurable: true, value: !seen});
    document.dispatchEvent(new Event('visibilitychange'));
}"""
POINT = """async () => {
    const {lineChart} = await import('/static/js/chart.js');
    const box = document.body.appendChild(document.createElement('div'));
    const series = [{label: '', values: [null, 0.5, null], colour: '--forward'}];
    const plot = lineChart(box, {title: '', x: [1, 2, 3], series});
    await new Promise(requestAnimationFrame);
    const place = [plot.valToPos(2, 'x', true), plot.valToPos(0.5, 'y', true)].map(Math.round);
    const pixel = [...plot.ctx.getImageData(...place, 1, 1).data].slice(0, 3);
    box.remove();
    return [pixel, plot.series[1].stroke(plot, 1)];
}"""
FORMS = """async () => {
    const {number, seconds} = await import('/static/js/format.js');
    return [119502.6025, 9999.5, -85532.8275].map((value) => number(value)).concat([119.7, 3599.9].map(seconds));
}"""


def told(page: Any, state: dict[str, Any], messages: list[str]) -> None:
    """Open the page with a history that no server keeps."""
    history = {"state": state, "begin": None, "chunks": [], "epochs": [], "findings": []}
    data = json.dumps(history | {"messages": [{"text": text} for text in messages]})
    body = f"event: history\ndata: {data}\n\nevent: message\ndata: {json.dumps({'text': 'the last'})}\n\n"
    page.route("**/api/events", lambda route: route.fulfill(content_type="text/event-stream", body=body))
    page.reload()


def test_a_setting_that_is_no_number_is_refused_by_its_name(window: Any) -> None:
    page = window.open("train")
    sent: list[str] = []
    page.on("request", lambda request: sent.append(request.url) if request.method == "POST" else None)
    page.click(".settings summary")
    for name, text, title in (
        ("lr", "0,5", "Learning rate"),
        ("lr", "", "Learning rate"),
        ("validation", "20%", "Validation share"),
        ("hidden", "8, x", "Hidden layers"),
    ):
        start(page, "iris", **{name: text})
        page.wait_for_selector(f"#notice:has-text('{title}: “{text}” is no number')")
        page.select_option("[name=recipe]", "mnist")  # and back, with that recipe's values
    assert sent == []


def test_layers_are_split_at_commas_outside_brackets(window: Any) -> None:
    page = window.open("train")
    page.route("**/api/train", lambda route: route.fulfill(json={}))
    with page.expect_request("**/api/train") as asked:
        start(page, "cnn", layers="residual(conv 4 3x3 padding=same, residual(relu, relu)), flatten , dense")
    assert asked.value.post_data_json["layers"] == [
        *("residual(conv 4 3x3 padding=same, residual(relu, relu))", "flatten", "dense")
    ]


def test_a_failed_run_says_why_after_a_reload_and_can_be_resumed(window: Any) -> None:
    page = window.open("train")
    start(page, "house-prices", optimizer="sgd", lr="1000")
    status(page, "failed")
    page.wait_for_selector("#notice")
    reason = page.inner_text("#notice .text")
    page.reload()
    page.wait_for_selector("#notice")
    assert page.inner_text("#notice .text") == reason
    resume = page.locator(".main-buttons [data-do=pause]")
    assert resume.inner_text() == "Resume"
    with page.expect_response("**/api/control") as answer:
        resume.click()
    assert answer.value.json()["state"]["status"] == "starting"
    status(page, "starting", "running")
    status(page, "failed")  # it diverges again


def test_a_server_that_is_gone_is_said_and_followed_again_when_it_is_back(window: Any) -> None:
    page = window.open("train")
    page.wait_for_selector(".recipe-title")
    page.evaluate(SEEN, False)
    page.route("**/api/events", lambda route: route.abort())
    page.evaluate(SEEN, True)
    page.wait_for_selector('#notice:has-text("The lab\'s server does not answer")')
    page.unroute("**/api/events")
    page.wait_for_selector('#notice:has-text("does not answer")', state="hidden")


def test_windows_that_nobody_sees_leave_the_connections_to_the_others(window: Any) -> None:
    """A browser has six connections to a server, and an open stream of events keeps one."""
    pages = [window.open("train")]
    for _ in range(6):
        pages[-1].wait_for_selector(".recipe-title")
        pages[-1].evaluate(SEEN, False)
        pages.append(window.context.new_page())
        pages[-1].goto(f"{window.origin}/#train")
    pages[-1].wait_for_selector(".recipe-title")
    start(pages[-1], "iris", epochs="2")
    status(pages[-1], "finished")
    run = pages[-1].inner_text(".run-name")
    assert pages[0].inner_text(".run-name") != run
    pages[0].evaluate(SEEN, True)
    pages[0].wait_for_selector(f".run-name:text-is('{run}')")
    status(pages[0], "finished")


@pytest.mark.parametrize(
    ("epoch", "step", "per_epoch", "share"), [(3, 30, 0, 0.75), (3, 35, 10, 0.875), (0, 0, 0, 0)]
)
def test_progress_is_by_steps_or_where_they_are_unknown_by_epochs(
    window: Any, epoch: int, step: int, per_epoch: int, share: float
) -> None:
    page = window.open("train")
    state = {"status": "stopped", "run": "a", "epoch": epoch, "epochs": 4, "step": step, "dropout": []}
    told(page, state | {"steps_per_epoch": per_epoch}, [])
    status(page, "stopped")
    assert page.eval_on_selector(".run-progress", "bar => bar.value") == share


def test_the_last_messages_of_a_run_are_shown(window: Any) -> None:
    page = window.open("train")
    told(page, {"status": "stopped", "run": "a", "epoch": 1, "epochs": 4, "dropout": []}, ["1", "2", "3"])
    page.wait_for_function(TEXTS, arg=[".messages li", ["2", "3", "the last"]])


def test_a_series_of_one_value_is_drawn_as_a_point(window: Any) -> None:
    pixel, colour = window.open("train").evaluate(POINT)
    assert f"rgb({', '.join(map(str, pixel))})" == colour


def test_large_numbers_and_whole_minutes_are_written_short(window: Any) -> None:
    assert window.open("train").evaluate(FORMS) == ["119503", "9999.5000", "−85533", "2 min 0 s", "60 min 0 s"]


def test_pictures_are_saved_as_large_as_they_are_shown(window: Any) -> None:
    page = window.open("look?view=weights&run=digits")
    page.wait_for_selector("#look .samples canvas")
    sides = page.locator("#look .samples canvas").evaluate_all("all => all.map((one) => one.clientWidth)")
    assert len(sides) == 32
    assert len(set(sides)) == 1
    page.click("#tab-share")
    page.select_option("[name=panel]", "look")
    with page.expect_download() as download:
        page.click("[data-do=picture]")
    width, height = struct.unpack(">II", Path(download.value.path()).read_bytes()[16:24])
    side, margin, widest = sides[0], 12, 1200
    columns = (widest - margin) // (side + margin)
    assert (width, height) == tuple(margin + n * (side + margin) for n in (columns, -(-32 // columns)))
    assert not page.is_visible("#look")
