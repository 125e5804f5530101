"""Downloads when others interfere: processes at once, one killed half-way, a mirror that sends without end."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import http.server
import json
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from nnbackprop.data import download
from nnbackprop.errors import DataError

IMAGES = np.random.default_rng(1).integers(0, 256, (600, 28, 28), np.uint8)
HALF = threading.Event()


def idx_gz(array: np.ndarray) -> bytes:
    return gzip.compress(struct.pack(f">4B{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.tobytes(), 1)


FILES = {
    "train-images-idx3-ubyte.gz": idx_gz(IMAGES),
    "train-labels-idx1-ubyte.gz": idx_gz(np.arange(600, dtype=np.uint8) % 10),
    "t10k-images-idx3-ubyte.gz": idx_gz(IMAGES[:90]),
    "t10k-labels-idx1-ubyte.gz": idx_gz(np.arange(90, dtype=np.uint8) % 10),
}
DIGESTS = {name: hashlib.sha256(data).hexdigest() for name, data in FILES.items()}
OTHER = """
import json, sys
from pathlib import Path
from nnbackprop.data import download
mirror, digests, cache = sys.argv[1:]
print("ready", flush=True)
sys.stdin.readline()
tables = download.read(download.Remote("tiny", (mirror,), json.loads(digests), ("x",) * 10), Path(cache))
print(len(tables.train.labels), int(tables.train.inputs.sum()))
"""


class Handler(http.server.BaseHTTPRequestHandler):
    """/whole/ sends what it should; /half/ waits in the middle until it is let go; /endless/ sends zeros."""

    def do_GET(self) -> None:
        _, way, name = self.path.split("/")
        page = FILES[name]
        self.send_response(200)
        if way != "endless":
            self.send_header("Content-Length", str(len(page)))
        self.end_headers()
        with contextlib.suppress(OSError):  # who asked has gone
            self.wfile.write(page[: len(page) // 2])
            self.wfile.flush()
            if way == "half":
                HALF.wait(60)
            while way == "endless":
                self.wfile.write(bytes(2**16))
            self.wfile.write(page[len(page) // 2 :])

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def mirror(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "127.0.0.1")
    HALF.clear()
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/"
        HALF.set()
        server.shutdown()
        thread.join()


def reader(mirror: str, cache: Path) -> subprocess.Popen:
    """Another process, about to read the set into `cache`."""
    command = [sys.executable, "-c", OTHER, mirror, json.dumps(DIGESTS), str(cache)]
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "ready\n"
    return process


def begin(process: subprocess.Popen) -> None:
    process.stdin.write("\n")
    process.stdin.flush()


def test_processes_that_download_at_once_both_get_the_set_and_leave_nothing_else(
    mirror: str, tmp_path: Path
) -> None:
    processes = [reader(mirror + "whole/", tmp_path) for _ in range(3)]
    for process in processes:
        begin(process)
    for process in processes:
        out, err = process.communicate(timeout=60)
        assert out.split() == ["600", str(IMAGES.sum(dtype=int))], err
    assert {path.name: path.read_bytes() for path in (tmp_path / "tiny").iterdir()} == FILES


def test_a_process_killed_half_way_leaves_nothing_that_is_taken_for_whole(mirror: str, tmp_path: Path) -> None:
    process = reader(mirror + "half/", tmp_path)
    begin(process)
    while not any(path.stat().st_size > 1000 for path in tmp_path.rglob("*") if path.is_file()):
        assert process.poll() is None
    process.kill()
    process.communicate(timeout=60)
    HALF.set()
    assert not any((tmp_path / "tiny" / name).exists() for name in FILES)
    tables = download.read(download.Remote("tiny", (mirror + "whole/",), DIGESTS, ("x",) * 10), tmp_path)
    assert np.array_equal(tables.train.inputs, IMAGES.reshape(600, -1))


def test_a_mirror_that_never_stops_is_left(mirror: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "MOST_BYTES", 10**6)
    mirrors = (mirror + "endless/", mirror + "whole/")
    tables = download.read(download.Remote("tiny", mirrors, DIGESTS, ("x",) * 10), tmp_path)
    assert len(tables.train.labels) == 600
    with pytest.raises(DataError, match="sent more than 1000000 bytes"):
        download.read(download.Remote("tiny", mirrors[:1], DIGESTS, ("x",) * 10), tmp_path / "elsewhere")
    assert [path for path in (tmp_path / "elsewhere").rglob("*") if path.is_file()] == []
