"""`nnbackprop replay`: a run trained again is bit-identical, and every difference is found and named."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nnbackprop.data.dataset import Dataset
from nnbackprop.diagnostics.replay import Replay, replay
from nnbackprop.diagnostics.replay_differences import (
    Change,
    WeightDifference,
    compare_environments,
    compare_metrics,
)
from nnbackprop.report.replay import verdict
from nnbackprop.runs import train as runs
from nnbackprop.runs.checkpoint import load, save
from nnbackprop.runs.config_files import resolve
from nnbackprop.runs.resume import resume as resume_run
from nnbackprop.runs.run_data import RunData
from nnbackprop.runs.run_dir import RunDir
from nnbackprop.training.callbacks import Callback
from nnbackprop.training.events import ChunkEnd
from nnbackprop.training.trainer import Trainer
from tests.support.commands import run, said

pytestmark = pytest.mark.usefixtures("in_a_folder_of_its_own")

RECIPE = """
hidden = [7]
dropout = [0.2]
optimizer = "adam"
lr = 0.01
batch_size = 4
epochs = 3
scale = "standard"
backend = "numpy"
"""


@pytest.fixture(scope="module")
def recipe_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a recipe and its data, 61 samples of three classes: 12 steps an epoch and a ragged one."""
    run_dir = tmp_path_factory.mktemp("replay")
    noise = np.random.default_rng(7)
    labels = np.arange(76) % 3
    inputs = noise.normal(size=(76, 5)) + labels[:, None]
    rows = (",".join([*(f"{x:.6f}" for x in row), str(label)]) for row, label in zip(inputs, labels, strict=True))
    (run_dir / "data.csv").write_text("a,b,c,d,e,label\n" + "\n".join(rows) + "\n", encoding="utf-8")
    (run_dir / "small.toml").write_text(
        RECIPE + f'data = "{(run_dir / "data.csv").as_posix()}"\n', encoding="utf-8"
    )
    return run_dir


class StopAt(Callback):
    """Ends a run after `step` steps, as --max-time does."""

    def __init__(self, step: int) -> None:
        self.step = self.chunk_ends_every = step

    def chunk_end(self, trainer: Trainer, event: ChunkEnd) -> None:
        if event.step == self.step:
            trainer.stop("max-time")


Train = Callable[..., RunDir]


@pytest.fixture
def train(recipe_folder: Path, tmp_path: Path) -> Train:
    """Trains the recipe with some settings changed, into a folder of the test's own."""

    def train(stop_at: int | None = None, **settings: Any) -> RunDir:
        where = {"runs_dir": str(tmp_path / "runs"), "progress": "off"}
        made = resolve(str(recipe_folder / "small.toml"), {**where, **settings})
        with runs.start(made) as started:
            started.fit([StopAt(stop_at)] if stop_at else [])
        return started.run_dir

    return train


def replay_run(run_dir: RunDir, **overrides: Any) -> Replay:
    return replay(str(run_dir.path), overrides, Path("runs"))


def replay_command(run_dir: RunDir, *words: str) -> int:
    return run("replay", str(run_dir.path), "--progress", "off", *words)


def change_array(run_dir: RunDir, which: str, path: str, change: Callable[[np.ndarray], np.ndarray]) -> None:
    """Rewrite a checkpoint with one array changed."""
    kept = load(run_dir.checkpoint_path(which))
    array = kept.arrays[path]
    save(run_dir.checkpoint_path(which), replace(kept, arrays={**kept.arrays, path: change(array.copy())}))


def flip_last_bit(array: np.ndarray) -> np.ndarray:
    """The same numbers, the first of them changed in its last bit."""
    array.reshape(-1)[0] = np.nextafter(array.reshape(-1)[0], np.inf, dtype=array.dtype)
    return array


