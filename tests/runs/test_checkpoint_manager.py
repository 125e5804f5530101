"""The last few checkpoints: how many are kept, in which order, and which of them a resume takes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from nnbackprop.data import limits
from nnbackprop.errors import RunFolderError, TooLargeError
from nnbackprop.runs.checkpoint import Checkpoint, load
from nnbackprop.runs.checkpoint_manager import CheckpointManager
from tests.stress.damage import damage


def taken_at(step: int) -> Checkpoint:
    return Checkpoint({"params/0/W": np.full(3, float(step))}, {"progress": {"step": step}})


def filled(folder: Path, keep: int, *steps: int) -> CheckpointManager:
    manager = CheckpointManager(folder, keep)
    for step in steps:
        manager.save(taken_at(step), step)
    return manager


def step_in(path: Path) -> int:
    return int(load(path).meta["progress"]["step"])


@pytest.mark.parametrize("keep", [1, 2, 3, 5, 100])
def test_the_newest_are_kept_each_named_by_its_step(keep: int, tmp_path: Path) -> None:
    steps = [0, 3, 6, 99_999_999, 100_000_000, 2_000_000_000]
    manager = filled(tmp_path, keep, *steps)
    kept = steps[-keep:]
    assert step_in(manager.last) == kept[-1]
    assert [path.name for path in manager.older()] == [f"step-{step:08d}.safetensors" for step in kept[-2::-1]]
    assert [step_in(path) for path in manager.older()] == kept[-2::-1]
    assert len(list(tmp_path.iterdir())) == len(kept)


def test_the_oldest_is_removed_only_when_the_newest_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manager = filled(tmp_path, 3, 1, 2, 3)
    seen: list[set[int]] = []
    unlink = Path.unlink

    def unlink_checked(path: Path, missing_ok: bool = False) -> None:
        if path.name.startswith("step-"):
            seen.append({step_in(p) for p in (manager.last, *manager.older())} - {step_in(path)})
        unlink(path, missing_ok)

    monkeypatch.setattr(Path, "unlink", unlink_checked)
    manager.save(taken_at(4), 4)
    assert seen == [{2, 3, 4}]


def test_saving_the_same_step_again_replaces_only_the_newest(tmp_path: Path) -> None:
    manager = filled(tmp_path, 3, 1, 2)
    manager.save(Checkpoint({}, {"progress": {"step": 2}, "again": True}), 2)
    assert load(manager.last).meta["again"]
    assert [step_in(path) for path in manager.older()] == [1]


def test_drop_newest_puts_the_checkpoint_before_it_in_its_place(tmp_path: Path) -> None:
    manager = filled(tmp_path, 3, 1, 2, 3)
    for steps in ([2, 1], [1]):
        path, found, damaged = manager.drop_newest() or pytest.fail("there is one before it")
        assert (path, found.meta["progress"]["step"], damaged) == (manager.last, steps[0], [])
        assert [step_in(path) for path in (manager.last, *manager.older())] == steps
    assert manager.drop_newest() is None  # and it stays
    assert step_in(manager.last) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["last.safetensors"]


def test_drop_newest_never_puts_a_damaged_checkpoint_in_the_place_of_a_sound_one(tmp_path: Path) -> None:
    manager = filled(tmp_path, 4, 1, 2, 3, 4)
    of_3, of_2, _ = manager.older()
    damage(of_3)
    damage(of_2)
    _, found, damaged = manager.drop_newest() or pytest.fail("that of step 1 is sound")
    assert found.meta["progress"]["step"] == step_in(manager.last) == 1
    assert [str(path) in message for path, message in zip((of_3, of_2), damaged, strict=True)] == [True, True]
    assert [path.name for path in tmp_path.iterdir()] == ["last.safetensors"]


def test_drop_newest_keeps_the_last_where_all_before_it_are_damaged(tmp_path: Path) -> None:
    manager = filled(tmp_path, 2, 1, 2)
    (older,) = manager.older()
    damage(older)
    assert manager.drop_newest() is None
    assert step_in(manager.load_newest()[0]) == 2


def test_a_smaller_keep_removes_the_rest(tmp_path: Path) -> None:
    filled(tmp_path, 5, 1, 2, 3, 4, 5)
    manager = CheckpointManager(tmp_path, 2, saved_step=5)
    manager.save(taken_at(6), 6)
    assert [step_in(path) for path in (manager.last, *manager.older())] == [6, 5]


def test_other_files_are_left_alone(tmp_path: Path) -> None:
    others = ["best.safetensors", "step-1.safetensors", "step-00000001.txt", "mine.safetensors"]
    for name in others:
        (tmp_path / name).write_text("mine", encoding="utf-8")
    filled(tmp_path, 1, 1, 2, 3)
    assert {path.name for path in tmp_path.iterdir()} == {"last.safetensors", *others}
    assert {(tmp_path / name).read_text(encoding="utf-8") for name in others} == {"mine"}


@pytest.mark.parametrize("how", [damage, Path.unlink])
@pytest.mark.parametrize(("lost", "left"), [(0, 5), (1, 4), (2, 3)])
def test_the_newest_undamaged_checkpoint_is_taken_and_damaged_ones_are_named(
    lost: int, left: int, how: Callable[[Path], None], tmp_path: Path
) -> None:
    manager = filled(tmp_path, 3, 3, 4, 5)
    bad = [manager.last, *manager.older()][:lost]
    for path in bad:
        how(path)
    path, found, wrong = manager.load_newest()
    assert (step_in(path), found.meta["progress"]["step"]) == (left, left)
    named = bad if how is damage else bad[:1]  # an older one that is gone is not missed
    assert len(wrong) == len(named)
    assert all(str(path) in message for path, message in zip(named, wrong, strict=True))


def test_where_none_is_sound_each_is_named(tmp_path: Path) -> None:
    manager = filled(tmp_path, 3, 3, 4, 5)
    paths = [manager.last, *manager.older()]
    for path in paths:
        damage(path)
    with pytest.raises(RunFolderError, match=r"^All checkpoints are damaged\.") as error:
        manager.load_newest()
    assert error.value.exit_code == 5
    assert all(str(error.value).count(f"{path} cannot be used") == 1 for path in paths)


def test_a_damaged_newest_is_not_kept_as_an_older_one(tmp_path: Path) -> None:
    manager = filled(tmp_path, 3, 3, 4, 5)
    damage(manager.last)
    again = CheckpointManager(tmp_path, 3)  # its step is not known, as nothing sound is there
    again.save(taken_at(4), 4)
    again.save(taken_at(6), 6)
    assert [step_in(path) for path in (again.last, *again.older())] == [6, 4, 3]


def test_a_checkpoint_that_is_only_too_large_is_not_skipped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manager = filled(tmp_path, 3, 1)
    manager.save(Checkpoint({"params/0/W": np.ones((2**9, 2**9))}, {}), 2)
    monkeypatch.setenv(limits.ENVIRONMENT_VARIABLE, str(2**20))
    with pytest.raises(TooLargeError, match=r"last\.safetensors: would take"):
        manager.load_newest()


def test_an_old_checkpoint_that_cannot_be_removed_is_named(tmp_path: Path) -> None:
    manager = filled(tmp_path, 2, 1, 2)
    (tmp_path / "step-00000000.safetensors").mkdir()  # which no unlink removes
    with pytest.raises(RunFolderError, match=r"step-00000000\.safetensors could not be written"):
        manager.save(taken_at(3), 3)
    assert step_in(manager.load_newest()[0]) == 3
