"""Downloads from a mirror on this machine: order, digests, nothing half-written, and the way without a network."""

from __future__ import annotations

import gzip
import hashlib
import http.server
import socket
import struct
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from nnbackprop.data import download, load
from nnbackprop.data.labels import to_splits
from nnbackprop.errors import DataError


def idx_gz(array: np.ndarray) -> bytes:
    header = struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape)
    return gzip.compress(header + array.astype(np.uint8).tobytes())


IMAGES = np.random.default_rng(1).integers(0, 256, (6, 4, 4), np.uint8)
FILES = {
    "train-images-idx3-ubyte.gz": idx_gz(IMAGES),
    "train-labels-idx1-ubyte.gz": idx_gz(np.array([0, 1, 2, 0, 1, 2])),
    "t10k-images-idx3-ubyte.gz": idx_gz(IMAGES[:3]),
    "t10k-labels-idx1-ubyte.gz": idx_gz(np.array([2, 1, 0])),
}
DIGESTS = {name: hashlib.sha256(data).hexdigest() for name, data in FILES.items()}


@dataclass
class Mirror:
    """What is served under each path, and what was asked for."""

    port: int = 0
    pages: dict[str, bytes] = field(default_factory=dict)
    cut: set[str] = field(default_factory=set)  # paths whose connection breaks half-way
    asked: list[str] = field(default_factory=list)

    def url(self, folder: str) -> str:
        return f"http://127.0.0.1:{self.port}/{folder}/"


@pytest.fixture
def mirror(monkeypatch: pytest.MonkeyPatch) -> Iterator[Mirror]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    state = Mirror()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            state.asked.append(self.path)
            page = state.pages.get(self.path)
            self.send_response(404 if page is None else 200)
            self.send_header("Content-Length", str(len(page or b"")))
            self.end_headers()
            self.wfile.write((page or b"")[: 20 if self.path in state.cut else None])

        def log_message(self, *args: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        state.port = server.server_port
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield state
        server.shutdown()
        thread.join()


def remote(*mirrors: str) -> download.Remote:
    return download.Remote("tiny", mirrors, DIGESTS, ("zero", "one", "two"))


def serve(mirror: Mirror, folder: str, files: dict[str, bytes] = FILES) -> None:
    mirror.pages |= {f"/{folder}/{name}": data for name, data in files.items()}


def test_the_second_mirror_is_asked_when_the_first_fails(mirror: Mirror, tmp_path: Path) -> None:
    serve(mirror, "good")
    splits = to_splits(download.read(remote(mirror.url("absent"), mirror.url("good")), tmp_path))
    assert np.array_equal(splits.train.inputs, IMAGES.reshape(6, 16))
    assert splits.test.targets.tolist() == [2, 1, 0]
    assert splits.train.classes == ("zero", "one", "two")
    assert [path.split("/")[1] for path in mirror.asked] == ["absent", "good"] * 4


def test_what_is_there_is_not_asked_for_again(mirror: Mirror, tmp_path: Path) -> None:
    serve(mirror, "good")
    download.read(remote(mirror.url("good")), tmp_path)
    mirror.asked.clear()
    download.read(remote(mirror.url("good")), tmp_path)
    assert mirror.asked == []


def test_files_put_there_by_hand_need_no_network(tmp_path: Path) -> None:
    (tmp_path / "tiny").mkdir()
    for name, data in FILES.items():
        (tmp_path / "tiny" / name).write_bytes(data)
    assert len(download.read(remote("http://127.0.0.1:1/"), tmp_path).train.labels) == 6


def test_other_bytes_are_refused_and_not_kept(mirror: Mirror, tmp_path: Path) -> None:
    serve(mirror, "evil", dict.fromkeys(FILES, idx_gz(IMAGES[:1])))
    with pytest.raises(DataError, match="does not match the known hash"):
        download.read(remote(mirror.url("evil")), tmp_path)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
    serve(mirror, "good")
    assert len(download.read(remote(mirror.url("evil"), mirror.url("good")), tmp_path).train.labels) == 6


def test_a_broken_connection_leaves_nothing_half_written(mirror: Mirror, tmp_path: Path) -> None:
    serve(mirror, "good")
    mirror.cut.add("/good/train-labels-idx1-ubyte.gz")
    with pytest.raises(DataError, match=r"train-labels-idx1-ubyte\.gz could not be downloaded"):
        download.read(remote(mirror.url("good")), tmp_path)
    left = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert [path.name for path in left] == ["train-images-idx3-ubyte.gz"]
    assert left[0].read_bytes() == FILES[left[0].name]


def test_a_damaged_file_in_the_cache_is_fetched_anew(mirror: Mirror, tmp_path: Path) -> None:
    serve(mirror, "good")
    download.read(remote(mirror.url("good")), tmp_path)
    path = tmp_path / "tiny" / "t10k-labels-idx1-ubyte.gz"
    path.write_bytes(path.read_bytes()[:-4])
    mirror.asked.clear()
    download.read(remote(mirror.url("good")), tmp_path)
    assert mirror.asked == ["/good/t10k-labels-idx1-ubyte.gz"]
    assert path.read_bytes() == FILES[path.name]


@pytest.mark.parametrize("name", ["fashion-mnist", "kmnist"])
def test_without_a_network_the_error_says_what_to_put_where(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
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
        load(name)
    known = download.FASHION_MNIST if name == "fashion-mnist" else download.KMNIST
    assert str(tmp_path / name) in str(error.value)
    for mirror in known.mirrors:
        assert mirror in str(error.value)
    for file, digest in known.digests.items():
        assert f"{digest}  {file}" in str(error.value)


def test_mirrors_are_https_and_digests_are_sha256() -> None:
    for known in (download.FASHION_MNIST, download.KMNIST):
        assert len(known.mirrors) > 1
        assert all(mirror.startswith("https://") and mirror.endswith("/") for mirror in known.mirrors)
        assert set(known.digests) == set(FILES)
        assert all(len(bytes.fromhex(digest)) == 32 for digest in known.digests.values())
        assert len(set(known.classes)) == 10


def test_the_cache_is_the_systems_folder_for_caches() -> None:
    assert "nnbackprop" in str(download.cache_folder())
    assert download.cache_folder().is_absolute()
