"""Signals: the first finishes the chunk and saves, a second stops at once; the exit status names the signal."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from nnbackprop.runs.checkpoint import load
from nnbackprop.runs.run_dir import RunDir
from nnbackprop.runs.signals import SIGNALS, stop_on_signals
from nnbackprop.runs.train import Run
from tests.stress import child_run
from tests.stress.child_run import assert_same_outcome
from tests.support.commands import resumed, run, said
from tests.support.small_runs import clouds, make_trainer

ROOT = Path(__file__).parents[2]
HEAVY_MODULES = {"typing", "pathlib", "re", "dataclasses", "numpy", "cyclopts"}

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows has none of these signals")


@pytest.mark.usefixtures("default_signals")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_finishes_the_chunk_and_saves(number: signal.Signals, reference: Path) -> None:
    name = f"after {number.name}"
    with child_run.start(reference, *child_run.train_words(name, child_run.ENDLESS)) as process:
        child_run.wait_for_step(process, 30)
        process.send_signal(number)
        printed, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (128 + number, "")
    assert f"Interrupted and saved. Go on with: nnbackprop train --resume 'runs/{name}'" in printed
    steps = [int(line) for line in printed.splitlines() if line.isdigit()]
    checkpoints = reference / "runs" / name / "checkpoints"
    last = load(checkpoints / "last.safetensors").meta["progress"]
    assert last["step"] >= max(steps, default=30)
    epochs = last["epoch"] + 1
    child_run.run_to_end(reference, "--resume", name, "--epochs", str(epochs))
    child_run.run_to_end(reference, *child_run.train_words(f"{number.name}-alone", epochs))
    assert_same_outcome(reference / "runs" / name, reference / "runs" / f"{number.name}-alone")


@pytest.mark.usefixtures("default_signals")
@pytest.mark.parametrize(
    ("number", "status"),
    [(signal.SIGINT, 130), (signal.SIGTERM, -signal.SIGTERM), (signal.SIGHUP, -signal.SIGHUP)],
)
def test_the_second_signal_stops_at_once(number: signal.Signals, status: int, reference: Path) -> None:
    """The process waits for ever at a chunk's end: nothing but a stop at once ends it."""
    name = f"twice-{number.name}"
    with child_run.start(reference, *child_run.train_words(name, child_run.EPOCHS), waits=True) as process:
        child_run.wait_for_step(process, 20)
        process.send_signal(signal.SIGTERM)
        assert process.stdout is not None
        while process.stdout.readline() != "asked to stop\n":
            assert process.poll() is None
        process.send_signal(number)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == status
    assert "Traceback" not in errors
    assert_same_outcome(resumed(reference, name), reference / "runs" / "whole")


@pytest.mark.usefixtures("default_signals")
@pytest.mark.parametrize("number", SIGNALS)
def test_the_first_signal_asks_and_handlers_come_back(number: int) -> None:
    asked: list[bool] = []
    before = [signal.getsignal(known) for known in SIGNALS]
    with stop_on_signals(lambda: asked.append(True)) as heard:
        os.kill(os.getpid(), number)
        assert (heard, asked) == ([number], [True])
    assert [signal.getsignal(known) for known in SIGNALS] == before


def test_off_the_main_thread_signals_are_left_alone() -> None:
    before, seen = signal.getsignal(signal.SIGINT), []

    def work() -> None:
        with stop_on_signals(lambda: None):
            seen.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [before]


def test_a_signal_after_the_last_step_does_not_call_the_run_interrupted() -> None:
    trainer = make_trainer(epochs=1)
    trainer.fit(clouds())
    trainer.stop("interrupted")
    assert trainer.stop_reason == "finished"


