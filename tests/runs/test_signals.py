"""Signals: the chunk is finished and saved, a second one stops at once, and the exit status says which."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from nnbackprop.runs.checkpoint import load
from nnbackprop.runs.run_dir import RunDir
from nnbackprop.runs.signals import stop_on_signals
from tests.support.commands import resumed
from tests.torture import victim
from tests.torture.victim import same

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows has none of these signals")


@pytest.mark.usefixtures("heeded")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_finishes_the_chunk_saves_and_says_so_by_its_status(
    number: signal.Signals, undisturbed: Path
) -> None:
    with victim.start(undisturbed, *victim.words(number.name, victim.ENDLESS)) as process:
        victim.wait_for_step(process, 30)
        process.send_signal(number)
        said, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (128 + number, "")
    assert f"Interrupted and saved. Go on with: nnbackprop train --resume runs/{number.name}" in said
    told = [int(line) for line in said.splitlines() if line.isdigit()]
    checkpoints = undisturbed / "runs" / number.name / "checkpoints"
    last = load(checkpoints / "last.safetensors").meta["progress"]
    assert last["step"] >= max(told, default=30)
    epochs = last["epoch"] + 1
    victim.left_alone(undisturbed, "--resume", number.name, "--epochs", str(epochs))
    victim.left_alone(undisturbed, *victim.words(f"{number.name}-alone", epochs))
    same(undisturbed / "runs" / number.name, undisturbed / "runs" / f"{number.name}-alone")


@pytest.mark.usefixtures("heeded")
@pytest.mark.parametrize(
    ("number", "status"),
    [(signal.SIGINT, 130), (signal.SIGTERM, -signal.SIGTERM), (signal.SIGHUP, -signal.SIGHUP)],
)
def test_the_second_signal_stops_at_once(number: signal.Signals, status: int, undisturbed: Path) -> None:
    """The process waits for ever within a chunk: nothing but a stop at once ends it."""
    name = f"twice-{number.name}"
    with victim.start(undisturbed, *victim.words(name, victim.EPOCHS), waits=True) as process:
        victim.wait_for_step(process, 20)
        process.send_signal(signal.SIGTERM)
        assert process.stdout is not None
        while process.stdout.readline() != "asked to stop\n":
            assert process.poll() is None
        process.send_signal(number)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == status
    assert "Traceback" not in errors
    same(resumed(undisturbed, name), undisturbed / "runs" / "whole")


def test_a_signal_that_is_ignored_stays_so() -> None:
    """As under nohup: the terminal goes and the run does not."""
    asked: list[bool] = []
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with stop_on_signals(lambda: asked.append(True)) as heard:
            os.kill(os.getpid(), signal.SIGHUP)
            assert (heard, asked) == ([], [])
            os.kill(os.getpid(), signal.SIGTERM)
            assert (heard, asked) == ([signal.SIGTERM], [True])
            os.kill(os.getpid(), signal.SIGHUP)  # still ignored, or this process would be gone
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


@pytest.mark.parametrize(("mode", "word"), [("plain", b"epoch      1"), ("rich", b"samples/s")])
def test_a_terminal_that_is_closed_ends_the_run_as_sighup_does(mode: str, word: bytes, undisturbed: Path) -> None:
    """What is said after the terminal is gone would be an error of its own, and the status not 129."""
    import pty

    ours, theirs = pty.openpty()
    takes = (
        "import fcntl, os, termios; os.setsid(); fcntl.ioctl(0, termios.TIOCSCTTY, 0)"  # the terminal is its own
    )
    command = [sys.executable, "-c", f"{takes}; from nnbackprop.cli import main; main()", "train"]
    streams = {"stdin": theirs, "stdout": theirs, "stderr": theirs}
    with subprocess.Popen(
        [*command, *victim.words(mode, victim.ENDLESS, mode)], cwd=undisturbed, **streams
    ) as process:
        os.close(theirs)
        try:
            seen = b""
            while word not in seen:
                seen += os.read(ours, 4096)
            os.close(ours)
            assert process.wait(60) == 128 + signal.SIGHUP
        finally:
            process.kill()
    folder = RunDir(undisturbed / "runs" / mode)
    epoch = load(folder.checkpoint("last")).meta["progress"]["epoch"]
    assert [row["epoch"] for row in folder.rows()] == list(range(1, epoch))


def test_a_reader_that_leaves_ends_the_run_as_a_closed_terminal_does(undisturbed: Path) -> None:
    """`nnbackprop train | head -1`: saved, no traceback, and gone on with to the end of a run left alone."""
    command = [sys.executable, "-c", "from nnbackprop.cli import main; main()", "train"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    words = victim.words("read", victim.ENDLESS, "plain")
    with subprocess.Popen([*command, *words], cwd=undisturbed, **pipes) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        while not process.stdout.readline().startswith("epoch"):
            assert process.poll() is None
        process.stdout.close()
        assert (process.wait(60), process.stderr.read()) == (128 + signal.SIGHUP, "")
    folder = RunDir(undisturbed / "runs" / "read")
    epochs = load(folder.checkpoint("last")).meta["progress"]["epoch"]
    assert [row["epoch"] for row in folder.rows()] == list(range(1, epochs))
    victim.left_alone(undisturbed, *victim.words("read-alone", epochs))
    resumed(undisturbed, "read", "--epochs", str(epochs))
    same(folder.path, undisturbed / "runs" / "read-alone")
