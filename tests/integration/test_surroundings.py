"""A process whose disk fills up or whose folder goes away: one clear error, and nothing lost once it is back."""

from __future__ import annotations

import errno
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from nnbackprop.runs.checkpoint_manager import CheckpointManager
from nnbackprop.runs.run_dir import RunDir
from tests.support.commands import resumed
from tests.torture import victim
from tests.torture.victim import same, sound


def disturbed(undisturbed: Path, name: str, how: Callable[[int], object], back: Callable[[], object]) -> str:
    """What a process said whose surroundings changed while it saved every few steps; resumed, it loses nothing."""
    folder = RunDir(undisturbed / "runs" / name)
    with victim.start(undisturbed, *victim.words(name, victim.ENDLESS)) as process:
        victim.wait_for_step(process, 20)
        process.send_signal(signal.SIGSTOP)
        os.waitpid(process.pid, os.WUNTRACED)  # so that it is seen at rest
        before = sound(folder)
        how(process.pid)
        process.send_signal(signal.SIGCONT)
        _, errors = process.communicate(timeout=60)
    back()
    assert process.returncode == 5, errors
    assert errors.startswith("error: ")
    assert "Traceback" not in errors
    after = sound(folder)
    assert before[folder.checkpoint("last")] in after.values()  # as the last, or as the one before it
    epoch = CheckpointManager(folder.checkpoints).newest()[1].meta["progress"]["epoch"]
    assert epoch < victim.EPOCHS
    resumed(undisturbed, name, "--epochs", str(victim.EPOCHS))
    assert list(folder.path.rglob(".*.tmp")) == []
    same(folder.path, undisturbed / "runs" / "whole")
    return " ".join(errors.split())


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux changes another process's limits")
def test_a_full_disk_in_a_real_process(undisturbed: Path) -> None:
    """No file may grow past 512 bytes from some moment on, and a checkpoint has more."""
    import resource

    most = (512, 512)
    said = disturbed(
        undisturbed, "full", lambda pid: resource.prlimit(pid, resource.RLIMIT_FSIZE, most), lambda: None
    )
    assert f"could not be written ({os.strerror(errno.EFBIG)})" in said


@pytest.mark.skipif(sys.platform == "win32", reason="Windows renames no folder with an open file in it")
def test_a_folder_that_goes_away_in_a_real_process(undisturbed: Path) -> None:
    gone, away = undisturbed / "runs" / "gone", undisturbed / "away"
    said = disturbed(undisturbed, "gone", lambda *_: gone.rename(away), lambda: away.rename(gone))
    assert said.startswith("error: runs/gone/")
    assert f"could not be written ({os.strerror(errno.ENOENT)})" in said
