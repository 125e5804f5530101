"""`kill -9` at random moments of a run that saves every few steps: how many steps are lost, and how it ends."""

from __future__ import annotations

import random
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

from nnbackprop.runs.checkpoint_manager import CheckpointManager

from . import child_run

LONGEST_LIFE = 0.3  # seconds of a process after its first steps


@dataclass
class KillCounts:
    """Kills, and what they cost."""

    kills: int = 0
    resumes: int = 0
    lost: int = 0  # steps, by the kill that cost most
    runs: int = 0  # that ended as the one that was not killed


def kill_and_resume(folder: Path, epochs: int, kills: int, rng: random.Random) -> KillCounts:
    """Kill runs in `folder`, each again and again until it ends, `kills` times in all.

    AssertionError where more is lost than since the last save, or a run does not end as one that was not killed.
    """
    figures, run = KillCounts(), folder / "runs" / "killed"
    child_run.write_clouds(folder)
    child_run.run_to_end(folder, *child_run.train_words("alone", epochs))
    while figures.kills < kills:
        while not _run_once(
            folder, run, epochs, figures, rng.uniform(0, LONGEST_LIFE) if figures.kills < kills else None
        ):
            pass
        child_run.assert_same_outcome(run, folder / "runs" / "alone")
        figures.runs += 1
        shutil.rmtree(run)
    return figures


def _run_once(folder: Path, run: Path, epochs: int, figures: KillCounts, kill_after: float | None) -> bool:
    """Run or resume it in a process; whether it ended before it was killed."""
    resumes = (run / "config.toml").is_file()
    if not resumes:  # killed, if at all, before there was anything to go on with
        shutil.rmtree(run, ignore_errors=True)
    words = ("--resume", "killed") if resumes else child_run.train_words("killed", epochs)
    figures.resumes += resumes
    steps, status, errors = _run_process(folder, words, kill_after)
    if status == 0:
        return True
    assert status == -9, f"exit {status}: {errors}"
    figures.kills += 1
    if steps >= child_run.SAVE_EVERY:
        figures.lost = max(figures.lost, _steps_lost(run, steps))
    return False


def _run_process(folder: Path, words: tuple[str, ...], kill_after: float | None) -> tuple[int, int, str]:
    """The last step a process printed, its exit status, and its errors."""
    with child_run.start(folder, *words) as process:
        assert process.stdout is not None
        for _ in range(2):  # it has imported what it needs, and made its first steps
            process.stdout.readline()
        if kill_after is not None:
            time.sleep(kill_after)
            process.kill()
        printed, errors = process.communicate()
    whole = printed.split("\n")[:-1]
    return max((int(line) for line in whole if line.isdigit()), default=0), process.returncode, errors


def _steps_lost(run: Path, steps: int) -> int:
    """Of `steps` made those not saved; the newest checkpoint is sound, and no older than the last save."""
    _, newest, wrong = CheckpointManager(run / "checkpoints").load_newest()
    assert not wrong, wrong
    step = newest.meta["progress"]["step"]
    assert step >= steps - steps % child_run.SAVE_EVERY, f"step {steps} was made, and step {step} is saved"
    return max(0, steps - step)
