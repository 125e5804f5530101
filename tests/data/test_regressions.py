"""Files that once brought a reader down, kept small: `READER-what-it-was.suffix`, each refused in words now.

config-long-number       ValueError out of tomllib, which nobody caught
config-nested-arrays     RecursionError out of tomllib, likewise
convert-header-alone     an AssertionError of `data convert`, which found no block
csv-blank-lines          blank lines and a byte order mark, beyond whose end a header was looked for without end
csv-inflated-by-polars   4 KB of zlib behind a header, which polars read as the 4 MB it stands for, or any number
csv-label-beyond-int64   a class label of 5e30, which polars refused to make an integer of
csv-lone-quote           a panic in polars, which is no Exception
npz-bz2-of-zeros         600 bytes that zipfile inflates to 256 MB in one piece
npz-header-of-blanks     a .npy header of 4 MB, which NumPy reads whole before it says that it is too long
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.stress.readers import READERS
from tests.support.memory import peak_of

FOLDER = Path(__file__).parent / "regressions"
FILES = sorted(path for path in FOLDER.iterdir() if path.is_file())


def test_each_file_is_described_above() -> None:
    assert FILES
    assert [path.stem for path in FILES if f"\n{path.stem} " not in str(__doc__)] == []


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_each_file_is_refused_in_little_memory(path: Path) -> None:
    reader = READERS[path.stem.split("-")[0]]
    with pytest.raises(reader.error, match=path.name):  # and imports what it needs
        reader.read(path)

    def refuse() -> None:
        with pytest.raises(reader.error):
            reader.read(path)

    assert peak_of(refuse) < 5 * 10**6  # a block of CSV is 4 MB
