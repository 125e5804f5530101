"""The command line, called as a test calls it."""

from __future__ import annotations

from pathlib import Path

import pytest

from nnbackprop.cli import main
from nnbackprop.runs import train as experiment


def run(*words: str) -> int:
    """The status that `nnbackprop WORDS` exits with."""
    with pytest.raises(SystemExit) as stop:
        main(list(words))
    return int(stop.value.code or 0)


def resumed(place: Path, name: str, *words: str) -> Path:
    """The folder of a run in `place` that has gone on in this process, to its end; no pictures are drawn."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        patch.setattr(experiment, "draw", lambda *_: None)
        assert run("train", "--resume", name, "--progress", "off", *words) == 0
    return place / "runs" / name
