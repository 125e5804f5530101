"""A lab that serves in a thread of the test's process, and a client that speaks to it as a browser does."""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from nnbackprop.lab.server import LabServer

TIMEOUT = 60.0


class Client:
    """Has opened the address with the token, and sends its cookie and its Origin with each request."""

    def __init__(self, address: str) -> None:
        self.host, self.token = address.removeprefix("http://").split("/?token=")
        self.port = int(self.host.rpartition(":")[2])
        _, headers, _ = self.send("GET", f"/?token={self.token}", {})
        self.cookie = headers["set-cookie"].partition(";")[0]

    def send(
        self, method: str, path: str, headers: Mapping[str, str], body: Any = None
    ) -> tuple[int, dict[str, str], bytes]:
        """Status, headers and body of a request with these headers alone; a Host among them is sent as it is."""
        connection = http.client.HTTPConnection(f"127.0.0.1:{self.port}", timeout=TIMEOUT)
        with contextlib.closing(connection):
            connection.putrequest(method, path, skip_host="Host" in headers, skip_accept_encoding=True)
            for name, value in headers.items():
                connection.putheader(name, value)
            if body is not None and "Transfer-Encoding" not in headers and "Content-Length" not in headers:
                connection.putheader("Content-Length", str(len(body)))
            connection.endheaders(body, encode_chunked="Transfer-Encoding" in headers)
            response = connection.getresponse()
            return response.status, {k.lower(): v for k, v in response.getheaders()}, response.read()

    @property
    def headers(self) -> dict[str, str]:
        """Those of the page's own requests."""
        return {"Cookie": self.cookie, "Origin": f"http://{self.host}", "Content-Type": "application/json"}

    def get(self, path: str) -> Any:
        """The JSON of an address."""
        status, _, body = self.send("GET", path, self.headers)
        assert status == 200, body
        return json.loads(body)

    def ask(self, path: str, **values: Any) -> tuple[int, Any]:
        """Status and JSON of a POST."""
        status, _, body = self.send("POST", path, self.headers, json.dumps(values).encode())
        return status, json.loads(body)

    def post(self, path: str, **values: Any) -> Any:
        """The JSON of a POST that succeeds."""
        status, answer = self.ask(path, **values)
        assert status == 200, answer
        return answer

    @contextlib.contextmanager
    def events(self) -> Iterator[Iterator[tuple[str, Any]]]:
        """The stream of events, as (kind, data)."""
        connection = http.client.HTTPConnection(f"127.0.0.1:{self.port}", timeout=TIMEOUT)
        with contextlib.closing(connection):
            connection.request("GET", "/api/events", headers=self.headers)
            yield self._events(connection.getresponse())

    @staticmethod
    def _events(response: http.client.HTTPResponse) -> Iterator[tuple[str, Any]]:
        kind = ""
        while line := response.readline().decode():
            if line.startswith("event: "):
                kind = line.removeprefix("event: ").strip()
            elif line.startswith("data: "):
                yield kind, json.loads(line.removeprefix("data: "))

    def history(self) -> dict[str, Any]:
        """What a page that opens now is told first."""
        with self.events() as events:
            kind, data = next(events)
        assert kind == "history"
        return data

    def wait(self, *statuses: str) -> dict[str, Any]:
        """The state, once its status is one of these; AssertionError where the run ends before that."""
        with self.events() as events:
            for kind, data in events:
                state = data if kind == "state" else data.get("state", {})
                if state.get("status") in statuses:
                    return state
                assert kind != "end", state
        raise AssertionError("the stream ended")

    def train_to_end(self, **settings: Any) -> tuple[dict[str, Any], list[tuple[str, Any]]]:
        """The last state of a run, and all events from its start."""
        self.post("/api/train", **settings)
        return self.to_end()

    def to_end(self) -> tuple[dict[str, Any], list[tuple[str, Any]]]:
        """The state at the end of the run under way, and the events until then."""
        seen = []
        with self.events() as events:
            for kind, data in events:
                seen.append((kind, data))
                if kind == "end" or (kind == "history" and data["state"]["status"] in ("finished", "failed")):
                    return data["state"], seen
        raise AssertionError("the stream ended")


@contextlib.contextmanager
def serving(runs_dir: Path, **options: Any) -> Iterator[tuple[LabServer, Client]]:
    """A lab on a free port, and a client of it."""
    server = LabServer(runs_dir, port=0, **options)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        yield server, Client(server.address)
    finally:
        server.stop()
        thread.join()


def as_picture(image: np.ndarray) -> dict[str, Any]:
    """A uint8 image as a request has it."""
    pixels = base64.b64encode(np.ascontiguousarray(image, np.uint8).tobytes()).decode()
    return {"rows": image.shape[0], "columns": image.shape[1], "pixels": pixels}


def from_picture(picture: Mapping[str, Any]) -> np.ndarray:
    """The pixels of an answer's picture."""
    pixels = np.frombuffer(base64.b64decode(picture["pixels"]), np.uint8)
    return pixels.reshape(picture["rows"], picture["columns"])


def drawn_seven() -> np.ndarray:
    """A 7 of thick strokes, (112, 112)."""
    image = np.zeros((112, 112), np.uint8)
    image[20:30, 30:80] = 255
    for i in range(60):
        image[28 + i : 34 + i, 72 - i // 2 : 80 - i // 2] = 255
    return image


def wait_until(condition: Any) -> None:
    """Return once `condition()` holds; AssertionError where it never does."""
    end = time.monotonic() + TIMEOUT
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)
