"""Downloads from a mirror on this machine: order, digests, interference, and the way without a network."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import http.server
import json
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from nnbackprop.data import download, load
from nnbackprop.data.catalog import to_splits
from nnbackprop.errors import DataError
from tests.support.data_files import idx_of

IMAGES = np.random.default_rng(1).integers(0, 256, (600, 28, 28), np.uint8)
LABELS = np.arange(600, dtype=np.uint8) % 3
FILES = {
    "train-images-idx3-ubyte.gz": gzip.compress(idx_of(IMAGES)),
    "train-labels-idx1-ubyte.gz": gzip.compress(idx_of(LABELS)),
    "t10k-images-idx3-ubyte.gz": gzip.compress(idx_of(IMAGES[:90])),
    "t10k-labels-idx1-ubyte.gz": gzip.compress(idx_of(LABELS[89::-1])),
}
DIGESTS = {name: hashlib.sha256(data).hexdigest() for name, data in FILES.items()}
OTHER_PROCESS = """
import json, sys
from pathlib import Path
from nnbackprop.data import download
mirror, digests, cache = sys.argv[1:]
print("ready", flush=True)
sys.stdin.readline()
tables = download.read(download.Remote("tiny", (mirror,), json.loads(digests), ("x",) * 3), Path(cache))
print(len(tables.train.labels), int(tables.train.inputs.sum()))
"""


@dataclass
class Mirror:
    """A server whose first folder says how it sends: whole, absent, evil, cut (labels only), half or endless."""

    port: int = 0
    requests: list[str] = field(default_factory=list)
    release: threading.Event = field(default_factory=threading.Event)  # what /half/ waits for

    def remote(self, *ways: str) -> download.Remote:
        mirrors = tuple(f"http://127.0.0.1:{self.port}/{way}/" for way in ways)
        return download.Remote("tiny", mirrors, DIGESTS, ("zero", "one", "two"))

    def send(self, handler: http.server.BaseHTTPRequestHandler) -> None:
        self.requests.append(handler.path)
        _, way, name = handler.path.split("/")
        page = b"" if way == "absent" else FILES["t10k-labels-idx1-ubyte.gz" if way == "evil" else name]
        handler.send_response(404 if way == "absent" else 200)
        if way != "endless":
            handler.send_header("Content-Length", str(len(page)))
        handler.end_headers()
        middle = len(page) // 2
        with contextlib.suppress(OSError):  # who asked has gone
            handler.wfile.write(page[:middle])
            handler.wfile.flush()
            if way == "cut" and "labels" in name:
                return
            if way == "half":
                self.release.wait(60)
            while way == "endless":
                handler.wfile.write(bytes(2**16))
            handler.wfile.write(page[middle:])


@pytest.fixture
def mirror(monkeypatch: pytest.MonkeyPatch) -> Iterator[Mirror]:
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "127.0.0.1")
    state = Mirror()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            state.send(self)

        def log_message(self, *args: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        state.port = server.server_port
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield state
        state.release.set()
        server.shutdown()
        thread.join()


def files_in(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def start_process(remote: download.Remote, cache: Path) -> subprocess.Popen:
    """Another process, about to read the set into `cache`; a line on its standard input lets it begin."""
    command = [sys.executable, "-c", OTHER_PROCESS, remote.mirrors[0], json.dumps(DIGESTS), str(cache)]
    pipe = subprocess.PIPE
    process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True)
    assert process.stdout.readline() == "ready\n"
    return process


def test_the_second_mirror_is_asked_when_the_first_fails(mirror: Mirror, tmp_path: Path) -> None:
    splits = to_splits(download.read(mirror.remote("absent", "whole"), tmp_path))
    assert np.array_equal(splits.train.inputs, IMAGES.reshape(600, -1))
    assert splits.test.targets.tolist() == LABELS[89::-1].tolist()
    assert splits.train.classes == ("zero", "one", "two")
    assert [path.split("/")[1] for path in mirror.requests] == ["absent", "whole"] * 4


def test_files_in_the_cache_need_no_network(tmp_path: Path) -> None:
    (tmp_path / "tiny").mkdir()
    for name, data in FILES.items():
        (tmp_path / "tiny" / name).write_bytes(data)
    assert len(download.read(Mirror(port=1).remote("whole"), tmp_path).train.labels) == 600


def test_other_bytes_are_refused_and_not_kept(mirror: Mirror, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not match the known hash"):
        download.read(mirror.remote("evil"), tmp_path)
    assert files_in(tmp_path) == {}
    assert len(download.read(mirror.remote("evil", "whole"), tmp_path).train.labels) == 600


def test_a_broken_connection_leaves_nothing_half_written(mirror: Mirror, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"train-labels-idx1-ubyte\.gz could not be downloaded"):
        download.read(mirror.remote("cut"), tmp_path)
    name = "train-images-idx3-ubyte.gz"
    assert files_in(tmp_path) == {name: FILES[name]}


def test_a_damaged_file_in_the_cache_is_downloaded_again(mirror: Mirror, tmp_path: Path) -> None:
    download.read(mirror.remote("whole"), tmp_path)
    path = tmp_path / "tiny" / "t10k-labels-idx1-ubyte.gz"
    path.write_bytes(path.read_bytes()[:-4])
    mirror.requests.clear()
    download.read(mirror.remote("whole"), tmp_path)
    assert mirror.requests == ["/whole/t10k-labels-idx1-ubyte.gz"]
    assert path.read_bytes() == FILES[path.name]


def test_processes_that_download_at_once_all_get_the_set_and_leave_nothing_else(
    mirror: Mirror, tmp_path: Path
) -> None:
    processes = [start_process(mirror.remote("whole"), tmp_path) for _ in range(3)]
    for process in processes:
        print(file=process.stdin, flush=True)
    for process in processes:
        out, err = process.communicate(timeout=60)
        assert out.split() == ["600", str(IMAGES.sum(dtype=int))], err
    assert files_in(tmp_path) == FILES


def test_a_process_killed_half_way_leaves_nothing_that_is_taken_for_whole(mirror: Mirror, tmp_path: Path) -> None:
    process = start_process(mirror.remote("half"), tmp_path)
    print(file=process.stdin, flush=True)
    while not any(len(data) > 1000 for data in files_in(tmp_path).values()):
        assert process.poll() is None
    process.kill()
    process.communicate(timeout=60)
    mirror.release.set()
    assert files_in(tmp_path).keys().isdisjoint(FILES)
    tables = download.read(mirror.remote("whole"), tmp_path)
    assert np.array_equal(tables.train.inputs, IMAGES.reshape(600, -1))


def test_a_mirror_that_never_stops_is_left(
    mirror: Mirror, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download, "MAX_BYTES", 10**6)
    assert len(download.read(mirror.remote("endless", "whole"), tmp_path / "a").train.labels) == 600
    with pytest.raises(DataError, match="sent more than 1000000 bytes"):
        download.read(mirror.remote("endless"), tmp_path / "b")
    assert files_in(tmp_path / "b") == {}


@pytest.mark.parametrize("known", [download.FASHION_MNIST, download.KMNIST], ids=lambda known: known.name)
def test_without_a_network_the_error_says_what_to_put_where(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, known: download.Remote
) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    for proxy in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(proxy, f"http://127.0.0.1:{port}")  # nobody listens there
    for exempt in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(exempt, raising=False)
    monkeypatch.setattr(download, "cache_folder", lambda: tmp_path)
    with pytest.raises(DataError) as error:
        load(known.name)
    files = [f"{digest}  {file}" for file, digest in known.digests.items()]
    for words in (str(tmp_path / known.name), *known.mirrors, *files):
        assert words in str(error.value)


@pytest.mark.parametrize("known", [download.FASHION_MNIST, download.KMNIST], ids=lambda known: known.name)
def test_mirrors_are_https_and_digests_are_sha256(known: download.Remote) -> None:
    assert len(known.mirrors) > 1
    assert all(mirror.startswith("https://") and mirror.endswith("/") for mirror in known.mirrors)
    assert set(known.digests) == set(FILES)
    assert all(len(bytes.fromhex(digest)) == 32 for digest in known.digests.values())
    assert len(set(known.classes)) == 10


def test_the_cache_is_the_systems_folder_for_caches() -> None:
    assert "nnbackprop" in str(download.cache_folder())
    assert download.cache_folder().is_absolute()
