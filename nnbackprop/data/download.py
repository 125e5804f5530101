"""Fashion-MNIST and Kuzushiji-MNIST, downloaded once into a cache and checked by SHA-256.

Digests: tensorflow/datasets, tensorflow_datasets/url_checksums/{fashion_mnist,kmnist}.txt.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from nnbackprop.errors import DataError

from .raw import RawSplits
from .readers import idx

TIMEOUT = 30  # seconds without a byte from a mirror, before the next one is tried


@dataclass(frozen=True)
class RemoteDataset:
    """A data set of four IDX.gz files: its mirrors in the order they are tried, and its files."""

    name: str
    mirrors: tuple[str, ...]
    digests: Mapping[str, str]  # file name: SHA-256 of the compressed file
    classes: tuple[str, ...]


FASHION_CLASSES = "T-shirt/top, Trouser, Pullover, Dress, Coat, Sandal, Shirt, Sneaker, Bag, Ankle boot"

# Xiao, Rasul and Vollgraf, "Fashion-MNIST: a Novel Image Dataset for Benchmarking Machine Learning
# Algorithms", arXiv:1708.07747. MIT licence.
FASHION_MNIST = RemoteDataset(
    "fashion-mnist",
    (
        "https://github.com/zalandoresearch/fashion-mnist/raw/master/data/fashion/",
        "https://storage.googleapis.com/tensorflow/tf-keras-datasets/",
    ),
    {
        "train-images-idx3-ubyte.gz": "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
        "train-labels-idx1-ubyte.gz": "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
        "t10k-images-idx3-ubyte.gz": "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
        "t10k-labels-idx1-ubyte.gz": "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
    },
    tuple(FASHION_CLASSES.split(", ")),
)

# Clanuwat et al., "Deep Learning for Classical Japanese Literature", arXiv:1812.01718. CC BY-SA 4.0.
KMNIST = RemoteDataset(
    "kmnist",
    (
        "https://codh.rois.ac.jp/kmnist/dataset/kmnist/",
        "https://web.archive.org/web/2024id_/http://codh.rois.ac.jp/kmnist/dataset/kmnist/",
    ),
    {
        "train-images-idx3-ubyte.gz": "51467d22d8cc72929e2a028a0428f2086b092bb31cfb79c69cc0a90ce135fde4",
        "train-labels-idx1-ubyte.gz": "e38f9ebcd0f3ebcdec7fc8eabdcdaef93bb0df8ea12bee65224341c8183d8e17",
        "t10k-images-idx3-ubyte.gz": "edd7a857845ad6bb1d0ba43fe7e794d164fe2dce499a1694695a792adfac43c5",
        "t10k-labels-idx1-ubyte.gz": "20bb9a0ef54c7db3efc55a92eef5582c109615df22683c380526788f98e42a1c",
    },
    ("o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo"),
)


def cache_folder() -> Path:
    """The system's folder for caches."""
    import pooch

    return Path(pooch.os_cache("nnbackprop"))


def fetch(remote: RemoteDataset, cache: Path | None = None) -> RawSplits:
    """Download a data set, and read it; files already in `cache` with the right digest need no network.

    Raises DataError naming the folder, the file names and their digests if a file cannot be downloaded.
    """
    folder = (cache or cache_folder()) / remote.name
    for file in remote.digests:
        _download(remote, file, folder)
    label_names = dict(enumerate(remote.classes))
    return RawSplits(*(idx.read_part(folder, part, label_names) for part in ("train", "t10k")))


def _download(remote: RemoteDataset, file: str, folder: Path) -> None:
    """Download `file` unless `folder` has it. pooch renames a temporary file once its digest is right."""
    import pooch

    digest, downloader, errors = f"sha256:{remote.digests[file]}", pooch.HTTPDownloader(timeout=TIMEOUT), []
    for mirror in remote.mirrors:
        try:
            pooch.retrieve(mirror + file, digest, fname=file, path=folder, downloader=downloader)
            return
        except (OSError, ValueError) as error:  # no network, no such page, no room; wrong digest
            errors.append(f"{mirror}: {type(error).__name__}: {error}")
    wanted = "\n".join(f"  {digest}  {name}" for name, digest in remote.digests.items())
    raise DataError(
        f"{remote.name}: {file} could not be downloaded ({'; '.join(errors)}). Without a network, put these "
        f"files, with these SHA-256 digests, into the folder {folder}:\n{wanted}"
    )
