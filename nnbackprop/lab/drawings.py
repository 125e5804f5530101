"""A data set of one's own drawings: IDX, as MNIST's files are, in a folder that the server chooses."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np

from nnbackprop._files import write_atomically
from nnbackprop.data.digit import SIDE, to_mnist_digit
from nnbackprop.data.readers import idx
from nnbackprop.errors import DataError

from .errors import missing, unfit

MIN_SAMPLES = 10  # to train on
MAX_SAMPLES = 10_000
NAMES = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte")


class Drawings:
    """Drawn digits, prepared as MNIST's were, with their labels."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._lock = threading.Lock()

    def add(self, grey: np.ndarray, label: int) -> np.ndarray:
        """Prepare a drawing, uint8 (rows, columns), and keep it; the digit that is stored, (28, 28) in 0..1."""
        try:
            digit = to_mnist_digit(grey, None)[-1].picture
        except DataError as error:
            raise unfit("no-digit", problem=str(error)) from None
        with self._lock:
            images, labels = self._read()
            if len(labels) >= MAX_SAMPLES:
                raise unfit("drawings-full", folder=str(self.folder), n=len(labels))
            pixels = np.rint(digit * 255).astype(np.uint8)
            self._write(np.concatenate([images, pixels[np.newaxis]]), np.append(labels, np.uint8(label)))
        return digit

    def forget_last(self) -> None:
        """Take the last drawing back."""
        with self._lock:
            images, labels = self._read()
            if not len(labels):
                raise missing("no-drawing")
            self._write(images[:-1], labels[:-1])

    def folder_to_train_on(self) -> Path:
        """The folder; RequestError where the drawings are too few to train on."""
        if not (found := self.to_json())["trainable"]:
            raise unfit("drawings-few", n=found["n"], least=MIN_SAMPLES)
        return self.folder.absolute()

    def to_json(self) -> dict[str, Any]:
        """How many there are of each digit."""
        with self._lock:
            _, labels = self._read()
        counts = np.bincount(labels, minlength=10)
        trainable = len(labels) >= MIN_SAMPLES and np.count_nonzero(counts) > 1
        return {"n": len(labels), "counts": counts, "trainable": bool(trainable)}

    def _read(self) -> tuple[np.ndarray, np.ndarray]:
        images, labels = (self.folder / name for name in NAMES)
        if not images.is_file():
            return np.zeros((0, SIDE, SIDE), np.uint8), np.zeros(0, np.uint8)
        x, t = idx.read(images), idx.read(labels)
        n = min(len(x), len(t))  # a crash between the two writes
        return x[:n], t[:n]

    def _write(self, images: np.ndarray, labels: np.ndarray) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        paths = [self.folder / name for name in NAMES]
        if not len(labels):
            for path in paths:  # IDX of no samples is none
                path.unlink(missing_ok=True)
            return
        for path, array in zip(paths, (images, labels), strict=True):
            write_atomically(path, idx.to_bytes(array))
