"""Everything that reads a stranger's bytes: what each may raise, and files to begin from.

A reader returns or raises one of the errors it promises; anything else, or more than two seconds, is a fault.
A file is changed before it is zipped or given its checksums, or no change would get past the first of these.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import math
import struct
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import polars
from PIL import Image

from backends import select
from nnbackprop.data import digit, validate
from nnbackprop.data.catalog import to_splits
from nnbackprop.data.convert import convert
from nnbackprop.data.dataset import Dataset
from nnbackprop.data.raw import RawDataset, RawSplits
from nnbackprop.data.readers import csv, idx, image, mat, npz, parquet
from nnbackprop.data.readers.paths import read_folder
from nnbackprop.data.table import DataOptions
from nnbackprop.data.tabular import TableSplits
from nnbackprop.data.tabular import to_splits as to_datasets
from nnbackprop.errors import DataError, NnbackpropError, RunFolderError, UsageError
from nnbackprop.nn.initializers import Uniform
from nnbackprop.nn.layers import BatchNorm, Dense, Dropout, Tanh
from nnbackprop.nn.losses import SoftmaxCrossEntropy
from nnbackprop.nn.regularization import WeightPenalty
from nnbackprop.nn.sequential import Residual, Sequential
from nnbackprop.optim import SGD
from nnbackprop.runs import checkpoint as checkpoints
from nnbackprop.runs import model_files
from nnbackprop.runs.config_files import resolve, to_toml
from nnbackprop.runs.run_dir import RunDir
from nnbackprop.runs.samples import rows_of_numbers
from nnbackprop.training.trainer import Trainer

Encoder = Callable[[bytes], bytes]


@dataclass(frozen=True)
class Reader:
    """A reader, the error it raises for a bad file, how its bytes may be encoded, and good files."""

    read: Callable[[Path], object]
    error: type[NnbackpropError]
    encoders: tuple[Encoder, ...]
    seeds: tuple[bytes, ...]
    in_process: bool = True  # or in one of its own, which takes half a second to start

    def accepts(self, path: Path, content: bytes) -> bool:
        """Whether the file is read and not refused; its first byte chooses the encoder of the others."""
        path.write_bytes(self.encoders[content[0] % len(self.encoders)](content[1:]) if content else b"")
        try:
            self.read(path)
        except self.error:
            return False
        return True

    def seed_files(self) -> list[bytes]:
        """The seeds as `accepts` takes them, for every encoder."""
        return [bytes([number]) + seed for number in range(len(self.encoders)) for seed in self.seeds]


def plain(content: bytes) -> bytes:
    return content


def _check_dataset(table: RawDataset) -> None:
    """Go on as `load` does, leaving out what only judges: a doctor opens what training refuses."""
    splits = to_splits(RawSplits(table))
    assert len(splits.train) == len(table.labels) > 0
    validate(RawSplits(table))
    assert np.isfinite(splits.train.inputs).all()


def _read_idx(path: Path) -> None:
    array = idx.read(path)
    _check_dataset(RawDataset.from_arrays(array, array.reshape(len(array), -1)[:, 0], str(path)))


def _read_npz(path: Path) -> None:
    for table in npz.read_npz(path):
        if table is not None:
            _check_dataset(table)


def _read_npy(path: Path) -> None:
    _check_dataset(npz.read_pair(path, path))


def _read_mapped_npy(path: Path) -> None:
    part = npz.read_pair(path, path, max_in_memory=0)
    _check_dataset(replace(part, inputs=np.asarray(part.inputs)))


def _convert(path: Path) -> None:
    """A table as a pair of files, which is read again."""
    with tempfile.TemporaryDirectory() as folder:
        found = convert(path, Path(folder) / "out", DataOptions())
        pair = read_folder(found.folder)
        assert isinstance(pair, RawSplits)
        assert pair.train.inputs.shape == (found.shape[0], math.prod(found.shape[1:]))
        _check_dataset(pair.train)


def _read_config(path: Path) -> None:
    settings = resolve(str(path), {})
    path.write_text(to_toml(settings), encoding="utf-8")
    assert resolve(str(path), {}) == settings


def _read_rows(path: Path) -> None:
    """As a run's metrics.jsonl, a link to it, as whoever reads one takes it."""
    (path.parent / "metrics.jsonl").unlink(missing_ok=True)
    (path.parent / "metrics.jsonl").symlink_to(path)
    RunDir(path.parent).read_metrics()


def _idx(kind: int, array: np.ndarray) -> bytes:
    return struct.pack(f">4B{array.ndim}I", 0, 0, kind, array.ndim, *array.shape) + array.tobytes()


