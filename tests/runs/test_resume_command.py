"""`train --resume`: what may change and what may not, what is said, what is left as it was."""

from __future__ import annotations

import json
import os
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from nnbackprop.runs.checkpoint import load
from nnbackprop.runs.config_files import load_run_config
from tests.stress.child_run import outcome
from tests.stress.damage import damage
from tests.support.commands import run, said

SMALL = ["train", "mnist-original", "--data", "two.npz", "--hidden", "4", "--dropout", "0", "--progress", "off"]
SMALL += ["--batch-size", "7"]
FOLDER = Path("runs/a")
LAST = FOLDER / "checkpoints" / "last.safetensors"


def train(*words: str, name: str = "a") -> None:
    assert run(*SMALL, "--name", name, *words) == 0


def resume(*words: str) -> int:
    return run("train", "--resume", "a", "--progress", "off", *words)


def edit_config(before: str, after: str) -> None:
    path = FOLDER / "config.toml"
    assert before in path.read_text(encoding="utf-8")
    path.write_text(path.read_text(encoding="utf-8").replace(before, after), encoding="utf-8")


pytestmark = pytest.mark.usefixtures("two_clouds")


@pytest.mark.parametrize(
    ("before", "after", "values"),
    [
        ('activation = "relu"', 'activation = "tanh"', "activation = 'tanh', and {} was trained with 'relu'"),
        ("lr = 0.08", "lr = 5.0", "lr = 5.0, and {} was trained with 0.08"),
        ("seed = 0", "seed = 9", "seed = 9, and {} was trained with 0"),
        ("hidden = [\n    4,\n]", "hidden = [\n    5,\n]", "hidden = [5], and {} was trained with [4]"),
    ],
)
def test_a_changed_configuration_is_refused_with_both_values(
    before: str, after: str, values: str, capsys: pytest.CaptureFixture[str]
) -> None:
    train("--epochs", "2")
    edit_config(before, after)
    assert resume("--epochs", "3") == 5
    assert values.format(LAST) in said(capsys)
    assert run("evaluate", "a") == 5
    assert values.format(LAST.with_stem("best")) in said(capsys)
    edit_config(after, before)
    assert resume("--epochs", "3") == 0


def test_a_checkpoint_of_another_run_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    train("--epochs", "2", "--seed", "1")
    train("--epochs", "2", "--seed", "2", name="b")
    shutil.copy("runs/b/checkpoints/last.safetensors", LAST)
    assert resume("--epochs", "3") == 5
    assert f"seed = 1, and {LAST} was trained with 2" in said(capsys)


def test_flags_may_not_change_what_is_trained(capsys: pytest.CaptureFixture[str]) -> None:
    train("--epochs", "2")
    assert resume("--seed", "5") == 2
    assert "keeps its seed: it is 0 there, and 5 was asked for" in said(capsys)


@pytest.mark.parametrize(
    "flags", [["--epochs", "0"], ["--patience", "0"], ["--max-time", "-1"], ["--epochs", "2"]]
)
def test_a_resume_that_is_refused_leaves_the_folder_as_it_was(flags: list[str]) -> None:
    train("--epochs", "3")
    before = {path: path.read_bytes() for path in FOLDER.rglob("*") if path.is_file()}
    assert resume(*flags) == 2
    assert {path: path.read_bytes() for path in FOLDER.rglob("*") if path.is_file()} == before


def test_epochs_that_end_before_the_present_step_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    """With a chunk a step and no time the run stops after the first step of its third epoch."""
    train("--epochs", "2")
    assert resume("--epochs", "5", "--save-every", "1", "--max-time", "1e-9") == 0
    at = load(LAST).meta["progress"]
    assert (at["epoch"], at["samples"] > 0) == (3, True)
    assert resume("--epochs", "2") == 2
    assert "has 2 epochs done, and is within epoch 3: --epochs 2 is less" in said(capsys)
    assert resume("--epochs", "3", "--max-time", "1000") == 0


def test_missing_rows_are_named(capsys: pytest.CaptureFixture[str]) -> None:
    train("--epochs", "5")
    metrics = FOLDER / "metrics.jsonl"
    lines = metrics.read_text(encoding="utf-8").splitlines(keepends=True)
    metrics.write_text(
        "".join([lines[0], lines[2], lines[3], lines[4][:-20]]), encoding="utf-8"
    )  # and the last one cut
    assert resume("--epochs", "6") == 0
    assert f"{metrics} lacks 2 of its rows, of epoch 2 to 5: they are lost" in said(capsys)
    assert [json.loads(line)["epoch"] for line in metrics.read_text(encoding="utf-8").splitlines()] == [1, 3, 4, 6]