def test_a_signal_while_data_is_moved_stops_before_the_first_step(monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = make_trainer()
    prepare = trainer._start_fit
    monkeypatch.setattr(trainer, "_start_fit", lambda *parts: (trainer.stop("interrupted"), prepare(*parts))[1])
    trainer.fit(clouds())
    assert (trainer.stop_reason, trainer.progress.step) == ("interrupted", 0)


def test_an_ignored_signal_stays_ignored() -> None:
    """As under nohup: the run goes on without its terminal."""
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


@pytest.mark.usefixtures("default_signals")
@pytest.mark.parametrize(("mode", "word"), [("plain", b"epoch      1"), ("rich", b"samples/s")])
def test_a_closed_terminal_ends_the_run_as_sighup_does(mode: str, word: bytes, reference: Path) -> None:
    """What is printed after the terminal is gone would be an error of its own, and the status not 129."""
    import pty

    ours, theirs = pty.openpty()
    own = "import fcntl, os, termios; os.setsid(); fcntl.ioctl(0, termios.TIOCSCTTY, 0)"  # its own terminal
    command = [sys.executable, "-c", f"{own}; from nnbackprop.cli import main; main()", "train"]
    streams = {"stdin": theirs, "stdout": theirs, "stderr": theirs}
    with subprocess.Popen(
        [*command, *child_run.train_words(mode, child_run.ENDLESS, mode)], cwd=reference, **streams
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
    run_dir = RunDir(reference / "runs" / mode)
    epoch = load(run_dir.checkpoint_path("last")).meta["progress"]["epoch"]
    assert [row["epoch"] for row in run_dir.read_metrics()] == list(range(1, epoch))


@pytest.mark.usefixtures("default_signals")
def test_a_closed_pipe_ends_the_run_as_sighup_does(reference: Path) -> None:
    """`nnbackprop train | head -1`: saved, no traceback, and resumed to the end of an undisturbed run."""
    command = [sys.executable, "-c", "from nnbackprop.cli import main; main()", "train"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    words = child_run.train_words("read", child_run.ENDLESS, "plain")
    with subprocess.Popen([*command, *words], cwd=reference, **pipes) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        while not process.stdout.readline().startswith("epoch"):
            assert process.poll() is None
        process.stdout.close()
        assert (process.wait(60), process.stderr.read()) == (128 + signal.SIGHUP, "")
    run_dir = RunDir(reference / "runs" / "read")
    epochs = load(run_dir.checkpoint_path("last")).meta["progress"]["epoch"]
    assert [row["epoch"] for row in run_dir.read_metrics()] == list(range(1, epochs))
    child_run.run_to_end(reference, *child_run.train_words("read-alone", epochs))
    resumed(reference, "read", "--epochs", str(epochs))
    assert_same_outcome(run_dir.path, reference / "runs" / "read-alone")


# Ctrl-C before there is a checkpoint.


@pytest.mark.usefixtures("default_signals")
def test_ctrl_c_before_the_first_checkpoint_leaves_no_folder(
    two_clouds: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As the run begins, after its folder is made: what is there as `last` is still the run before."""
    train = [
        "train",
        "mnist-original",
        "--data",
        "two.npz",
        "--hidden",
        "4",
        "--dropout",
        "0",
        "--progress",
        "off",
    ]
    assert run(*train, "--epochs", "2", "--name", "before") == 0
    monkeypatch.setattr(Run, "fit", lambda *_: os.kill(os.getpid(), signal.SIGINT))
    assert run(*train, "--name", "interrupted") == 130
    assert os.listdir("runs") == ["before"]
    assert "Traceback" not in said(capsys)
    assert RunDir.open(Path("runs"), "last").path == Path("runs/before")


def test_importing_the_package_is_quick() -> None:
    """It comes before any handler of Ctrl-C; -S, as site may load the same modules first."""
    path = f"import sys; sys.path.insert(0, {str(ROOT)!r})"
    code = f"{path}; import nnbackprop; print({HEAVY_MODULES} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-S", "-c", code], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("set()\n", "")


@pytest.mark.skipif(
    signal.getsignal(signal.SIGINT) is signal.SIG_IGN,
    reason="SIGINT is ignored here, as by a job in the background",
)
def test_ctrl_c_while_the_command_is_imported_has_no_traceback(tmp_path: Path) -> None:
    """While a dataclass of a module is made: `python -m` would end by the signal, as `exec` makes it."""
    (tmp_path / "cyclopts.py").write_text(
        "import os, signal\nexec('os.kill(os.getpid(), signal.SIGINT)')", encoding="utf-8"
    )
    for words in (["-m", "nnbackprop"], ["-c", "from nnbackprop.__main__ import main; main()"]):
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")]),
        }
        done = subprocess.run([sys.executable, *words, "train"], env=environment, capture_output=True, text=True)
        assert (done.returncode, done.stdout, done.stderr) == (130, "", "")