def _npy(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return buffer.getvalue()


def _npz(packing: int) -> Encoder:
    """The bytes as array X beside good labels."""

    def encode(content: bytes) -> bytes:
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", packing) as archive:
            archive.writestr("X.npy", content)
            archive.writestr("y.npy", _npy(np.arange(3)))
        return buffer.getvalue()

    return encode


def _element(kind: int, content: bytes) -> bytes:
    return struct.pack("<II", kind, len(content)) + content + bytes(-len(content) % 8)


def _variable(name: bytes, klass: int, array: np.ndarray) -> bytes:
    parts = [struct.pack("<II", klass, 0), np.array(array.shape, "<i4").tobytes(), name, array.tobytes(order="F")]
    stored = {"u1": 2, "f8": 9}[array.dtype.str[1:]]
    return _element(14, b"".join(map(_element, (6, 5, 1, stored), parts)))


def _mat(variables: bytes) -> bytes:
    return b"MATLAB 5.0 MAT-file".ljust(124) + b"\x00\x01IM" + variables


def _zipped_mat(variables: bytes) -> bytes:
    packed = zlib.compress(variables)
    return _mat(struct.pack("<II", 15, len(packed)) + packed + _variable(b"y", 9, np.ones((3, 1), "u1")))


def _chunks(*chunks: tuple[bytes, bytes]) -> bytes:
    return b"".join(struct.pack(">I", len(body)) + kind + body for kind, body in chunks)


def _png(content: bytes) -> bytes:
    """Chunks without checksums, given theirs, behind the signature."""
    stream, whole = io.BytesIO(content), b"\x89PNG\r\n\x1a\n"
    while len(head := stream.read(8)) == 8:
        body = stream.read(struct.unpack(">I", head[:4])[0])
        whole += head + body + struct.pack(">I", zlib.crc32(head[4:] + body))
    return whole


def _image(bits: int, colours: int, row: bytes) -> bytes:
    header = struct.pack(">IIBBBBB", 2, 2, bits, colours, 0, 0, 0)
    pixels = zlib.compress((b"\0" + row) * 2)
    return _chunks((b"IHDR", header), (b"PLTE", bytes(9)), (b"IDAT", pixels), (b"IEND", b""))


def _saved(kind: str, mode: str) -> bytes:
    """A picture as Pillow saves it, turned on its side by its EXIF data."""
    stream, exif = io.BytesIO(), Image.Exif()
    exif[image.ORIENTATION] = 6
    grey = Image.fromarray(np.pad(np.full((6, 3), 200, np.uint8), 4))
    grey.convert(mode).save(stream, kind, **({} if kind == "BMP" else {"exif": exif}))
    return stream.getvalue()


def _read_image(path: Path) -> None:
    """An image in each of the ways it is read, and as a digit."""
    with image.quiet():
        header, pixels = image.read_header(path), image.read(path)
        assert pixels.dtype == np.uint8
        assert pixels.shape in ((header.rows, header.columns), (header.rows, header.columns, 3))
        assert image.read(path, "rgb", (5, 7), (3,)).shape == (5, 7, 3)
        assert digit.to_mnist_digit(*image.read_layers(path, 16))[-1].picture.shape == (28, 28)


def _read_model(path: Path) -> None:
    """Open a network and use it."""
    model = model_files.open(path, select("numpy"))
    model.evaluator.predict_proba_or_values(model.params, np.zeros((2, *model.sample_shape)), model.sample_shape)


def _checkpoint() -> bytes:
    arrays = {"params/0/W": np.ones((2, 3), np.float32), "params/0/b": np.zeros(3), "state/step": np.array(7)}
    return checkpoints.to_bytes(checkpoints.Checkpoint(arrays, {"epoch": 1}))


def without_digest(checkpoint: bytes) -> bytes:
    """What `with_digest` makes a checkpoint of."""
    end = 8 + struct.unpack_from("<Q", checkpoint)[0]
    return checkpoint[8:end] + b"\n" + checkpoint[end:]


def with_digest(content: bytes) -> bytes:
    """A header's JSON, a line feed and arrays, as a checkpoint whose digest is right."""
    header, _, arrays = content.partition(b"\n")
    whole = struct.pack("<Q", len(header)) + header + arrays
    if (found := checkpoints.DIGEST.search(whole)) is None:
        return whole
    before, after = whole[: found.start(1)], whole[found.end(1) :]
    return before + hashlib.sha256(before + b"0" * 64 + after).hexdigest().encode() + after


COLUMNS = {"a": [1, 2, 3], "b": [0.5, 2, 1], "c": ["x", "y", "x"]}


def _columnar(write: str, columns: Mapping[str, list] = COLUMNS) -> bytes:
    stream = io.BytesIO()
    getattr(polars.DataFrame(columns), write)(stream)
    return stream.getvalue()


def _model() -> bytes:
    """A file of `nb.save`."""
    data = Dataset(np.eye(3, dtype=np.float32), [0, 1, 1])  # type: ignore[arg-type]
    network = Sequential(Dense(3, weight_init=Uniform(0.5)), BatchNorm(), Residual(Tanh()), Dropout(0.5), Dense(2))
    trainer = Trainer(network, SoftmaxCrossEntropy(), SGD(), 0.1, penalty=WeightPenalty(l2=0.1))
    trainer.initialize(data)
    with tempfile.TemporaryDirectory() as folder:
        model_files.save(trainer, path := Path(folder) / "model")
        return path.read_bytes()


PIXELS = np.arange(12, dtype=np.uint8).reshape(3, 2, 2)
ROWS = PIXELS.reshape(3, 4)
CHECKPOINT = _checkpoint()
MODEL = _model()
TOML = (
    b'title = "a"\nhidden = [5, 3]\nlr = 0.1\ndropout = [0.5]\nbatch_size = "full"\ndata = "mnist"\nbias = false\n'
)

READERS = {
    "idx": Reader(
        _read_idx, DataError, (plain, gzip.compress), (_idx(8, PIXELS), _idx(0x0E, PIXELS.astype(">f8")), b"\0\0")
    ),
    "csv": Reader(
        lambda path: to_datasets(TableSplits(csv.read(path)), 0, 0, 0),
        DataError,
        (plain, gzip.compress, lambda content: content.decode("latin-1").encode("utf-16")),
        (
            b"label,a,b\n1,2,3\n0,4,5\n",
            b"\xef\xbb\xbf7,0.5,1e3\r\n\r\n3,-1,nan\r\n",
            b'"cat","1","2"\n"a""b",3,4\n',
            b"a;b;class\n1,5;x;yes\n2,25;;no\n;y;yes\n",
            b"id\twhen\tsex\n7\t2024-01-02\tm\n9\t2024-01-03\tf\n",
        ),
    ),
    "parquet": Reader(
        lambda path: to_datasets(TableSplits(parquet.read(path)), 0, 0, 0),
        DataError,
        (plain,),
        (_columnar("write_parquet"), _columnar("write_ipc")),
        in_process=False,
    ),
    "convert": Reader(
        _convert,
        DataError,
        (plain, gzip.compress),
        (b"a,b,label\n1,2,3\n0,4,5\n7,1,3\n", b"a,price\n1,0.5\n2,1.25\n3,1e9\n", b"1,x\n2,y\n3,x\n"),
    ),
    "blocks": Reader(
        _convert,
        DataError,
        (plain,),
        (
            _columnar("write_parquet"),
            _columnar("write_ipc", {"a": [1, 2, 3], "price": [0.5, 2, 1]}),
            _columnar("write_parquet", {"image": [_saved("PNG", "L")] * 3, "label": [0, 1, 0]}),
        ),
        in_process=False,
    ),
    "npz": Reader(
        _read_npz,
        DataError,
        (plain, _npz(zipfile.ZIP_STORED), _npz(zipfile.ZIP_DEFLATED)),
        (_npz(zipfile.ZIP_DEFLATED)(_npy(ROWS)), _npy(ROWS), _npy(PIXELS.astype("<f8"))),
    ),
    "npy": Reader(
        _read_npy, DataError, (plain,), (_npy(ROWS[:, :1]), _npy(np.array([["a"], ["bc"]])), _npy(ROWS))
    ),
    "npy-mapped": Reader(
        _read_mapped_npy, DataError, (plain,), (_npy(ROWS.astype("<f4")[:, :1]), _npy(PIXELS[:, :1]))
    ),
    "mat": Reader(
        lambda path: _check_dataset(mat.read(path)),
        DataError,
        (plain, _mat, _zipped_mat),
        (
            _variable(b"X", 6, ROWS / 2) + _variable(b"y", 9, ROWS[:, :1]),
            _mat(_variable(b"X", 8, ROWS) + _variable(b"y", 6, ROWS[:, :1])),
        ),
    ),
    "image": Reader(
        _read_image,
        DataError,
        (plain, _png),
        (
            *(
                _image(8, 0, b"\0\x80"),
                _image(1, 3, b"\x80"),
                _image(16, 6, bytes(16)),
                _png(_image(8, 2, bytes(6))),
            ),
            *(_saved(kind, mode) for kind in ("PNG", "JPEG", "BMP", "WEBP") for mode in ("L", "RGB")),
        ),
    ),
    "rows": Reader(
        lambda path: rows_of_numbers(csv.read(path), 2),
        DataError,
        (plain,),
        (b"1,2\n3,4\n", b"\xef\xbb\xbf1e5,nan\r\n# a,b\n"),
    ),
    "config": Reader(_read_config, UsageError, (plain,), (TOML, b"\xef\xbb\xbfseed = 0x10\r\n[data]\na.b = 1\n")),
    "metrics": Reader(
        _read_rows, RunFolderError, (plain,), (b'{"epoch": 1, "lr": 0.5}\n{"epoch": 2, "a": [{}, null]}\n{"ep',)
    ),
    "summary": Reader(
        lambda path: RunDir(path.parent).read_json(path.name),
        RunFolderError,
        (plain,),
        (b'{"loss": 1e-3, "a": {"b": [1, NaN]}}\n', b'"\xc3\xbc\\ud800"'),
    ),
    "checkpoint": Reader(
        checkpoints.load, RunFolderError, (plain, with_digest), (CHECKPOINT, without_digest(CHECKPOINT))
    ),
    "model": Reader(_read_model, RunFolderError, (with_digest,), (without_digest(MODEL),)),
}