@pytest.mark.parametrize("lost", [0, 1, 2])
def test_resume_skips_damaged_checkpoints_and_ends_the_same(lost: int, capsys: pytest.CaptureFixture[str]) -> None:
    flags = ["--save-every", "7"]  # of 5 steps an epoch
    train(*flags, "--epochs", "9", name="whole")
    train(*flags, "--epochs", "4")
    paths = sorted(path for path in LAST.parent.iterdir() if path.stem != "best")
    bad = [LAST, *paths[:0:-1]][:lost]
    for path in bad:
        damage(path)
    said(capsys)
    assert resume("--epochs", "9") == 0
    messages = said(capsys)
    assert messages.count("skipped:") == lost
    assert all(f"skipped: {path} cannot be used as a checkpoint: its bytes" in messages for path in bad)
    assert outcome(FOLDER) == outcome(Path("runs/whole"))


def test_a_resume_without_an_undamaged_checkpoint_changes_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    train("--save-every", "7", "--epochs", "4")
    paths = [path for path in LAST.parent.iterdir() if path.stem != "best"]
    assert len(paths) == 3
    for path in paths:
        damage(path)
    before = {path: path.read_bytes() for path in FOLDER.rglob("*") if path.is_file()}
    assert resume("--epochs", "9") == 5
    messages = said(capsys)
    assert all(f"{path} cannot be used" in messages for path in paths)
    assert {path: path.read_bytes() for path in before} == before


def test_a_run_that_stopped_early_stays_stopped() -> None:
    rng = np.random.default_rng(0)
    np.savez("two.npz", X=rng.standard_normal((40, 3)), y=np.arange(40) % 2)
    train("--validation", "0.3", "--patience", "2", "--epochs", "300", "--lr", "2")
    first = json.loads((FOLDER / "summary.json").read_text(encoding="utf-8"))
    assert first["reason"] == "early-stopping"
    assert resume() == 0
    again = json.loads((FOLDER / "summary.json").read_text(encoding="utf-8"))
    timeless = {"seconds": 0, "samples_per_second": 0}
    assert {**again, **timeless} == {**first, **timeless}


def test_lost_best_weights_come_back() -> None:
    train("--validation", "0.3", "--epochs", "3")
    best = LAST.with_stem("best")
    before = best.read_bytes()
    best.unlink()
    assert resume() == 0
    assert best.read_bytes() == before


def test_last_weights_are_not_the_best_once_the_run_goes_on() -> None:
    train("--epochs", "2")
    assert resume("--epochs", "30") == 0
    ours, last = load(LAST.with_stem("best")).arrays, load(LAST).arrays
    assert all(np.array_equal(a, last[name]) for name, a in ours.items() if name.startswith("params/"))


