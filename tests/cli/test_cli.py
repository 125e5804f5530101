"""The command line end to end: what it prints, the files it writes, and its exit status."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
import tomllib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyte
import pytest

from nnbackprop.cli import main
from nnbackprop.runs.checkpoint import load as load_checkpoint
from tests.support.commands import run, said

SMALL = ["mnist", "--hidden", "16", "--dropout", "0", "--epochs", "1"]
"""An epoch of real MNIST through a small network: under a second of steps, about 92% right."""
PLOTS = (
    *("loss", "accuracy", "gradient-norms", "first-layer-weights", "confusion-matrix", "calibration"),
    *("surest-samples", "wrongest-samples", "explanation"),
)

pytestmark = pytest.mark.usefixtures("in_a_folder_of_its_own")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder of the small network."""
    runs = tmp_path_factory.mktemp("trained")
    assert run("train", *SMALL, "--runs-dir", str(runs), "--name", "small", "--progress", "off") == 0
    return runs / "small"


def test_a_run_leaves_its_whole_folder(trained: Path) -> None:
    files = {str(path.relative_to(trained)) for path in trained.rglob("*") if path.is_file()}
    assert files == {
        ".lock",
        "config.toml",
        "env.json",
        "metrics.jsonl",
        "summary.json",
        "checkpoints/best.safetensors",
        "checkpoints/last.safetensors",
        "checkpoints/step-00000000.safetensors",
        *(f"plots/{name}.png" for name in PLOTS),
    }


def test_the_summary_has_the_figures_of_the_run(trained: Path) -> None:
    summary = json.loads((trained / "summary.json").read_text(encoding="utf-8"))
    assert summary["recipe"] == "mnist"
    assert [summary[name] for name in ("backend", "device", "dtype", "seed")] == ["numpy", "cpu", "float32", 0]
    assert summary["parameters"] == 784 * 16 + 16 + 16 * 10 + 10
    assert (summary["epochs"], summary["steps"]) == (1, 500)
    assert 0.88 < summary["test_accuracy"] < 0.97
    assert summary["samples_per_second"] == pytest.approx(60000 / summary["seconds"])
    assert summary["validation_loss"] is None


@pytest.mark.usefixtures("no_plots")
def test_the_configuration_runs_again_to_the_same_weights(trained: Path) -> None:
    config = trained / "config.toml"
    written = tomllib.loads(config.read_text(encoding="utf-8"))
    assert (written["backend"], written["recipe"], written["name"]) == ("auto", "mnist", "small")
    assert run("train", str(config), "--runs-dir", "again", "--progress", "off") == 0
    first, again = (
        json.loads((p / "summary.json").read_text(encoding="utf-8")) for p in (trained, Path("again/small"))
    )
    assert again["test_loss"] == first["test_loss"]
    ours, theirs = (p / "checkpoints/best.safetensors" for p in (trained, Path("again/small")))
    from safetensors.numpy import load_file

    for name, array in load_file(ours).items():
        assert np.array_equal(array, load_file(theirs)[name])


