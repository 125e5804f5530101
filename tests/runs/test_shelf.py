"""The last few checkpoints: how many, in which order, and which of them a resume takes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from nnbackprop.cli import main
from nnbackprop.errors import RunFolderError
from nnbackprop.runs import train as experiment
from nnbackprop.runs.checkpoint import Checkpoint, load
from nnbackprop.runs.checkpoint_manager import CheckpointManager
from tests.torture.victim import outcome

RUN = ["train", "weight-height", "--save-every", "7", "--progress", "off"]


def taken_at(step: int) -> Checkpoint:
    return Checkpoint({"params/0/W": np.full(3, float(step))}, {"progress": {"step": step}})


def filled(folder: Path, keep: int, *steps: int) -> CheckpointManager:
    shelf = CheckpointManager(folder, keep)
    for step in steps:
        shelf.put(taken_at(step), step)
    return shelf


def step_in(path: Path) -> int:
    return int(load(path).meta["progress"]["step"])


def damage(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("keep", [1, 2, 3, 5, 100])
def test_the_newest_are_kept_each_under_its_step(keep: int, tmp_path: Path) -> None:
    steps = [0, 3, 6, 99_999_999, 100_000_000, 2_000_000_000]
    shelf = filled(tmp_path, keep, *steps)
    kept = steps[-keep:]
    assert step_in(shelf.last) == kept[-1]
    assert [path.name for path in shelf.older()] == [f"step-{step:08d}.safetensors" for step in kept[-2::-1]]
    assert [step_in(path) for path in shelf.older()] == kept[-2::-1]
    assert len(list(tmp_path.iterdir())) == len(kept)


def test_at_every_moment_of_a_put_the_oldest_is_the_one_to_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And only when the newest is there."""
    shelf = filled(tmp_path, 3, 1, 2, 3)
    seen: list[set[int]] = []
    unlink = Path.unlink

    def look(path: Path, missing_ok: bool = False) -> None:
        if path.name.startswith("step-"):
            seen.append({step_in(p) for p in (shelf.last, *shelf.older())} - {step_in(path)})
        unlink(path, missing_ok)

    monkeypatch.setattr(Path, "unlink", look)
    shelf.put(taken_at(4), 4)
    assert seen == [{2, 3, 4}]


def test_the_same_step_again_replaces_the_newest_alone(tmp_path: Path) -> None:
    shelf = filled(tmp_path, 3, 1, 2)
    shelf.put(Checkpoint({}, {"progress": {"step": 2}, "again": True}), 2)
    assert load(shelf.last).meta["again"]
    assert [step_in(path) for path in shelf.older()] == [1]


def test_a_step_back_makes_the_one_before_the_newest_again(tmp_path: Path) -> None:
    shelf = filled(tmp_path, 3, 1, 2, 3)
    for steps in ([2, 1], [1], [1]):  # and where there is none before it, it stays
        shelf.step_back()
        assert [step_in(path) for path in (shelf.last, *shelf.older())] == steps
    assert [path.name for path in tmp_path.iterdir()] == ["last.safetensors"]


def test_keeping_fewer_from_now_on_removes_the_rest(tmp_path: Path) -> None:
    filled(tmp_path, 5, 1, 2, 3, 4, 5)
    shelf = CheckpointManager(tmp_path, 2, step=5)
    shelf.put(taken_at(6), 6)
    assert [step_in(path) for path in (shelf.last, *shelf.older())] == [6, 5]


def test_what_is_no_checkpoint_is_left_alone(tmp_path: Path) -> None:
    others = ["best.safetensors", "step-1.safetensors", "step-00000001.txt", "mine.safetensors"]
    for name in others:
        (tmp_path / name).write_text("mine")
    filled(tmp_path, 1, 1, 2, 3)
    assert {path.name for path in tmp_path.iterdir()} == {"last.safetensors", *others}
    assert {(tmp_path / name).read_text() for name in others} == {"mine"}


