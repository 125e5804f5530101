"""A run that is killed, locked out or dies at any call: it goes on to the very same end."""

from __future__ import annotations

import os
import random
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from nnbackprop._files import write_atomically
from nnbackprop.runs import train as experiment
from nnbackprop.runs.checkpoint_manager import CheckpointManager
from nnbackprop.runs.run_dir import RunDir
from tests.support.commands import resumed, run
from tests.torture import victim
from tests.torture.kills import survive
from tests.torture.victim import same

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows has neither these signals nor flock")


def stray(folder: Path) -> list[Path]:
    return list(folder.rglob(".*.tmp"))


def test_kill_9_at_random_moments(tmp_path: Path) -> None:
    figures = survive(tmp_path, victim.EPOCHS, 5, random.Random(6))
    assert (figures.kills, figures.runs > 0) == (5, True)
    assert figures.lost < victim.EVERY


def test_two_processes_on_one_folder_until_the_first_is_killed(
    undisturbed: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(undisturbed)
    with victim.start(undisturbed, *victim.words("held", victim.EPOCHS), waits=True) as process:
        victim.wait_for_step(process, 20)
        before = {path: path.read_bytes() for path in (undisturbed / "runs/held").rglob("*") if path.is_file()}
        assert run("train", "--resume", "held") == 5
        assert "another process writes to it" in " ".join(capsys.readouterr().err.split())
        assert {path: path.read_bytes() for path in before} == before
        process.kill()
    same(resumed(undisturbed, "held"), undisturbed / "runs" / "whole")


def test_a_run_under_way_may_be_looked_at(undisturbed: Path) -> None:
    """Whatever comes and goes in its folder: `evaluate` opens it so."""
    with victim.start(undisturbed, *victim.words("going", victim.ENDLESS)) as process:
        victim.wait_for_step(process, 20)
        for _ in range(100):
            RunDir.open(undisturbed / "runs", "going").rows()
        process.kill()


class Died(BaseException):
    """What ends a process between two calls: no handler of errors sees it, and nothing is tidied up."""


class Torn:
    """A file that takes half of what is written last, as it dies."""

    def __init__(self, file: Any, call: Callable[[], None]) -> None:
        self.file, self.call = file, call

    def write(self, content: Any) -> int:
        try:
            self.call()
        except Died:
            self.file.write(content[: len(content) // 2])
            raise
        return int(self.file.write(content))

    def __getattr__(self, name: str) -> Any:
        return getattr(self.file, name)

    def __enter__(self) -> Torn:
        return self

    def __exit__(self, *_: object) -> None:
        self.file.close()


@pytest.fixture
def deadly(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[int], None]]:
    """deadly(k): the k-th call from now on that changes files is the last; 0 for never."""
    left = [0]

    def call() -> None:
        if left[0] == 1:
            raise Died  # as does each that would tidy up after it
        left[0] -= left[0] > 1

    def dying(function: Callable[..., Any]) -> Callable[..., Any]:
        def first_asks(*words: Any, **more: Any) -> Any:
            call()
            return function(*words, **more)

        return first_asks

    opened = Path.open

    def open_it(path: Path, mode: str = "r", *words: Any, **more: Any) -> Any:
        if mode.startswith("r"):
            return opened(path, mode, *words, **more)
        call()
        return (
            Torn(opened(path, mode, *words, **more), call) if "b" in mode else opened(path, mode, *words, **more)
        )

    for name in ("link", "replace", "fsync", "unlink", "truncate", "mkdir"):
        monkeypatch.setattr(os, name, dying(getattr(os, name)))
    monkeypatch.setattr(Path, "open", open_it)
    yield lambda k: left.__setitem__(0, k)
    left[0] = 0


def test_a_run_that_dies_at_any_call_goes_on_to_the_same_end(
    undisturbed: Path, tmp_path: Path, deadly: Callable[[int], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every call of a run of an epoch that opens, writes, syncs, links, renames or removes a file, in turn."""
    victim.write_clouds(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(experiment, "draw", lambda *_: None)
    assert run("train", *victim.words("whole", 1)) == 0
    deaths, begun = 0, False
    while True:
        name, deaths = f"died-{deaths}", deaths + 1
        deadly(deaths)
        try:
            assert run("train", *victim.words(name, 1)) == 0
            break
        except Died:
            deadly(0)
        folder = Path("runs") / name
        if not (folder / "config.toml").is_file():
            assert not stray(folder / "checkpoints")
            assert not begun
            continue
        if begun := begun or any((folder / "checkpoints").glob("*.safetensors")):
            _, _, wrong = CheckpointManager(folder / "checkpoints").newest()
            assert wrong == []
        assert run("train", "--resume", name, "--progress", "off") == 0
        same(folder, Path("runs/whole"))
        assert stray(folder) == []
    assert deaths > 60


@pytest.mark.parametrize(
    "name", [".config.toml.1.tmp", "checkpoints/.last.safetensors.1.tmp", "plots/.a.png.1.tmp"]
)
def test_what_a_crash_left_is_swept_away(name: str, undisturbed: Path, tmp_path: Path) -> None:
    folder = copy(undisturbed, tmp_path)
    (folder / "plots").mkdir()
    (folder / name).write_bytes(b"half")
    (folder / "checkpoints" / ".a-folder.tmp").mkdir()  # none of ours
    resumed(tmp_path, "whole")
    assert stray(folder) == [folder / "checkpoints" / ".a-folder.tmp"]


def copy(undisturbed: Path, to: Path) -> Path:
    """The undisturbed run's folder once more, with its data."""
    shutil.copy(undisturbed / "clouds.npz", to)
    return Path(shutil.copytree(undisturbed / "runs" / "whole", to / "runs" / "whole"))


def test_a_name_left_by_a_crash_is_not_written_through(tmp_path: Path) -> None:
    """A process of the same number died between link and rename: its temporary is the last checkpoint itself."""
    last, older = tmp_path / "last", tmp_path / "older"
    last.write_bytes(b"precious")
    os.link(last, tmp_path / f".older.{os.getpid()}.tmp")
    write_atomically(older, b"new")
    assert (last.read_bytes(), older.read_bytes()) == (b"precious", b"new")
    assert stray(tmp_path) == []


@pytest.mark.parametrize("there", [True, False])
@pytest.mark.parametrize(
    "name", ["metrics.jsonl", ".lock", "checkpoints", "checkpoints/last.safetensors", "plots", "plots/loss.png"]
)
def test_a_link_that_leads_out_of_a_run_folder_is_refused(
    name: str,
    there: bool,
    undisturbed: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder, outside = copy(undisturbed, tmp_path), tmp_path / "outside"
    path = folder / name
    path.parent.mkdir(exist_ok=True)
    if path.exists():
        path.rename(outside)
    path.symlink_to(outside if there else tmp_path / "nowhere")
    before = outside.read_bytes() if outside.is_file() else None
    monkeypatch.chdir(tmp_path)
    for words in (["train", "--resume", "whole", "--epochs", "200"], ["evaluate", "whole"]):
        assert run(*words) == 5
        said = " ".join(capsys.readouterr().err.split())
        assert f"{Path('runs/whole') / name} leads to {tmp_path}" in said
    assert (outside.read_bytes() if outside.is_file() else None) == before
    assert not (tmp_path / "nowhere").exists()


def test_a_pipe_is_refused_and_not_waited_for(
    undisturbed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    best = copy(undisturbed, tmp_path) / "checkpoints" / "best.safetensors"
    best.unlink()
    os.mkfifo(best)
    monkeypatch.chdir(tmp_path)
    assert run("evaluate", "whole") == 5


def test_a_link_to_itself_is_passed_over(
    undisturbed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    last = copy(undisturbed, tmp_path) / "checkpoints" / "last.safetensors"
    last.unlink()
    last.symlink_to(last.name)
    same(resumed(tmp_path, "whole"), undisturbed / "runs" / "whole")
    assert f"passed over: runs/whole/checkpoints/{last.name} cannot be read" in " ".join(
        capsys.readouterr().out.split()
    )