def test_evaluate_repeats_the_summary(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    summary = json.loads((trained / "summary.json").read_text(encoding="utf-8"))
    assert run("evaluate", str(trained)) == 0
    assert f"loss {summary['test_loss']:.4f}, accuracy {summary['test_accuracy']:.4f} of 10000 samples" in said(
        capsys
    )


@pytest.mark.parametrize("library", ["torch", "jax"])
def test_a_run_opens_on_another_backend(library: str, trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip(library, reason=f"{library} is not installed")
    assert run("evaluate", str(trained), "--backend", library) == 0
    other = capsys.readouterr().out
    assert run("evaluate", str(trained), "--backend", "numpy") == 0
    assert other == capsys.readouterr().out


def test_predict_names_the_digit_of_a_png_and_of_a_csv_row(
    trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from matplotlib.image import imsave

    from nnbackprop import TrainedModel, load

    test = load("mnist").test
    assert test is not None
    predicted = TrainedModel.open(str(trained)).predict(test.inputs[:200])
    right = int(np.flatnonzero(predicted == test.targets[:200])[0])
    digit = test.classes[test.targets[right]]
    imsave("digit.png", test.inputs[right].reshape(28, 28), cmap="gray", vmin=0, vmax=255)
    np.savetxt("digits.csv", test.inputs[[right, right]], delimiter=",", fmt="%d")
    assert run("predict", str(trained), "digit.png", "digits.csv") == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    rows = [line for line in lines if line and line[0] in ("1", "2")]
    assert [row[1] for row in rows] == [digit] * 3
    assert rows[0][1:] == rows[1][1:]


def test_attack_lowers_the_accuracy_and_draws(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("attack", str(trained), "--epsilon", "0.1") == 0
    words = capsys.readouterr().out.split()
    before, after = float(words[1]), float(words[3])
    assert before > 0.88
    assert after < 0.3
    assert (trained / "plots" / "attack.png").read_bytes()[:4] == b"\x89PNG"


@pytest.mark.parametrize(
    ("words", "status", "reason"),
    [
        (["train", "minst"], 2, "neither a recipe nor a TOML file"),
        (["train", "--lr", "fast"], 2, "--lr"),
        (["train", "--data", "one.npz", "--test-fraction", "0"], 3, "All samples are of one class"),
        (["train", "--lr", "-1"], 2, "lr = -1.0: expected `float` > 0.0"),
        (["train", "--lrr", "1"], 2, "--lrr"),
        (["train", "--activation", "rellu"], 2, "--activation 'rellu' is not known"),
        (["train", "--backend", "numpy", "--device", "cuda"], 2, "numpy"),
        (["train", "--patience", "3"], 2, "--validation"),
        (["train", "--data", "nowhere.csv"], 3, "nowhere.csv"),
        (["train", "--resume", "nothing"], 5, "'nothing' is no run folder"),
        (["train", "--resume", "last"], 5, "There is no run in runs"),
        (["train", "mnist", "--resume", "last"], 2, "leave out the recipe"),
        (["evaluate", "nothing"], 5, "no run folder"),
        (["evaluate", "lr=0.2"], 5, "'lr=0.2' is no run folder (there is no config.toml in 'lr=0.2'"),
        (["attack", "nothing", "--epsilon", "0"], 2, "--epsilon"),
        (["data", "inspect", "nowhere"], 3, "nowhere"),
        (["train", "weight-height", "--n-outputs", "3", "--epochs", "1"], 2, "(3,)"),
    ],
)
def test_a_mistake_is_one_paragraph_and_an_exit_status(
    words: list[str], status: int, reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    np.savez("one.npz", X=np.random.default_rng(0).standard_normal((9, 3)), y=np.zeros(9, int))
    assert run(*words) == status
    text = said(capsys)
    assert text.startswith("error: ")
    assert reason in text
    assert "Traceback" not in text
    assert not Path("runs").exists()


def test_debug_raises_the_error() -> None:
    with pytest.raises(Exception, match="neither a recipe"):
        main(["train", "minst", "--debug"])


def test_cupy_by_name_where_it_is_absent_exits_2(capsys: pytest.CaptureFixture[str]) -> None:
    import backends

    if next(row for row in backends.available() if row.name == "cupy").usable:
        pytest.skip("CuPy works here, so it cannot be shown absent")
    assert run("train", "--backend", "cupy") == 2
    assert "pip install" in said(capsys)
    assert not Path("runs").exists()


@pytest.mark.usefixtures("no_plots")
def test_the_flag_beats_the_environment_beats_the_recipe(monkeypatch: pytest.MonkeyPatch) -> None:
    """The loser is always a device that NumPy does not have, which would end the run with status 2."""
    Path("mine.toml").write_text(
        'data = "weight-height"\nscale = "none"\nepochs = 2\nbackend = "numpy"\ndevice = "cuda"\n',
        encoding="utf-8",
    )
    assert run("train", "mine.toml", "--progress", "off") == 2
    monkeypatch.setenv("NNBACKPROP_DEVICE", "cpu")
    assert run("train", "mine.toml", "--progress", "off") == 0
    monkeypatch.setenv("NNBACKPROP_DEVICE", "cuda")
    assert run("train", "mine.toml", "--progress", "off") == 2
    assert run("train", "mine.toml", "--progress", "off", "--device", "cpu") == 0


@pytest.mark.usefixtures("no_plots")
def test_an_empty_environment_variable_counts_as_unset(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NNBACKPROP_BACKEND", "")
    monkeypatch.setenv("NNBACKPROP_DEVICE", "")
    assert run("train", "weight-height", "--epochs", "2", "--progress", "off") == 0


def test_backends_recipes_and_inspect_print(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("backends") == 0
    text = said(capsys)
    assert f"{np.__version__}" in text
    assert "cupy" in text
    assert run("recipes") == 0
    assert "784-512-256-10" in said(capsys)
    assert run("data", "inspect", "mnist") == 0
    assert "60,000" in said(capsys)


@pytest.mark.usefixtures("no_plots")
@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("config.toml", "lr == 3", ["train", "--resume", "last"]),
        ("config.toml", "lr = -3", ["evaluate", "last"]),
        ("config.toml", "\x00", ["attack", "last"]),
        ("metrics.jsonl", '{"epoch": 1}\nzork\n', ["train", "--resume", "last"]),
        ("checkpoints/best.safetensors", "zork", ["evaluate", "last"]),
    ],
)
def test_a_damaged_run_folder_exits_5_and_names_the_file(
    name: str, content: str, words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("train", "weight-height", "--epochs", "3", "--progress", "off") == 0
    (Path("runs/weight-height") / name).write_text(content, encoding="utf-8")
    assert run(*words) == 5
    assert Path(name).name in said(capsys)


def test_help_is_quick_and_imports_nothing_heavy() -> None:
    code = (
        "import sys\nfrom nnbackprop.cli import main\ntry:\n    main(['--help'])\nexcept SystemExit:\n"
        "    heavy = {'cupy', 'torch', 'jax', 'mlx', 'scipy', 'matplotlib', 'polars', 'numba', 'onnx', 'pooch'}\n"
        "    print('HEAVY', sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "HEAVY []" in done.stdout
    assert "train" in done.stdout


def test_output_through_a_pipe_is_plain_lines() -> None:
    command = [sys.executable, "-m", "nnbackprop", "train", "weight-height", "--epochs", "40"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "\x1b" not in done.stdout
    assert "numpy on cpu, float64" in done.stdout
    assert "epoch 40/40" in done.stdout
    assert done.stderr == ""


def test_a_console_without_unicode_gets_the_summary_all_the_same() -> None:
    command = [sys.executable, "-m", "nnbackprop", "train", "weight-height", "--epochs", "2"]
    done = subprocess.run(command, env={**os.environ, "PYTHONIOENCODING": "ascii"}, capture_output=True, text=True)
    assert done.returncode == 0
    assert "Run folder" in done.stdout


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no pseudo-terminals of this kind")
@pytest.mark.usefixtures("default_signals", "no_plots")
def test_ctrl_c_on_a_terminal_saves_and_resume_goes_on() -> None:
    words = ["train", *SMALL[:-1], "1000", "--name", "stopped"]
    with terminal(words) as (process, screen):
        wait_for("samples/s", screen)
        time.sleep(0.5)
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 130
        wait_for("Go on with: nnbackprop train --resume", screen)
    assert not Path("runs/stopped/summary.json").exists()
    at = load_checkpoint(Path("runs/stopped/checkpoints/last.safetensors")).meta["progress"]
    assert at["step"] > 0
    assert run("train", "--resume", "stopped", "--epochs", str(at["epoch"]), "--progress", "off") == 0
    assert json.loads(Path("runs/stopped/summary.json").read_text(encoding="utf-8"))["epochs"] == at["epoch"]


@contextlib.contextmanager
def terminal(words: list[str]) -> Iterator[tuple[subprocess.Popen[bytes], pyte.Screen]]:
    """The command on a pseudo-terminal of 100 x 40, and an emulated screen that shows what it prints."""
    import fcntl
    import pty
    import struct
    import termios

    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 100, 0, 0))
    screen = pyte.Screen(100, 40)
    stream = pyte.ByteStream(screen)

    def read() -> None:
        with contextlib.suppress(OSError):  # the other end has been closed
            while piece := os.read(ours, 4096):
                stream.feed(piece)

    command = [sys.executable, "-m", "nnbackprop", *words]
    with subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs) as process:
        os.close(theirs)
        reader = threading.Thread(target=read)
        reader.start()
        try:
            yield process, screen
        finally:
            process.kill()
            process.wait()
            reader.join()
            os.close(ours)


def wait_for(words: str, screen: pyte.Screen, seconds: float = 60) -> None:
    """Until the screen shows `words`."""
    deadline = time.monotonic() + seconds
    while not any(words in line for line in screen.display):
        assert time.monotonic() < deadline, "\n".join(screen.display)
        time.sleep(0.05)