def change_environment(run_dir: RunDir) -> None:
    """Let env.json name another BLAS kernel."""
    environment = json.loads((run_dir.path / "env.json").read_text(encoding="utf-8"))
    kernel = {**(environment["blas"] or {}), "kernel": "Abacus"}
    run_dir.write_json("env.json", {**environment, "blas": kernel})


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_replay_is_bit_identical_and_writes_nothing(
    dtype: str, train: Train, capsys: pytest.CaptureFixture[str]
) -> None:
    run_dir = train(dtype=dtype, validation=0.2)
    before = sorted(run_dir.path.parent.rglob("*"))
    assert replay_command(run_dir) == 0
    shown = capsys.readouterr().out
    assert shown.splitlines()[-1] == "the same, bit for bit"
    assert shown.count("bit for bit") == 9  # four tensors, among the last and the best
    assert sorted(run_dir.path.parent.rglob("*")) == before


def test_json_has_tensors_metrics_and_changes(train: Train, capsys: pytest.CaptureFixture[str]) -> None:
    run_dir = train()
    assert replay_command(run_dir, "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["passed"], found["exact"], found["steps"], found["changes"]) == (True, True, 48, [])
    assert [(row["which"], row["name"]) for row in found["tensors"]] == [
        (which, name) for which in ("last", "best") for name in ("dense1.W", "dense1.b", "dense2.W", "dense2.b")
    ]
    names = [row["name"] for row in found["metrics"]]
    assert names == ["train_loss", "train_accuracy", "test_loss", "test_accuracy"]


@pytest.mark.parametrize("which", ["last", "best"])
def test_a_flipped_bit_or_a_zero_tensor_fails_and_its_tensor_is_named(
    which: str, train: Train, capsys: pytest.CaptureFixture[str]
) -> None:
    run_dir = train()
    change_array(run_dir, which, "params/3/b", flip_last_bit)
    unequal = [(tensor.which, tensor.name) for tensor in replay_run(run_dir).tensors if not tensor.equal]
    assert unequal == [(which, "dense2.b")]
    assert replay_command(run_dir) == 1
    assert capsys.readouterr().out.splitlines()[-1].startswith("FAILED")
    change_array(run_dir, which, "params/3/b", np.zeros_like)  # infinitely far from zero
    assert replay_command(run_dir, "--json") == 1
    differences = {row["relative"] for row in json.loads(capsys.readouterr().out)["tensors"]}
    assert differences == {0.0, None}


def test_an_altered_metric_fails(train: Train) -> None:
    run_dir = train()
    summary = json.loads((run_dir.path / "summary.json").read_text(encoding="utf-8"))
    run_dir.write_json("summary.json", {**summary, "test_loss": summary["test_loss"] + 1e-15})
    found = replay_run(run_dir)
    assert [m.name for m in found.metrics if m.kept != m.again] == ["test_loss"]
    assert not found.passed
    assert "metrics are not" in verdict(found)


def test_in_another_environment_the_verdict_says_by_what_it_was_judged(train: Train) -> None:
    same = replay_run(train())
    version = Change("numpy", "1.0", "2.0")
    weights = (WeightDifference("last", "dense1.W", False, 1e-13),)
    wide = replace(same, dtype="float64", tensors=weights, changes=(version,))
    far = replace(wide, tensors=(replace(weights[0], relative=1e-3),))
    assert verdict(wide) == (
        "passed, as the environment has changed: float64 weights within 1e-12, accuracies the same"
    )
    assert verdict(far).startswith("FAILED, as the environment has changed")
    narrow = verdict(replace(far, dtype="float32"))
    assert narrow.startswith("passed, as the environment has changed: float32 runs diverge where rounding decides")
    assert verdict(replace(far, changes=())) == "FAILED: not the same, though the environment is"


def test_altered_data_is_refused_before_the_first_step(
    recipe_folder: Path, train: Train, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = tmp_path / "own.csv"
    shutil.copy(recipe_folder / "data.csv", data)
    run_dir = train(data=str(data))
    lines = data.read_text(encoding="utf-8").splitlines()
    data.write_text(
        "\n".join([*lines[:1], *(line.replace(".", ".0", 1) for line in lines[1:])]) + "\n", encoding="utf-8"
    )
    assert replay_command(run_dir) == 3
    message = said(capsys)
    assert "is not what" in message
    assert load(run_dir.checkpoint_path("last")).meta["fingerprint"] in message


def test_the_fingerprint_covers_every_sample_and_its_part() -> None:
    inputs, labels = np.arange(20.0).reshape(10, 2), np.arange(10, dtype=np.int32) % 2

    def splits(x: np.ndarray, t: np.ndarray, end: int = 8) -> RunData:
        return RunData(*(Dataset(x[i:j], t[i:j], ("a", "b")) for i, j in ((0, 6), (6, end), (end, 10))))

    whole = splits(inputs, labels)
    others = [whole, splits(inputs, labels, 9), replace(whole, validation=None), replace(whole, test=None)]
    others.append(replace(whole, validation=None, test=whole.validation))
    for row in range(10):
        x, t = inputs.copy(), labels.copy()
        x[row, 1] += 1e-9
        t[row] = 1 - t[row]
        others += splits(x, labels), splits(inputs, t)
    assert len({other.fingerprint for other in others}) == len(others)


def test_float64_in_another_environment_is_judged_by_1e_12(train: Train) -> None:
    run_dir = train(dtype="float64")
    change_environment(run_dir)
    change_array(run_dir, "last", "params/0/W", flip_last_bit)
    found = replay_run(run_dir)
    assert (found.exact, found.passed) == (False, True)
    assert [(change.name, change.kept) for change in found.changes] == [("blas kernel", "Abacus")]
    change_array(run_dir, "last", "params/0/W", lambda W: W * (1 + 1e-11))
    assert not replay_run(run_dir).passed


def test_float32_in_another_environment_is_judged_by_accuracy(train: Train) -> None:
    run_dir = train()
    change_environment(run_dir)
    change_array(run_dir, "last", "params/0/W", lambda W: W * np.float32(1.01))
    found = replay_run(run_dir)
    assert found.passed
    assert found.tolerance is None
    summary = json.loads((run_dir.path / "summary.json").read_text(encoding="utf-8"))
    run_dir.write_json("summary.json", {**summary, "test_accuracy": 0.0})
    assert not replay_run(run_dir).passed


@pytest.mark.parametrize(("kept", "agrees"), [(0.3, True), (0.28, False), (None, False)])
def test_accuracies_may_differ_by_three_standard_errors(kept: float | None, agrees: bool) -> None:
    """The difference of two accuracies p on 100 samples has variance 2 p (1 - p) / 100: 0.208^2 / 9 at p = 0.4."""
    again = {"test_accuracy": 0.5, "test_loss": 1.0}
    rows = list(compare_metrics({"test_accuracy": kept}, again, {"test": 100}, "float32"))
    metric = next(row for row in rows if row.name == "test_accuracy")
    p = 0.5 if kept is None else (kept + 0.5) / 2
    assert metric.allowed == pytest.approx(3 * math.sqrt(2 * p * (1 - p) / 100), rel=1e-15)
    assert metric.agrees is agrees
    assert next(row for row in rows if row.name == "test_loss").agrees  # not judged
    in_float64 = compare_metrics({"test_accuracy": 0.49999}, again, {"test": 100}, "float64")
    assert [row.agrees for row in in_float64] == [False, True]


def test_environment_changes_are_named_down_to_a_package() -> None:
    kept = {"why": "asked", "cores": 2, "packages": {"numpy": "1", "torch": "2"}, "blas": None}
    now = {"why": "auto", "cores": 2, "packages": {"numpy": "2", "torch": "2"}, "blas": {"kernel": "Zen"}}
    assert [(row.name, row.kept, row.now) for row in compare_environments(kept, now)] == [
        ("blas kernel", None, "Zen"),
        ("packages numpy", "1", "2"),
    ]


def test_a_run_that_changed_its_threads_is_not_promised_to_be_exact(train: Train) -> None:
    """Nor is it refused: products on other threads sum in another order."""
    run_dir = train(dtype="float64")
    rows = [json.loads(line) for line in run_dir.metrics_path.read_text(encoding="utf-8").splitlines()]
    changed = [{**row, "threads": 1 + (row["epoch"] > 1)} for row in rows]
    run_dir.metrics_path.write_text("".join(json.dumps(row) + "\n" for row in changed), encoding="utf-8")
    assert [(change.name, change.kept) for change in replay_run(run_dir).changes] == [
        ("threads during the run", "1 and 2")
    ]


def test_a_run_ended_by_max_time_is_replayed_to_its_last_step(train: Train) -> None:
    run_dir = train(max_time=1e-9)
    found = replay_run(run_dir)
    assert found.steps == json.loads((run_dir.path / "summary.json").read_text(encoding="utf-8"))["steps"]
    assert 0 < found.steps < 16  # it ended within its first epoch
    assert found.exact


@pytest.mark.parametrize("step", [3, 17])
def test_a_killed_run_is_replayed_to_its_checkpoint(step: int, train: Train) -> None:
    """Within an epoch, and wherever a chunk would have ended by itself."""
    run_dir = train(save_every="1", keep=60)
    go_back_to(step, run_dir)
    (run_dir.path / "summary.json").unlink()
    found = replay_run(run_dir)
    assert (found.steps, found.exact, found.metrics) == (step, True, ())
    assert {tensor.which for tensor in found.tensors} == {"last"}


def test_a_run_stopped_early_and_resumed_is_bit_identical(train: Train, tmp_path: Path) -> None:
    run_dir = train(validation=0.3, patience=1, lr=0.2, epochs=30)
    stopped = json.loads((run_dir.path / "summary.json").read_text(encoding="utf-8"))
    assert stopped["reason"] == "early-stopping"
    assert replay_run(run_dir).exact
    resume(run_dir, patience=3)
    found = replay_run(run_dir)
    assert found.steps > stopped["steps"]
    assert found.exact


def resume(run_dir: RunDir, stop_at: int | None = None, **settings: Any) -> None:
    with resume_run(str(run_dir.path), settings, Path(), lambda _: None) as resumed:
        resumed.fit([StopAt(stop_at)] if stop_at else [])


@pytest.mark.parametrize(
    ("plans", "message"),
    [
        ([(None, 2), (None, 4)], r"step 2 was .* --epochs 2, .* with 4, .* resumed with other --epochs"),
        # the first step of a cosine has the full rate whatever its length; the second one has not
        ([(2, 1), (None, 3)], r"step 2 was .* --epochs 1, .* with 3, .* resumed with other --epochs"),
        # every row of metrics.jsonl is then as if nothing had been
        ([(2, 3), (4, 5), (None, 3)], r"step 3 was .* --epochs 5, .* with 3"),
    ],
    ids=["after its end", "within its first epoch", "within an epoch and back"],
)
def test_a_cosine_resumed_with_other_epochs_is_refused(
    plans: list[tuple[int | None, int]], message: str, train: Train
) -> None:
    """`plans` are the step at which each part of the run stops, and its --epochs."""
    (stop_at, epochs), *later = plans
    run_dir = train(stop_at, schedule="cosine", epochs=epochs)
    assert replay_run(run_dir).exact
    for stop_at, epochs in later:
        resume(run_dir, stop_at, epochs=epochs)
    with pytest.raises(ValueError, match=message):
        replay_run(run_dir)


@pytest.mark.parametrize(("schedule", "stop_at"), [("warmup:3+cosine", 2), ("step:1:0.5", 16), ("cosine", 1)])
def test_other_epochs_that_changed_no_rate_are_bit_identical(schedule: str, stop_at: int, train: Train) -> None:
    """Within a warm-up, under a schedule that does not ask for them, and at the first step of a cosine."""
    run_dir = train(stop_at=stop_at, schedule=schedule)
    resume(run_dir, epochs=2)
    found = replay_run(run_dir)
    assert (found.steps, found.exact) == (32, True)


@pytest.mark.parametrize("schedule", ["constant", "cosine", "warmup:3+one-cycle"])
def test_a_run_resumed_with_another_learning_rate_is_bit_identical(schedule: str, train: Train) -> None:
    """Changed within an epoch and between two; a run in one piece by the same config.toml has the same weights."""
    run_dir = train(stop_at=5, schedule=schedule)
    resume(run_dir, stop_at=32, lr=0.002)
    resume(run_dir, lr=0.03)
    found = replay_run(run_dir)
    assert (found.steps, found.exact) == (48, True)
    rows = run_dir.read_metrics()
    assert [[change["step"] for change in row.get("lr_changes", [])] for row in rows] == [[6], [], [33]]
    with runs.start(resolve(str(run_dir.config_path), {"runs_dir": str(run_dir.path.parent)})) as again:
        again.fit()
    kept, made = (load(folder.checkpoint_path("last")).arrays for folder in (run_dir, again.run_dir))
    assert all(np.array_equal(kept[name], made[name]) for name in kept)


def test_a_run_whose_learning_rate_was_reduced_on_a_plateau_is_bit_identical(train: Train) -> None:
    """Resumed in between: at this rate the validation loss rises from epoch to epoch."""
    run_dir = train(stop_at=26, schedule="warmup:3+reduce-on-plateau:1:0.5", lr=0.5, epochs=6, validation=0.2)
    resume(run_dir)
    assert load(run_dir.checkpoint_path("last")).meta["progress"]["rate"] < 1
    assert replay_run(run_dir).exact
    assert len({row["lr"] for row in run_dir.read_metrics()}) > 1
    halve_learning_rate(run_dir)
    with pytest.raises(ValueError, match="of its learning rate"):
        replay_run(run_dir)


def test_a_learning_rate_given_after_a_plateau_is_the_rate_of_the_next_step(train: Train) -> None:
    """And the run is replayed, by the same plateaus, with the same bits."""
    run_dir = train(schedule="warmup:3+reduce-on-plateau:1:0.3", lr=0.5, epochs=6, validation=0.2)
    assert load(run_dir.checkpoint_path("last")).meta["progress"]["rate"] < 1
    resume(run_dir, epochs=7, lr=0.4)
    assert run_dir.read_metrics()[-1]["lr"] == pytest.approx(0.4, rel=1e-12)
    assert replay_run(run_dir).exact


def test_a_run_past_its_configured_epochs_is_replayed_to_its_last_step(train: Train) -> None:
    """Two steps into its second epoch, by a config.toml that says one."""
    run_dir = train(epochs=1)
    resume(run_dir, stop_at=18, epochs=2)
    run_dir.write(
        "config.toml", run_dir.config_path.read_text(encoding="utf-8").replace("epochs = 2", "epochs = 1")
    )
    found = replay_run(run_dir)
    assert (found.steps, found.exact) == (18, True)


def change_config(run_dir: RunDir) -> None:
    run_dir.write("config.toml", run_dir.config_path.read_text(encoding="utf-8").replace("lr = 0.01", "lr = 0.02"))


def go_back_to(step: int, run_dir: RunDir) -> None:
    shutil.copy(run_dir.checkpoints_dir / f"step-{step:08d}.safetensors", run_dir.checkpoint_path("last"))


def halve_learning_rate(run_dir: RunDir) -> None:
    """As after a recovery from divergence."""
    last = load(run_dir.checkpoint_path("last"))
    progress = last.meta["progress"]
    meta = {**last.meta, "progress": {**progress, "rate": progress["rate"] / 2}}
    save(run_dir.checkpoint_path("last"), replace(last, meta=meta))


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (change_config, OSError, r"has lr = 0\.02, and .* was trained with 0\.01"),
        (partial(go_back_to, 17), OSError, r"is of step 17 and summary\.json beside it of step 48"),
        (partial(go_back_to, 0), ValueError, "no step"),
        (halve_learning_rate, ValueError, r"went on at 0\.5 of its learning rate"),
    ],
    ids=["config.toml", "last checkpoint", "first checkpoint", "learning rate"],
)
def test_a_folder_that_does_not_tell_what_was_done_is_refused(
    change: Callable[[RunDir], None], error: type[Exception], message: str, train: Train
) -> None:
    run_dir = train(save_every="1", keep=60)
    change(run_dir)
    with pytest.raises(error, match=message):
        replay_run(run_dir)


def test_an_invalid_number_of_threads_is_refused(train: Train, capsys: pytest.CaptureFixture[str]) -> None:
    assert replay_command(train(), "--threads", "0") == 2
    assert "threads" in said(capsys)


@pytest.mark.parametrize("library", ["torch", "jax"])
def test_float64_on_another_library_is_within_1e_12(library: str, train: Train) -> None:
    pytest.importorskip(library, reason=f"{library} is not installed")
    found = replay_run(train(dtype="float64", validation=0.2), backend=library)
    assert "backend" in {change.name for change in found.changes}
    assert found.passed
    assert max(tensor.relative for tensor in found.tensors) <= 1e-12
