"""The command line, called within the test's process."""

from __future__ import annotations

from pathlib import Path

import pytest

from nnbackprop.cli import main


def run(*words: str) -> int:
    """The status that `nnbackprop WORDS` exits with."""
    with pytest.raises(SystemExit) as stop:
        main(list(words))
    return int(stop.value.code or 0)


def said(capsys: pytest.CaptureFixture[str]) -> str:
    """What was printed since the last call, on both streams, as one line."""
    both = capsys.readouterr()
    return " ".join((both.out + both.err).split())


def draw_no_plots(patch: pytest.MonkeyPatch) -> None:
    """Runs end without their pictures, which take longer than all the rest."""
    patch.setattr("nnbackprop.report.plot_process.draw_run", lambda run: ())


def resumed(place: Path, name: str, *words: str) -> Path:
    """The folder of a run in `place` that was resumed to its end in this process; no pictures are drawn."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        draw_no_plots(patch)
        assert run("train", "--resume", name, "--progress", "off", *words) == 0
    return place / "runs" / name
