"""The command line, called as a test calls it."""

from __future__ import annotations

import pytest

from nnbackprop.cli import main


def run(*words: str) -> int:
    """The status that `nnbackprop WORDS` exits with."""
    with pytest.raises(SystemExit) as stop:
        main(list(words))
    return int(stop.value.code or 0)
