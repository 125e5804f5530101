"""One reader before what libFuzzer makes; `fuzz` starts it: NAME, FOLDER and libFuzzer's own flags."""

from __future__ import annotations

import sys
import warnings
from pathlib import Path

import atheris

FORMATS = ["nnbackprop", "zipfile", "gzip", "tomllib", "csv", "ast", "PIL", "numpy.lib", "safetensors", "json"]

with atheris.instrument_imports(include=FORMATS):
    from .readers import READERS


def main() -> None:
    """Give libFuzzer the reader's good files to change, and never return."""
    name, folder, flags = sys.argv[1], Path(sys.argv[2]), sys.argv[3:]
    warnings.simplefilter("ignore")
    corpus = folder / "corpus"
    corpus.mkdir()
    for number, content in enumerate(READERS[name].seed_files()):
        (corpus / str(number)).write_bytes(content)
    atheris.Setup(
        [sys.argv[0], *flags, str(corpus)],
        lambda content: READERS[name].accepts(folder / "file", content) and None,
    )
    atheris.Fuzz()


if __name__ == "__main__":
    main()
