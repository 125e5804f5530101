"""`kill -9` at random moments of a run that saves every few steps: what it loses, and what it comes to."""

from __future__ import annotations

import random
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

from nnbackprop.runs.checkpoint_manager import CheckpointManager

from . import victim

LIFE = 0.3  # seconds a process lives after its first steps, at most


@dataclass
class Figures:
    """What was survived."""

    kills: int = 0
    resumes: int = 0
    lost: int = 0  # steps, by the kill that cost most
    runs: int = 0  # that came to their end, the same as the one left alone


def survive(folder: Path, epochs: int, kills: int, rng: random.Random) -> Figures:
    """Kill runs in `folder`, each again and again until it ends, so many times in all.

    AssertionError where more is lost than since the last save, or a run does not end as the one left alone.
    """
    figures, run = Figures(), folder / "runs" / "killed"
    victim.write_clouds(folder)
    victim.left_alone(folder, *victim.words("alone", epochs))
    while figures.kills < kills:
        while not _ended(folder, run, epochs, figures, rng.uniform(0, LIFE) if figures.kills < kills else None):
            pass
        victim.same(run, folder / "runs" / "alone")
        figures.runs += 1
        shutil.rmtree(run)
    return figures


def _ended(folder: Path, run: Path, epochs: int, figures: Figures, kill_after: float | None) -> bool:
    """One life of the run: whether it came to its end before it was killed."""
    resumes = (run / "config.toml").is_file()
    if not resumes:  # killed, if at all, before there was anything to go on with
        shutil.rmtree(run, ignore_errors=True)
    words = ("--resume", "killed") if resumes else victim.words("killed", epochs)
    figures.resumes += resumes
    told, status, errors = _live(folder, words, kill_after)
    if status == 0:
        return True
    assert status == -9, f"exit {status}: {errors}"
    figures.kills += 1
    if told >= victim.EVERY:
        figures.lost = max(figures.lost, _lost(run, told))
    return False


def _live(folder: Path, words: tuple[str, ...], kill_after: float | None) -> tuple[int, int, str]:
    """The last step a process said it made, its exit status, and its errors."""
    with victim.start(folder, *words) as process:
        assert process.stdout is not None
        for _ in range(2):  # it has imported what it needs, and made its first steps
            process.stdout.readline()
        if kill_after is not None:
            time.sleep(kill_after)
            process.kill()
        said, errors = process.communicate()
    whole = said.split("\n")[:-1]
    return max((int(line) for line in whole if line.isdigit()), default=0), process.returncode, errors


def _lost(run: Path, told: int) -> int:
    """Steps made and not saved; the newest checkpoint is sound, and no older than the last save."""
    _, newest, wrong = CheckpointManager(run / "checkpoints").newest()
    assert not wrong, wrong
    step = newest.meta["progress"]["step"]
    assert step >= told - told % victim.EVERY, f"step {told} was made, and step {step} is what is left"
    return max(0, told - step)