@pytest.mark.parametrize("how", [damage, Path.unlink])
@pytest.mark.parametrize(("lost", "left"), [(0, 5), (1, 4), (2, 3)])
def test_the_newest_that_is_sound_is_taken_and_the_others_are_named(
    lost: int, left: int, how: object, tmp_path: Path
) -> None:
    assert callable(how)
    shelf = filled(tmp_path, 3, 3, 4, 5)
    spoilt = [shelf.last, *shelf.older()][:lost]
    for path in spoilt:
        how(path)
    path, found, wrong = shelf.newest()
    assert (step_in(path), found.meta["progress"]["step"]) == (left, left)
    named = spoilt if how is damage else spoilt[:1]  # an older one that is gone is not missed
    assert len(wrong) == len(named)
    assert all(str(path) in words for path, words in zip(named, wrong, strict=True))


def test_where_none_is_sound_all_are_named(tmp_path: Path) -> None:
    shelf = filled(tmp_path, 3, 3, 4, 5)
    paths = [shelf.last, *shelf.older()]
    for path in paths:
        damage(path)
    with pytest.raises(RunFolderError, match=r"^No checkpoint is sound\.") as error:
        shelf.newest()
    assert error.value.exit_code == 5
    assert all(str(error.value).count(f"{path} cannot be used") == 1 for path in paths)


def test_a_damaged_newest_is_not_kept_as_an_older_one(tmp_path: Path) -> None:
    shelf = filled(tmp_path, 3, 3, 4, 5)
    damage(shelf.last)
    again = CheckpointManager(tmp_path, 3)  # its step is not known, as nothing sound is there
    again.put(taken_at(4), 4)
    again.put(taken_at(6), 6)
    assert [step_in(path) for path in (again.last, *again.older())] == [6, 4, 3]


@pytest.fixture
def two_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """`whole`, of 30 epochs, and `part`, stopped after 12."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(experiment, "draw", lambda *_: None)
    for name, epochs in (("whole", "30"), ("part", "12")):
        assert run(*RUN, "--epochs", epochs, "--name", name) == 0
    return Path("runs/part/checkpoints")


def run(*words: str) -> int:
    with pytest.raises(SystemExit) as stop:
        main(list(words))
    return int(stop.value.code or 0)


@pytest.mark.parametrize("lost", [1, 2])
def test_a_resume_says_what_it_passed_over_and_ends_as_if_nothing_had_been(
    lost: int, two_runs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spoilt = [two_runs / "last.safetensors", two_runs / "step-00000042.safetensors"][:lost]
    for path in spoilt:
        damage(path)
    capsys.readouterr()
    assert run("train", "--resume", "part", "--epochs", "30", "--progress", "off") == 0
    said = " ".join(capsys.readouterr().out.split())
    assert said.count("passed over:") == lost
    assert all(
        f"passed over: {path} cannot be used as a checkpoint: its bytes do not have" in said for path in spoilt
    )
    left = 42 if lost == 1 else 35
    assert f"Going on from {two_runs}/step-{left:08d}.safetensors, step {left}." in said
    assert outcome(Path("runs/part")) == outcome(Path("runs/whole"))


def test_a_resume_with_no_sound_checkpoint_names_each_and_changes_none(
    two_runs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = [path for path in two_runs.iterdir() if path.name != "best.safetensors"]
    for path in paths:
        damage(path)
    before = {path: path.read_bytes() for path in Path("runs/part").rglob("*") if path.is_file()}
    assert run("train", "--resume", "part", "--epochs", "30", "--progress", "off") == 5
    said = " ".join(capsys.readouterr().err.split())
    assert len(paths) == 3
    assert all(f"{path} cannot be used" in said for path in paths)
    assert {path: path.read_bytes() for path in before} == before


def test_with_one_kept_there_is_none_before_it(two_runs: Path) -> None:
    assert run(*RUN, "--epochs", "12", "--name", "one", "--keep", "1") == 0
    checkpoints = Path("runs/one/checkpoints")
    assert {path.name for path in checkpoints.iterdir()} == {"best.safetensors", "last.safetensors"}
    damage(checkpoints / "last.safetensors")
    assert run("train", "--resume", "one", "--epochs", "30") == 5