@pytest.mark.parametrize("schedule", ["cosine", "one-cycle", "warmup:3+cosine"])
def test_more_epochs_under_a_schedule_that_spans_the_run_name_both_rates(
    schedule: str, capsys: pytest.CaptureFixture[str]
) -> None:
    train("--schedule", schedule, "--epochs", "4")
    said(capsys)
    assert resume("--epochs", "8") == 0
    text = said(capsys)
    found = re.search(r"The learning rate goes from (\S+) at step 20 to (\S+) at step 21: the schedule", text)
    assert found, text
    rows = [json.loads(line) for line in (FOLDER / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    assert float(found[1]) == pytest.approx(rows[3]["lr"], rel=1e-5)
    assert float(found[2]) > 10 * float(found[1])
    assert f"{schedule} spans --epochs 8, and spanned 4." in text


def test_schedule_epochs_keep_the_schedule_of_a_run_that_goes_on(capsys: pytest.CaptureFixture[str]) -> None:
    train("--schedule", "cosine", "--epochs", "4")
    said(capsys)
    assert resume("--epochs", "8", "--schedule-epochs", "5") == 2
    assert "spanned so far, 4 epochs: leave it out, or give --schedule-epochs 4." in said(capsys)
    assert resume("--epochs", "8", "--schedule-epochs", "4") == 0
    assert "learning rate goes" not in said(capsys)
    rates = [
        json.loads(line)["lr"] for line in (FOLDER / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    ]
    assert len(rates) == 8
    assert rates[3] > 0
    assert rates[4:] == [0.0] * 4


@pytest.mark.parametrize("schedule", ["constant", "step:2:0.5", "exponential:0.9"])
def test_more_epochs_under_other_schedules_change_no_rate(
    schedule: str, capsys: pytest.CaptureFixture[str]
) -> None:
    train("--schedule", schedule, "--epochs", "4")
    said(capsys)
    assert resume("--epochs", "8") == 0
    assert "learning rate goes" not in said(capsys)


def test_resume_goes_on_from_another_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    """As evaluate and replay do: a run keeps the absolute path of its data."""
    train("--epochs", "2")
    place = Path.cwd()
    assert load_run_config(place / FOLDER / "config.toml").data == str(place / "two.npz")
    monkeypatch.chdir("/")
    for words in (["evaluate"], ["replay"], ["train", "--epochs", "3", "--progress", "off", "--resume"]):
        assert run(*words, str(place / FOLDER)) == 0


def test_data_may_lie_elsewhere_if_it_is_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    train("--epochs", "2")
    os.mkdir("elsewhere")
    shutil.move("two.npz", "elsewhere/moved.npz")
    np.savez("other.npz", X=np.random.default_rng(1).standard_normal((40, 3)), y=np.arange(40) % 2)
    assert resume("--epochs", "3") == 3
    assert resume("--epochs", "3", "--data", "other.npz") == 3
    assert "is not what" in said(capsys)
    assert resume("--epochs", "3", "--data", "elsewhere/moved.npz") == 0
    assert load_run_config(FOLDER / "config.toml").data == str(Path("elsewhere/moved.npz").absolute())
    assert resume("--epochs", "4") == 0


def test_a_resumed_run_keeps_the_backend_it_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    train("--epochs", "2")
    monkeypatch.setenv("NNBACKPROP_BACKEND", "numpy")
    assert resume("--epochs", "3") == 0
    assert load_run_config(FOLDER / "config.toml").backend == "auto"


def test_another_learning_rate_goes_on_from_the_step_of_the_resume(capsys: pytest.CaptureFixture[str]) -> None:
    """5 steps an epoch: the rate of epochs 1 and 2, of 3 and 4, and of 5, by an exponential schedule."""
    train("--epochs", "2", "--schedule", "exponential:0.5")
    assert resume("--epochs", "4", "--lr", "0.01") == 0
    assert "goes from 0.022974 at step 10 to 0.0025 at step 11: --lr 0.01 is where" in said(capsys)
    assert resume("--epochs", "5", "--lr", "0.02") == 0
    rows = [json.loads(line) for line in (FOLDER / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    lrs = [0.08 * 0.5**0.8, 0.08 * 0.5**1.8, 0.01 * 0.5**2.8, 0.01 * 0.5**3.8, 0.02 * 0.5**4.8]
    assert [row["lr"] for row in rows] == pytest.approx(lrs, rel=1e-12)
    assert [row.get("lr_changes") for row in rows] == [
        *(None, None),
        [{"step": 11, "from": pytest.approx(0.02), "to": pytest.approx(0.0025)}],
        None,
        [{"step": 21, "from": pytest.approx(0.000625), "to": pytest.approx(0.00125)}],
    ]
    config = load_run_config(FOLDER / "config.toml")
    assert (config.lr, config.lr_changes) == (0.08, ((10, 0.01), (20, 0.02)))


def test_a_learning_rate_changed_back_before_a_step_is_no_change() -> None:
    train("--epochs", "2")
    assert resume("--lr", "0.01") == 0
    assert resume("--lr", "0.08", "--epochs", "3") == 0
    assert load_run_config(FOLDER / "config.toml").lr_changes == ()


def test_changes_of_the_learning_rate_that_a_checkpoint_does_not_have_are_refused(
    capsys: pytest.CaptureFixture[str],
) -> None:
    train("--epochs", "2")
    assert resume("--lr", "0.01", "--epochs", "3") == 0
    edit_config("        0.01,", "        0.02,")
    assert resume("--epochs", "4") == 5
    assert "lr_changes = [[10, 0.02]], and" in said(capsys)
    assert run("replay", "a") == 5


def test_a_learning_rate_given_after_divergences_is_the_rate_of_the_next_step(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Half-squared errors at a rate of 9 diverge; 5 steps an epoch."""
    flags = ("--loss", "half-mse", "--lr", "9", "--save-every", "5", "--on-nan", "restore-and-halve-lr")
    train("--epochs", "4", *flags)
    rate = load(LAST).meta["progress"]["rate"]
    assert rate < 1
    said(capsys)
    assert resume("--epochs", "5", "--lr", "0.01") == 0
    assert f"goes from {9 * rate:g} at step 20 to 0.01 at step 21: --lr 0.01 is where" in said(capsys)
    rows = [json.loads(line) for line in (FOLDER / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    assert rows[-1]["lr"] == pytest.approx(0.01, rel=1e-12)


def test_a_resume_takes_a_number_for_the_learning_rate(capsys: pytest.CaptureFixture[str]) -> None:
    train("--epochs", "2")
    assert resume("--lr", "auto") == 2
    assert "give --lr a number" in said(capsys)
