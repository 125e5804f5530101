"""A run's folder: never overwritten, held by one process; damaged files are named, links out of it refused."""

from __future__ import annotations

import contextlib
import json
import math
import os
import shutil
import socket
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from nnbackprop.data import limits
from nnbackprop.errors import RunFolderError, TooLargeError
from nnbackprop.runs import run_dir as folders
from nnbackprop.runs.checkpoint import load, save
from nnbackprop.runs.config_files import load_run_config, to_toml
from nnbackprop.runs.run_dir import RunDir
from tests.support.commands import draw_no_plots, run, said
from tests.support.memory import peak_of

CAP = 2**20
PIPES = pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")


def run_in(runs: Path, name: str, written: float, checkpoint: bool = True) -> RunDir:
    run_dir = RunDir.create(runs, name)
    run_dir.write("config.toml", "")
    os.utime(run_dir.config_path, (written, written))
    if checkpoint:
        run_dir.checkpoint_path("last").touch()
        os.utime(run_dir.checkpoint_path("last"), (written, written))
    return run_dir


def test_a_name_is_never_taken_twice(tmp_path: Path) -> None:
    (tmp_path / "mnist").write_text("a file", encoding="utf-8")
    (tmp_path / "mnist-2").mkdir()
    assert [RunDir.create(tmp_path, "mnist").path.name for _ in range(2)] == ["mnist-3", "mnist-4"]
    assert (tmp_path / "mnist").read_text(encoding="utf-8") == "a file"


def test_runs_that_begin_together_get_a_folder_each(tmp_path: Path) -> None:
    made: list[str] = []
    threads = [
        threading.Thread(target=lambda: made.append(RunDir.create(tmp_path, "x").path.name)) for _ in range(20)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(made)) == 20


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(RunFolderError, match=r"file.*could not be made"):
        RunDir.create(tmp_path / "file", "x")


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "../x", "last"])
@pytest.mark.usefixtures("in_a_folder_of_its_own")
def test_a_name_that_is_a_path_or_last_is_refused(name: str) -> None:
    assert run("train", "weight-height", "--epochs", "2", "--name", name) == 2
    assert os.listdir() == []


def test_last_is_the_run_written_to_last(tmp_path: Path) -> None:
    for name, written in (("a", 100), ("b", 300), ("c", 200)):
        run_in(tmp_path, name, written)
    assert RunDir.open(tmp_path, "last").path.name == "b"
    assert RunDir.open(tmp_path, "c").path == tmp_path / "c"
    assert RunDir.open(Path("elsewhere"), str(tmp_path / "a")).path == tmp_path / "a"


def test_last_is_never_a_folder_without_a_checkpoint(tmp_path: Path) -> None:
    run_in(tmp_path, "b", 200, checkpoint=False)
    with pytest.raises(RunFolderError, match="There is no run in"):
        RunDir.open(tmp_path, "last")
    run_in(tmp_path, "a", 100)
    assert RunDir.open(tmp_path, "last").path.name == "a"


@pytest.mark.parametrize("name", ["a" * 300, "a" * 5000, "a\0b"], ids=len)
def test_a_name_that_no_file_can_have_is_no_run(name: str, tmp_path: Path) -> None:
    with pytest.raises(RunFolderError, match="is no run folder"):
        RunDir.open(tmp_path, name)


# Rows and JSON.


def test_a_row_cut_off_by_a_crash_is_left_out_and_later_rows_can_be_dropped(tmp_path: Path) -> None:
    run_dir = RunDir.create(tmp_path, "x")
    run_dir.metrics_path.write_text('{"epoch": 1}\n{"epoch": 2}\n{"epoch": 3}\n{"epo', encoding="utf-8")
    assert [row["epoch"] for row in run_dir.read_metrics()] == [1, 2, 3]
    run_dir.drop_metrics(from_epoch=3)
    assert run_dir.metrics_path.read_text(encoding="utf-8") == '{"epoch": 1}\n{"epoch": 2}\n'


