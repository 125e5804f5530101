"""Downloads from a mirror on this machine: order, digests, concurrency, and the way without a network."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import http.server
import socket
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
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
DOWNLOADABLE = [download.FASHION_MNIST, download.KMNIST]


@dataclass
class Mirror:
    """A server whose first folder says how it sends a file: whole, absent, wrong, cut (labels only) or half."""

    port: int = 0
    requests: list[str] = field(default_factory=list)
    send_rest: threading.Event = field(default_factory=threading.Event)  # what /half/ waits for

    def remote(self, *modes: str) -> download.RemoteDataset:
        mirrors = tuple(f"http://127.0.0.1:{self.port}/{mode}/" for mode in modes)
        return download.RemoteDataset("tiny", mirrors, DIGESTS, ("zero", "one", "two"))

    def send(self, handler: http.server.BaseHTTPRequestHandler) -> None:
        self.requests.append(handler.path)
        _, mode, name = handler.path.split("/")
        page = b"" if mode == "absent" else FILES["t10k-labels-idx1-ubyte.gz" if mode == "wrong" else name]
        handler.send_response(404 if mode == "absent" else 200)
        handler.send_header("Content-Length", str(len(page)))
        handler.end_headers()
        middle = len(page) // 2
        with contextlib.suppress(OSError):  # the client has gone
            handler.wfile.write(page[:middle])
            handler.wfile.flush()
            if mode == "cut" and "labels" in name:
                return
            if mode == "half":
                self.send_rest.wait(60)
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
        state.send_rest.set()
        server.shutdown()
        thread.join()


def files_in(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_second_mirror_is_used_when_the_first_fails(mirror: Mirror, tmp_path: Path) -> None:
    splits = to_splits(download.fetch(mirror.remote("absent", "whole"), tmp_path))
    assert np.array_equal(splits.train.inputs, IMAGES.reshape(600, -1))
    assert splits.test.targets.tolist() == LABELS[89::-1].tolist()
    assert splits.train.classes == ("zero", "one", "two")
    assert [path.split("/")[1] for path in mirror.requests] == ["absent", "whole"] * 4


def test_files_in_the_cache_need_no_network(tmp_path: Path) -> None:
    (tmp_path / "tiny").mkdir()
    for name, data in FILES.items():
        (tmp_path / "tiny" / name).write_bytes(data)
    assert len(download.fetch(Mirror(port=1).remote("whole"), tmp_path).train.labels) == 600


def test_file_with_another_digest_is_refused_and_not_kept(mirror: Mirror, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not match the known hash"):
        download.fetch(mirror.remote("wrong"), tmp_path)
    assert files_in(tmp_path) == {}
    assert len(download.fetch(mirror.remote("wrong", "whole"), tmp_path).train.labels) == 600


def test_a_broken_connection_leaves_nothing_half_written(mirror: Mirror, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"train-labels-idx1-ubyte\.gz could not be downloaded"):
        download.fetch(mirror.remote("cut"), tmp_path)
    name = "train-images-idx3-ubyte.gz"
    assert files_in(tmp_path) == {name: FILES[name]}


def test_a_damaged_file_in_the_cache_is_downloaded_again(mirror: Mirror, tmp_path: Path) -> None:
    download.fetch(mirror.remote("whole"), tmp_path)
    path = tmp_path / "tiny" / "t10k-labels-idx1-ubyte.gz"
    path.write_bytes(path.read_bytes()[:-4])
    mirror.requests.clear()
    download.fetch(mirror.remote("whole"), tmp_path)
    assert mirror.requests == ["/whole/t10k-labels-idx1-ubyte.gz"]
    assert path.read_bytes() == FILES[path.name]


def test_concurrent_downloads_all_get_the_set_and_leave_nothing_else(mirror: Mirror, tmp_path: Path) -> None:
    with ThreadPoolExecutor(3) as pool:
        results = list(pool.map(download.fetch, [mirror.remote("whole")] * 3, [tmp_path] * 3))
    assert all(np.array_equal(raw.train.inputs, IMAGES.reshape(600, -1)) for raw in results)
    assert files_in(tmp_path) == FILES


def test_partly_downloaded_file_has_a_temporary_name(mirror: Mirror, tmp_path: Path) -> None:
    """So a process that is killed meanwhile leaves nothing that is taken for whole."""
    with ThreadPoolExecutor(1) as pool:
        result = pool.submit(download.fetch, mirror.remote("half"), tmp_path)
        while not any(len(data) > 1000 for data in files_in(tmp_path).values()):
            assert not result.done()
        assert files_in(tmp_path).keys().isdisjoint(FILES)
        mirror.send_rest.set()
        assert len(result.result().train.labels) == 600


@pytest.mark.parametrize("known", DOWNLOADABLE, ids=lambda known: known.name)
def test_without_a_network_the_error_says_what_to_put_where(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, known: download.RemoteDataset
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


@pytest.mark.parametrize("known", DOWNLOADABLE, ids=lambda known: known.name)
def test_mirrors_are_https_and_digests_are_sha256(known: download.RemoteDataset) -> None:
    assert len(known.mirrors) > 1
    assert all(mirror.startswith("https://") and mirror.endswith("/") for mirror in known.mirrors)
    assert set(known.digests) == set(FILES)
    assert all(len(bytes.fromhex(digest)) == 32 for digest in known.digests.values())
    assert len(set(known.classes)) == 10


@pytest.mark.skipif(sys.platform in ("win32", "darwin"), reason="XDG_CACHE_HOME is read on Linux")
def test_the_cache_is_the_systems_folder_for_caches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert download.cache_folder() == tmp_path / "nnbackprop"
