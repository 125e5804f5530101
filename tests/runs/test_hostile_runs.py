"""A stranger's run folder: its files are held to the limit of any other, and its configuration takes no memory."""

from __future__ import annotations

import os
import shutil
import socket
import struct
import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from nnbackprop.data import limits
from nnbackprop.errors import RunFolderError, TooLargeError
from nnbackprop.runs import checkpoint as checkpoints
from nnbackprop.runs import config
from nnbackprop.runs import train as experiment
from nnbackprop.runs.checkpoint import Checkpoint, load, save, to_bytes
from nnbackprop.runs.checkpoint_manager import CheckpointManager
from nnbackprop.runs.run_dir import RunDir
from tests.support.commands import run
from tests.torture.readers import READERS, signed, unsigned

CAP = 2**20
TOO_MUCH = r"would take [\d,]+ bytes of memory, and one file may take 1,048,576.*NNBACKPROP_MAX_BYTES=\d+"
SMALL = Checkpoint({"params/0/W": np.ones((2, 3))}, {"progress": {"step": 1}})
LARGE = Checkpoint({"params/0/W": np.ones((2**9, 2**9))}, {"progress": {"step": 2}})


@pytest.fixture
def cap(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(limits.VARIABLE, str(CAP))


def peak_of(work: Callable[[], object]) -> int:
    """The most memory that `work` took."""
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.usefixtures("cap")
def test_a_checkpoint_beyond_the_limit_is_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "best.safetensors"
    save(path, SMALL)
    os.truncate(path, 2**28)

    def read() -> None:
        with pytest.raises(TooLargeError, match=rf"best\.safetensors: {TOO_MUCH}"):
            load(path)

    assert peak_of(read) < CAP


def of_json(inner: bytes) -> bytes:
    """A signed checkpoint whose header holds this JSON among its arrays."""
    header, _, arrays = unsigned(to_bytes(SMALL)).partition(b"\n")
    return signed(header.rstrip(b" }") + b'}, "x": ' + inner + b"}\n" + arrays)


FULL = {
    "floats": to_bytes(Checkpoint({"params/0/W": np.ones((2**9, 2**9))}, {})),
    "bytes": to_bytes(Checkpoint({"params/0/W": np.ones((2**11, 2**10), np.uint8)}, {})),
    "many arrays": to_bytes(Checkpoint({f"params/{i}/W": np.ones(1) for i in range(9000)}, {})),
    "much beside the arrays": to_bytes(Checkpoint({}, {"classes": ["😀" * 50] * 9000})),
    "lists in the header": of_json(b"[" + b"[]," * 2**18 + b"0]"),
    "dicts in the header": of_json(b"[" + b'{"":{"":{}}},' * 2**16 + b"0]"),
    "damaged": to_bytes(LARGE)[:-1],
}


@pytest.mark.parametrize("name", FULL)
def test_a_checkpoint_as_large_as_it_may_be_takes_less_than_four_times_the_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """The limit is set to what the refusal says is needed, which it must then be."""
    path = tmp_path / "last.safetensors"
    save(path, SMALL)
    load(path)  # what is imported late is not the file's
    path.write_bytes(FULL[name])
    monkeypatch.setenv(limits.VARIABLE, "1")
    with pytest.raises(TooLargeError) as error:
        load(path)
    asked = str(error.value).partition(f"{limits.VARIABLE}=")[2].partition(" ")[0]
    monkeypatch.setenv(limits.VARIABLE, asked)

    refusals: list[str] = []

    def read() -> None:
        try:
            load(path)
        except RunFolderError as error:
            refusals.append(str(error))

    peak = peak_of(read)
    assert not any("one file may take" in words for words in refusals)
    assert int(asked) > 10**6
    assert peak < 4 * int(asked)


def test_a_run_writes_no_checkpoint_that_it_could_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "last.safetensors"
    monkeypatch.setenv(limits.VARIABLE, "1000")
    with pytest.raises(TooLargeError, match="one file may take 1,000") as error:
        save(path, LARGE)
    assert list(tmp_path.iterdir()) == []
    asked = int(str(error.value).partition(f"{limits.VARIABLE}=")[2].partition(" ")[0])
    monkeypatch.setenv(limits.VARIABLE, str(asked))
    save(path, LARGE)
    assert np.array_equal(load(path).arrays["params/0/W"], LARGE.arrays["params/0/W"])
    monkeypatch.setenv(limits.VARIABLE, str(asked - 1))
    for refused in (lambda: load(path), lambda: save(path, LARGE)):
        with pytest.raises(TooLargeError, match=f"NNBACKPROP_MAX_BYTES={asked} "):
            refused()


def test_names_beyond_what_is_read_are_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoints, "LONGEST_HEADER", 2**10)
    save(tmp_path / "last.safetensors", SMALL)
    with pytest.raises(TooLargeError, match=r"bytes of names beside its numbers, and 1,024 are read"):
        save(tmp_path / "other.safetensors", replace(SMALL, meta={"classes": ["a" * 128] * 10}))
    content = (tmp_path / "last.safetensors").read_bytes()
    (tmp_path / "last.safetensors").write_bytes(struct.pack("<Q", 2**10 + 1) + content[8:] + bytes(2**11))
    with pytest.raises(RunFolderError, match="cut off, damaged, or not written by nnbackprop"):
        load(tmp_path / "last.safetensors")