@pytest.mark.parametrize(
    "content",
    [b"\xff\xfe\n", b"3\n", b"[]\n", b'{"epoch": "1"}\n', b'{"step": 1}\n', b"\0\0\n", b"[" * 100_000 + b"\n"],
    ids=lambda content: repr(content[:12]),
)
def test_lines_that_are_no_rows_are_refused_and_left_as_they_are(content: bytes, tmp_path: Path) -> None:
    run_dir = RunDir.create(tmp_path, "x")
    run_dir.metrics_path.write_bytes(content)
    for read in (run_dir.read_metrics, lambda: run_dir.drop_metrics(from_epoch=1)):
        with pytest.raises(RunFolderError, match=r"metrics\.jsonl holds a line that is no row of an epoch"):
            read()
    assert run_dir.metrics_path.read_bytes() == content


def test_numbers_that_are_not_finite_are_null_and_none_also_where_earlier_versions_wrote_them(
    tmp_path: Path,
) -> None:
    run_dir = RunDir.create(tmp_path, "x")
    numbers = {"epoch": 1, "r2": math.nan, "all": [math.inf, {"rmse": -math.inf}]}
    none = {"epoch": 1, "r2": None, "all": [None, {"rmse": None}]}
    run_dir.write_json("summary.json", numbers)
    assert json.loads((run_dir.path / "summary.json").read_text("utf-8"), parse_constant=pytest.fail) == none
    run_dir.write("summary.json", json.dumps(numbers))
    run_dir.write("metrics.jsonl", json.dumps(numbers) + "\n")
    assert run_dir.read_json("summary.json") == none
    assert run_dir.read_metrics() == [none]
    run_dir.drop_metrics(from_epoch=2)
    assert json.loads(run_dir.metrics_path.read_text("utf-8"), parse_constant=pytest.fail) == none


def test_rows_and_json_are_held_to_the_limit_of_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(limits.ENVIRONMENT_VARIABLE, str(CAP))
    run_dir = RunDir(tmp_path)
    run_dir.metrics_path.write_text('{"epoch": 1}\n' * 10**4, encoding="utf-8")
    (tmp_path / "summary.json").write_text("[" + "{}," * 10**5 + "0]", encoding="utf-8")
    for read in (run_dir.read_metrics, lambda: run_dir.read_json("summary.json")):
        with pytest.raises(TooLargeError, match=r"one file may take 1,048,576"):
            read()
    run_dir.metrics_path.write_text('{"epoch": 1}\n' * 5000, encoding="utf-8")
    assert peak_of(run_dir.read_metrics) < 4 * CAP


# Folders of others.


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small run that has ended."""
    place = tmp_path_factory.mktemp("finished")
    with pytest.MonkeyPatch.context() as patch:
        draw_no_plots(patch)
        words = ["--epochs", "3", "--name", "small", "--runs-dir", str(place), "--progress", "off"]
        assert run("train", "weight-height", *words) == 0
    assert run("evaluate", str(place / "small")) == 0  # imports are not the folder's memory
    return place / "small"


@pytest.fixture
def run_dir(finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunDir:
    """A copy of it, to be changed."""
    monkeypatch.chdir(tmp_path)
    return RunDir(shutil.copytree(finished, tmp_path / "runs" / "small"))


EVALUATE = ["evaluate", "small"]
RESUME = ["train", "--resume", "small", "--epochs", "5", "--progress", "off"]


def test_one_process_writes_to_a_folder(run_dir: RunDir, capsys: pytest.CaptureFixture[str]) -> None:
    with run_dir.lock():
        assert run(*RESUME) == 5
        assert "another process" in said(capsys)


def test_asking_whether_a_folder_is_in_use_keeps_no_process_from_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who asks holds a shared lock for a moment: here until the other waits."""
    run_dir, asking = RunDir.create(tmp_path, "x"), contextlib.ExitStack()
    monkeypatch.setattr("nnbackprop.runs.run_dir.time.sleep", lambda seconds: asking.close())
    with asking:
        (run_dir.path / ".lock").touch()
        folders._lock(asking.enter_context((run_dir.path / ".lock").open("rb")), shared=True)
        with run_dir.lock():
            assert run_dir.in_use


