"""Who uses a lab: a client that speaks as a browser does, and a page in Chromium, driven by Playwright."""

from __future__ import annotations

import base64
import http.client
import json
import os
import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
COMMAND = (sys.executable, "-m", "nnbackprop")
FLAGS = ["--no-sandbox", "--disable-gpu"]

STROKE = """async (points) => {
    const [pad, bars] = ['.drawing', '.bars'].map((one) => document.querySelector(one));
    const box = pad.getBoundingClientRect();
    const send = (type, [x, y]) => pad.dispatchEvent(new PointerEvent(type, {
        clientX: box.left + x * box.width, clientY: box.top + y * box.height, bubbles: true, pointerId: 1}));
    pad.setPointerCapture = () => {};
    const changed = () => new Promise((done, fail) => {
        setTimeout(() => fail(new Error('no answer to a point of the stroke')), 30_000);
        const watcher = new MutationObserver(() => { watcher.disconnect(); done(performance.now()); });
        watcher.observe(bars, {subtree: true, attributes: true, characterData: true, childList: true});
    });
    const times = [];
    for (const [k, point] of points.entries()) {
        const begin = performance.now();
        const answered = changed();
        send(k ? 'pointermove' : 'pointerdown', point);
        times.push(await answered - begin);
        await new Promise((done) => setTimeout(done, 50));
    }
    send('pointerup', points.at(-1));
    return times;
}"""
"""Draws, waits for the bars after each point, and returns how many milliseconds each took."""


def environment() -> dict[str, str]:
    """That of a process which runs this checkout, its products on one thread."""
    return {**os.environ, "PYTHONPATH": str(ROOT), "OPENBLAS_NUM_THREADS": "1"}


@contextmanager
def serving(folder: Path) -> Iterator[tuple[str, int]]:
    """The address of a lab that serves the runs of `folder`, with its token, and its process."""
    words = [*COMMAND, "lab", "--port", "0", "--no-browser"]
    with subprocess.Popen(words, cwd=folder, env=environment(), stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        found = re.search(r"http://\S+", server.stdout.readline())
        try:
            assert found is not None
            yield found.group(), server.pid
        finally:
            server.terminate()


class Client:
    """Asks as the page does, and reads the events as it does."""

    def __init__(self, address: str, server: int) -> None:
        self.server = server
        self.host, token = address.removeprefix("http://").split("/?token=")
        with closing(http.client.HTTPConnection(self.host)) as connection:
            connection.request("GET", f"/?token={token}")
            cookie = (connection.getresponse().getheader("set-cookie") or "").partition(";")[0]
        self.headers = {"Cookie": cookie, "Origin": f"http://{self.host}", "Content-Type": "application/json"}
        self.state: dict[str, Any] = {}
        self.bytes = 0  # of the events
        self._changed = threading.Condition()
        threading.Thread(target=self._listen, daemon=True).start()
        self.wait("idle")

    def ask(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        """The JSON of an answer, or its bytes."""
        content = None if body is None else json.dumps(body).encode()
        with closing(http.client.HTTPConnection(self.host)) as connection:
            connection.request(method, path, content, self.headers)
            answer = connection.getresponse()
            found = answer.read()
        if answer.status != 200:
            raise RuntimeError(f"{path}: {found.decode()}")
        return json.loads(found) if path.startswith("/api") else found

    def milliseconds(self, method: str, path: str, body: dict[str, Any] | None = None) -> float:
        """Until the answer is here."""
        begin = time.perf_counter()
        self.ask(method, path, body)
        return 1000 * (time.perf_counter() - begin)

    def wait(self, *statuses: str) -> dict[str, Any]:
        """The state, once its status is one of these."""
        with self._changed:
            self._changed.wait_for(lambda: self.state.get("status") in (*statuses, "failed"))
        if self.state["status"] not in statuses:
            raise RuntimeError(self.state["error"])
        return self.state

    def _listen(self) -> None:
        with closing(http.client.HTTPConnection(self.host)) as connection:
            connection.request("GET", "/api/events", headers=self.headers)
            answer, kind = connection.getresponse(), ""
            while line := answer.readline():
                self.bytes += len(line)
                name, _, text = line.decode().partition(": ")
                kind = text.strip() if name == "event" else kind
                if name == "data" and kind in ("history", "state", "end"):
                    data = json.loads(text)
                    with self._changed:
                        self.state = data.get("state", data)
                        self._changed.notify()


@contextmanager
def chromium(address: str) -> Iterator[Any]:
    """A window with the lab's page."""
    from playwright.sync_api import sync_playwright

    path = os.environ.get("CHROMIUM") or shutil.which("chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=FLAGS)
        page = browser.new_page(viewport={"width": 1280, "height": 900}, locale="en-US")
        page.goto(address)
        yield page
        browser.close()


def stroke_times(page: Any, points: int) -> list[float]:
    """Milliseconds from each point of a drawn 7 to its bars on the page."""
    page.click("#tab-draw")
    page.wait_for_selector(".bars .bar")  # made once the pad listens
    corners = np.array([[0.25, 0.25], [0.73, 0.25], [0.46, 0.8]])
    along = np.linspace(0, 2, points)
    drawn = [[float(np.interp(t, (0, 1, 2), corners[:, axis])) for axis in (0, 1)] for t in along]
    times: list[float] = page.evaluate(STROKE, drawn)
    return times


def drawing() -> dict[str, Any]:
    """A drawn 7, as the page sends it with each point of a stroke."""
    image = np.zeros((112, 112), np.uint8)
    image[20:30, 30:80] = 255
    for i in range(60):
        image[28 + i : 34 + i, 72 - i // 2 : 80 - i // 2] = 255
    picture = {"rows": 112, "columns": 112, "pixels": base64.b64encode(image.tobytes()).decode()}
    return {"drawing": picture, "explain": 7, "attack": None, "activations": True}