def test_a_checkpoint_that_is_only_too_large_is_not_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shelf = CheckpointManager(tmp_path)
    shelf.put(SMALL, 1)
    shelf.put(LARGE, 2)
    monkeypatch.setenv(limits.VARIABLE, str(CAP))
    with pytest.raises(TooLargeError, match=rf"last\.safetensors: {TOO_MUCH}"):
        shelf.newest()


@pytest.mark.usefixtures("cap")
def test_what_else_a_run_keeps_is_held_to_the_limit(tmp_path: Path) -> None:
    folder = RunDir(tmp_path)
    folder.metrics.write_text('{"epoch": 1}\n' * 10**4)
    (tmp_path / "summary.json").write_text("[" + "{}," * 10**5 + "0]")
    for read in (folder.rows, lambda: folder.read_json("summary.json")):
        with pytest.raises(TooLargeError, match=TOO_MUCH):
            read()
    folder.metrics.write_text('{"epoch": 1}\n' * 5000)
    assert peak_of(folder.rows) < 4 * CAP


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small run that has ended."""
    place = tmp_path_factory.mktemp("trained")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(experiment, "draw", lambda *_: None)
        words = ["--epochs", "3", "--name", "small", "--runs-dir", str(place), "--progress", "off"]
        assert run("train", "weight-height", *words) == 0
    assert run("evaluate", str(place / "small")) == 0  # what is imported late is not the folder's
    return place / "small"


@pytest.fixture
def folder(trained: Path, tmp_path: Path) -> RunDir:
    """A copy of it, to be spoilt."""
    return RunDir(shutil.copytree(trained, tmp_path / "small"))


@pytest.mark.parametrize("words", [["evaluate"], ["train", "--epochs", "5", "--progress", "off", "--resume"]])
@pytest.mark.parametrize("hidden", [(6000, 6000), (2**20, 2**20)])
def test_a_network_larger_than_its_checkpoint_is_refused_undrawn(
    words: list[str], hidden: tuple[int, ...], folder: RunDir, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = config.of_run(folder.config)
    folder.write("config.toml", config.to_toml(replace(kept, hidden=hidden)))
    for path in folder.checkpoints.iterdir():
        found = load(path)
        settings = {**found.meta["settings"], "hidden": list(hidden)}  # as whoever means harm would
        save(path, replace(found, meta={**found.meta, "settings": settings}))
    said: list[int] = []
    assert (
        peak_of(lambda: said.append(run(*words, str(folder.path)))) < 2**26
    )  # half of it a block that the NumPy backend frees at once
    assert said == [5]
    shapes = rf"shape (2, 2) of float64 at params/0/W, and this network needs shape (2, {hidden[0]})"
    assert shapes in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize("words", [["evaluate"], ["train", "--epochs", "5", "--progress", "off", "--resume"]])
def test_the_commands_refuse_a_checkpoint_beyond_the_limit(
    words: list[str], folder: RunDir, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(limits.VARIABLE, str(CAP))
    for which in ("best", "last"):
        os.truncate(folder.checkpoint(which), 2**28)
    assert run(*words, str(folder.path)) == 5
    assert "bytes of memory, and one file may take 1,048,576." in " ".join(capsys.readouterr().err.split())


ODD = "\x1b[2J\x9b2J[bold]"


@pytest.mark.parametrize("words", [["predict", "{run}", "x.csv"], ["evaluate", "{run}"]])
def test_names_in_a_run_reach_no_terminal_as_commands(
    words: list[str],
    folder: RunDir,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x.csv").write_text("1,2\n")
    best = load(folder.checkpoint("best"))
    save(folder.checkpoint("best"), replace(best, meta={**best.meta, "classes": [ODD, ODD + "b"]}))
    assert run(*(word.format(run=folder.path) for word in words)) in (0, 3)
    said = "".join(capsys.readouterr())
    assert r"\x1b[2J\x9b" in said
    assert said.replace("\n", "").isprintable()


PIPES = pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")


@PIPES
@pytest.mark.parametrize("name", READERS)
def test_no_reader_waits_for_a_pipe(name: str, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(READERS[name].promised, match="is a pipe or a device"):
        READERS[name].read(tmp_path / "pipe")


@PIPES
@pytest.mark.parametrize("name", READERS)
def test_no_reader_begins_with_a_device(name: str, tmp_path: Path) -> None:
    (tmp_path / "endless").symlink_to("/dev/zero")
    with pytest.raises(READERS[name].promised, match="is a pipe or a device"):
        READERS[name].read(tmp_path / "endless")


@PIPES
def test_a_runs_configuration_is_no_pipe(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "config.toml")
    with pytest.raises(RunFolderError, match="is a pipe or a device"):
        config.of_run(tmp_path / "config.toml")


@PIPES
@pytest.mark.parametrize(
    "words", [["predict", "{run}", "x.csv"], ["predict", "{run}", "x.png"], ["train", "x.toml"]]
)
def test_the_commands_wait_for_no_pipe(
    words: list[str],
    trained: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    os.mkfifo(words[-1])
    assert run(*(word.format(run=trained) for word in words)) in (2, 3)
    assert "is a pipe or a device" in " ".join(capsys.readouterr().err.split())


@pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="this system has no sockets that are files")
def test_a_folder_with_anything_but_files_is_no_run(folder: RunDir, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder.path)
    folder.metrics.unlink()
    with socket.socket(socket.AF_UNIX) as other:
        other.bind("metrics.jsonl")
        with pytest.raises(RunFolderError, match=r"metrics\.jsonl leads to .*, which is no file of its run"):
            RunDir.open(Path("runs"), str(folder.path))