@pytest.mark.parametrize("there", [True, False])
@pytest.mark.parametrize(
    "name", ["metrics.jsonl", ".lock", "checkpoints", "checkpoints/last.safetensors", "plots", "plots/loss.png"]
)
def test_a_link_out_of_the_folder_is_refused(
    name: str, there: bool, run_dir: RunDir, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, outside = run_dir.path / name, tmp_path / "outside"
    path.parent.mkdir(exist_ok=True)
    if path.exists():
        path.rename(outside)
    path.symlink_to(outside if there else tmp_path / "nowhere")
    before = outside.read_bytes() if outside.is_file() else None
    for words in (RESUME, EVALUATE):
        assert run(*words) == 5
        assert f"{Path('runs/small') / name} leads to {tmp_path}" in said(capsys)
    assert (outside.read_bytes() if outside.is_file() else None) == before
    assert not (tmp_path / "nowhere").exists()


def test_a_checkpoint_that_links_to_itself_is_skipped(run_dir: RunDir, capsys: pytest.CaptureFixture[str]) -> None:
    last = run_dir.checkpoint_path("last")
    last.rename(run_dir.checkpoints_dir / "step-00000012.safetensors")
    last.symlink_to(last.name)
    assert run(*RESUME) == 0
    assert f"skipped: runs/small/checkpoints/{last.name} cannot be read" in said(capsys)


@PIPES
@pytest.mark.parametrize("name", ["checkpoints/best.safetensors", "config.toml"])
def test_a_pipe_is_refused_and_not_waited_for(name: str, run_dir: RunDir) -> None:
    (run_dir.path / name).unlink()
    os.mkfifo(run_dir.path / name)
    assert run(*EVALUATE) == 5


@pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="this system has no sockets that are files")
def test_a_socket_in_the_folder_is_refused(run_dir: RunDir, monkeypatch: pytest.MonkeyPatch) -> None:
    run_dir.metrics_path.unlink()
    monkeypatch.chdir(run_dir.path)
    with socket.socket(socket.AF_UNIX) as other:
        other.bind("metrics.jsonl")
        with pytest.raises(RunFolderError, match=r"metrics\.jsonl leads to .*, which is no file of its run"):
            RunDir.open(Path("runs"), str(run_dir.path))


@pytest.mark.parametrize("words", [EVALUATE, RESUME], ids=lambda words: words[0])
@pytest.mark.parametrize("hidden", [(6000, 6000), (2**20, 2**20)])
def test_a_network_larger_than_its_checkpoint_is_refused_before_memory_is_taken(
    words: list[str], hidden: tuple[int, ...], run_dir: RunDir, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = load_run_config(run_dir.config_path)
    run_dir.write("config.toml", to_toml(replace(kept, hidden=hidden)))
    for path in run_dir.checkpoints_dir.iterdir():
        found = load(path)
        settings = {**found.meta["settings"], "hidden": list(hidden)}  # as whoever means harm would
        save(path, replace(found, meta={**found.meta, "settings": settings}))
    status: list[int] = []
    # half of the limit is a block that the NumPy backend frees at once
    assert peak_of(lambda: status.append(run(*words))) < 2**26
    assert status == [5]
    assert f"shape (2, 2) of float64 at params/0/W, and this network needs shape (2, {hidden[0]})" in said(capsys)


OTHER_DATA = [*EVALUATE, "--data", "weight-height"]  # whose classes the network does not have


@pytest.mark.parametrize("words", [["predict", "small", "x.csv"], OTHER_DATA], ids=lambda words: words[0])
def test_class_names_reach_no_terminal_as_commands(
    words: list[str], run_dir: RunDir, capsys: pytest.CaptureFixture[str]
) -> None:
    odd = "\x1b[2J\x9b2J[bold]"
    Path("x.csv").write_text("1,2\n", encoding="utf-8")
    best = load(run_dir.checkpoint_path("best"))
    save(run_dir.checkpoint_path("best"), replace(best, meta={**best.meta, "classes": [odd, odd + "b"]}))
    assert run(*words) in (0, 3)
    both = "".join(capsys.readouterr())
    assert r"\x1b[2J\x9b" in both
    assert both.replace("\n", "").isprintable()


@pytest.mark.parametrize(("content", "problem"), [("{", "cannot be read as JSON"), ("[1]", "holds no table")])
def test_a_file_that_is_no_table_in_json_is_named(content: str, problem: str, tmp_path: Path) -> None:
    run_dir = RunDir(tmp_path)
    run_dir.write("summary.json", content)
    with pytest.raises(RunFolderError, match=rf"summary\.json {problem}.*put back what was there"):
        run_dir.read_json("summary.json")
    assert run_dir.read_json("other.json") is None
