"""Searches over settings, by real Optuna studies in SQLite."""

from __future__ import annotations

import contextlib
import json
import sqlite3
import subprocess
import sys
import time
import tomllib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from nnbackprop.errors import RunFolderError, UsageError
from nnbackprop.runs import search as searching
from nnbackprop.runs.run_data import RunData
from nnbackprop.runs.search import TrialData, search
from nnbackprop.runs.search_result import SearchResult, TrialRow
from nnbackprop.runs.search_space import load_search
from nnbackprop.runs.trained_model import TrainedModel
from tests.support import mpi
from tests.support.commands import run, said

optuna = pytest.importorskip("optuna", reason="needs optuna")
pytestmark = pytest.mark.usefixtures("two_clouds")

RECIPE = """
data = "two.npz"
validation = 0.25
hidden = [4]
batch_size = 8
epochs = {epochs}
optimizer = "adam"
lr = 0.01
backend = "numpy"
dtype = "float64"

[search]
trials = {trials}
"""
SPACE = """
lr = { low = 1e-6, high = 0.3, log = true }
hidden = [[4], [8, 4], []]
l2 = [0.0, 0.1]
"""


def write(trials: int = 12, epochs: int = 6, space: str = SPACE, name: str = "small.toml") -> str:
    Path(name).write_text(RECIPE.format(trials=trials, epochs=epochs) + space, encoding="utf-8")
    return name


def found_in(file: str) -> SearchResult:
    return search(load_search(file), lambda row, planned: None)


def told(result: SearchResult) -> list[tuple[int, str, float, int]]:
    return [(row.number, row.outcome, row.loss, row.epochs) for row in result.trials]


def start_search(file: str) -> subprocess.Popen[bytes]:
    words = [sys.executable, "-m", "nnbackprop", "search", file]
    return subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


def n_trials(name: str) -> int:
    """Trials in a search's storage, one of them running, or 0; read while another process writes."""
    try:
        uri = f"file:runs/{name}/study.db?mode=ro"
        with contextlib.closing(sqlite3.connect(uri, uri=True, timeout=10)) as connection:
            states = [state for (state,) in connection.execute("select state from trials")]
    except sqlite3.OperationalError:  # there is no table yet
        return 0
    return len(states) if "RUNNING" in states else 0


def test_a_run_of_the_same_name_is_left_alone() -> None:
    Path("runs/small").mkdir(parents=True)
    Path("runs/small/config.toml").write_text("", encoding="utf-8")
    with pytest.raises(RunFolderError, match="is there and holds no search"):
        found_in(write())
    assert [path.name for path in Path("runs/small").iterdir()] == ["config.toml"]


def test_the_best_recipe_trains_to_the_loss_of_its_trial() -> None:
    result = found_in(write(space="lr = [0.001, 0.05]\nhidden = [[4], [8, 4]]\nsampler = 'grid'"))
    assert result.best is not None
    assert run("train", "runs/small/best.toml", "--progress", "off", "--name", "again") == 0
    summary = json.loads(Path("runs/again/summary.json").read_text(encoding="utf-8"))
    assert summary["validation_loss"] == result.best.loss
    assert summary["best_epoch"] == result.best.best_epoch


def test_a_search_is_named_on_the_command_line_and_its_tags_are_those_of_the_best_runs() -> None:
    """By another name it is another search; tags may change."""
    write(2, 1)
    assert run("search", "small.toml") == 0
    assert run("search", "small.toml", "--name", "other", "--tags", "lr", "first") == 0
    assert run("search", "small.toml", "--name", "other", "--tags", "lr", "second") == 0
    assert sorted(path.name for path in Path("runs").iterdir()) == ["other", "small"]
    assert run("train", "runs/other/best.toml", "--progress", "off") == 0
    assert tomllib.loads(Path("runs/other-best/config.toml").read_text(encoding="utf-8"))["tags"] == [
        "lr",
        "second",
    ]
    assert run("train", "runs/other/best.toml", "--progress", "off", "--name", "b", "--tags", "third") == 0
    assert tomllib.loads(Path("runs/b/config.toml").read_text(encoding="utf-8"))["tags"] == ["third"]


def test_a_search_killed_before_it_wrote_its_best_recipe_writes_it_when_it_is_called_again() -> None:
    first = found_in(write(2, 1))
    Path("runs/small/best.toml").unlink()
    assert told(found_in("small.toml")) == told(first)
    assert Path("runs/small/best.toml").is_file()


def test_the_best_recipe_has_the_dropout_fitted_to_its_layers() -> None:
    file = write(3, space="hidden = [[4, 4, 4]]")
    Path(file).write_text("dropout = [0.1, 0.2]\n" + Path(file).read_text(encoding="utf-8"), encoding="utf-8")
    found_in(file)
    best = tomllib.loads(Path("runs/small/best.toml").read_text(encoding="utf-8"))
    assert (best["hidden"], best["dropout"]) == ([4, 4, 4], [0.1, 0.2, 0.2, 0.2])


def add(file: str, line: str) -> None:
    """Add a line above [search]."""
    Path(file).write_text(f"{line}\n" + Path(file).read_text(encoding="utf-8"), encoding="utf-8")


def test_the_run_whose_weights_trials_begin_with_is_named_by_its_path(monkeypatch: pytest.MonkeyPatch) -> None:
    """So best.toml is trained from any folder, and `last` is the same run for all trials."""
    words = ("--data", "two.npz", "--hidden", "4", "--epochs", "1", "--progress", "off")
    assert run("train", *words, "--name", "base") == 0
    file = write(1, 1, "lr = [0.01]")
    add(file, 'init_from = "last"')
    loaded, base = load_search(file), str(Path("runs/base").absolute())
    assert loaded.config.init_from == base
    assert loaded.recipe_of({"lr": 0.01}, "best").init_from == base
    found_in(file)
    best = Path("runs/small/best.toml").absolute()
    monkeypatch.chdir("/")
    assert run("train", str(best), "--dry-run") == 0


def test_layers_and_hidden_are_searched_over_a_file_with_the_other() -> None:
    entries = [["dense 8", "relu", "dense"], ["dense 3", "tanh", "dense"]]
    result = found_in(write(2, 1, f"layers = {entries}\nsampler = 'grid'"))
    assert [row.outcome for row in result.trials] == ["complete", "complete"]
    file = write(2, 1, "hidden = [[8], [16]]\nsampler = 'grid'", "other.toml")
    text = Path(file).read_text(encoding="utf-8").replace("hidden = [4]\n", f"layers = {entries[0]}\n")
    Path(file).write_text(text, encoding="utf-8")
    assert [row.outcome for row in found_in(file).trials] == ["complete", "complete"]


def test_a_trial_of_layers_and_hidden_is_refused() -> None:
    result = found_in(write(1, 1, "layers = [['dense 8', 'dense']]\nhidden = [[4]]\nsampler = 'grid'"))
    (outcome,) = (row.outcome for row in result.trials)
    assert outcome.startswith("refused: ")
    assert "layers are the whole network" in outcome


def test_a_setting_that_another_setting_has_no_use_for_is_left_out_of_a_trial() -> None:
    space = "optimizer = ['adam', 'adamw']\nweight_decay = [0.05]\npenalize_biases = [true]\nl2 = [0.0, 0.1]"
    result = found_in(write(4, 1, f"{space}\nsampler = 'grid'"))
    assert {row.outcome for row in result.trials} == {"complete"}
    config_of = load_search("small.toml").config_of
    params = {"optimizer": "adam", "weight_decay": 0.05, "penalize_biases": True, "l2": 0.0}
    assert (config_of(params).weight_decay, config_of(params).penalize_biases) == (0.01, False)
    params |= {"optimizer": "adamw", "l2": 0.1}
    assert (config_of(params).weight_decay, config_of(params).penalize_biases) == (0.05, True)


def test_a_range_between_whole_numbers_is_of_the_numbers_that_the_setting_takes() -> None:
    space = (
        "clip_norm = { low = 1, high = 3 }\nbatch_size = { low = 4, high = 16 }\nhidden = { low = 2, high = 9 }"
    )
    result = found_in(write(6, 1, space))
    kinds = {name: {type(row.params[name]) for row in result.trials} for name in result.trials[0].params}
    assert kinds == {"clip_norm": {float}, "batch_size": {int}, "hidden": {int}}
    assert any(row.params["clip_norm"] % 1 for row in result.trials)


def test_a_search_begun_before_there_was_a_setting_goes_on() -> None:
    first = found_in(write(1, 1))
    study = optuna.load_study(study_name="search", storage="sqlite:///runs/small/study.db")
    definition = study.user_attrs["definition"]
    del definition["ema"]
    study.set_user_attr("definition", definition)
    assert told(found_in(write(2, 1)))[:1] == told(first)


def test_a_search_takes_the_library_of_the_environment(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("NNBACKPROP_BACKEND", "nosuch")
    assert run("search", write(1, 1)) == 2
    assert "backend = 'nosuch'" in said(capsys)


def test_the_command_of_the_best_recipe_is_quoted(capsys: pytest.CaptureFixture[str]) -> None:
    file = write(1, 1)
    add(file, 'runs_dir = "my runs"')
    assert run("search", file) == 0
    assert "Best: nnbackprop train 'my runs/small/best.toml'" in said(capsys)


def test_a_trials_data_has_no_test_part() -> None:
    parts = TrialData().of(load_search(write()).config)
    assert (len(parts.train), parts.validation and len(parts.validation), parts.test) == (24, 8, None)


def test_a_trials_data_is_balanced_where_its_class_weight_says_so() -> None:
    config, data = load_search(write()).config, TrialData()
    assert data.of(config).train.weights is None
    assert data.of(replace(config, class_weight="balanced")).train.weights is not None


def test_losses_of_averaged_weights_are_without_the_penalty_of_those() -> None:
    """The loss of a trial is that of its averaged weights: evaluated again without the penalty, it is the same."""
    file = write(1, 3, "lr = [0.1]\nsampler = 'grid'")
    text = Path(file).read_text(encoding="utf-8").replace("lr = 0.01", "l2 = 0.5\nema = 0.9")
    Path(file).write_text(text, encoding="utf-8")
    (trial,) = found_in(file).trials
    assert run("train", "runs/small/best.toml", "--progress", "off", "--name", "again") == 0
    trained = TrainedModel.open("again")
    parts = RunData.load(trained.config)
    assert parts.validation is not None
    probabilities = trained.predict_proba(parts.validation.inputs)
    right = probabilities[np.arange(len(parts.validation)), parts.validation.targets]
    assert trial.loss == pytest.approx(-np.log(right).mean(), rel=1e-9)


def test_losses_of_different_penalties_are_without_them() -> None:
    """At a learning rate near 0 no weight moves: the loss of the data is that of all penalties."""
    file = write(2, 1, "l2 = [0.0, 10.0]\nsampler = 'grid'")
    Path(file).write_text(
        Path(file).read_text(encoding="utf-8").replace("lr = 0.01", "lr = 1e-12"), encoding="utf-8"
    )
    first, second = found_in(file).trials
    assert first.params["l2"] != second.params["l2"]
    assert first.loss == pytest.approx(second.loss, abs=1e-9)


def test_pruning_stops_trials_early() -> None:
    result = found_in(write(20, 10))
    pruned = [row for row in result.trials if row.outcome == "pruned"]
    complete = [row for row in result.trials if row.outcome == "complete"]
    assert len(pruned) >= 3
    assert {row.epochs for row in complete} == {10}
    assert max(row.epochs for row in pruned) < 10
    assert result.best == min(complete, key=lambda row: row.loss)
    study = optuna.load_study(study_name="search", storage="sqlite:///runs/small/study.db")
    assert [len(trial.intermediate_values) for trial in study.trials] == [row.epochs for row in result.trials]


def test_a_search_killed_at_any_time_goes_on_as_if_nothing_had_happened() -> None:
    """No trial is lost or done twice: numbers, settings, losses and outcomes are those of a whole search."""
    whole = found_in(write(name="whole.toml"))
    write(name="killed.toml")
    for kill_at in (1, 4, 7):
        process = start_search("killed.toml")
        while n_trials("killed") < kill_at and process.poll() is None:
            time.sleep(0.002)
        process.kill()
        process.communicate()
        assert process.returncode == -9  # else it was over before
    again = found_in("killed.toml")
    assert [row.params for row in again.trials] == [row.params for row in whole.trials]
    assert told(again) == told(whole)


def test_a_trial_left_by_a_killed_process_keeps_its_number_and_settings() -> None:
    file = load_search(write(3))
    path = searching._folder(file)
    with searching._worker(path) as worker:
        left = searching._claim(file, path, searching._open_study(file, path), worker)
        left.report(0.1, 1)
    result = found_in("small.toml")
    assert [row.number for row in result.trials] == [0, 1, 2]
    assert result.trials[0].params == left.params
    assert result.trials[0].outcome == "complete"


def test_a_trial_killed_between_the_draws_of_its_settings_has_those_of_a_whole_search() -> None:
    """The storage then has the first setting alone; the second is drawn as it would have been."""
    whole = found_in(write(3, 1, name="whole.toml"))
    file = load_search(write(3, 1))
    study = searching._open_study(file, searching._folder(file))
    trial = study.ask()
    searching._suggest(trial, replace(file, space={"lr": file.space["lr"]}))
    assert list(study.trials[0].params) == ["lr"]
    assert [row.params for row in found_in("small.toml").trials] == [row.params for row in whole.trials]


def test_two_processes_share_one_search() -> None:
    write(14)
    processes = [start_search("small.toml") for _ in range(2)]
    errors = [process.communicate()[1].decode() for process in processes]
    assert [process.returncode for process in processes] == [0, 0], errors
    done = [{line.split("trial ")[1].split()[0] for line in e.splitlines() if "/14" in line} for e in errors]
    assert not done[0] & done[1]
    assert {int(number) for number in done[0] | done[1]} == set(range(14))
    result = found_in("small.toml")
    assert [row.number for row in result.trials] == list(range(14))
    assert "running" not in {row.outcome for row in result.trials}
    assert len({tuple(row.params.values()) for row in result.trials}) == 14


def test_processes_of_mpi_share_a_search_and_the_first_prints_its_table() -> None:
    write(14)
    mpi.mpiexec()
    command = [sys.executable, "-m", "nnbackprop", "search", "small.toml", "--processes", "2"]
    done = subprocess.run(command, env=mpi.environment(), capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("Best: nnbackprop train runs/small/best.toml") == 1
    numbers = [line.split("trial ")[1].split()[0] for line in done.stderr.splitlines() if "/14" in line]
    assert sorted(map(int, numbers)) == list(range(14))
    study = optuna.load_study(study_name="search", storage="sqlite:///runs/small/study.db")
    assert len({trial.user_attrs["worker"] for trial in study.trials}) == 2
    assert len({tuple(trial.params.values()) for trial in study.trials}) == 14


def test_a_grid_tries_every_combination_once() -> None:
    space = "sampler = 'grid'\nbatch_size = [4, 'full']\nhidden = [[4], [8, 4]]\nbias = [true, false]"
    file = write(space=space)
    Path(file).write_text(Path(file).read_text(encoding="utf-8").replace("trials = 12", ""), encoding="utf-8")
    result = found_in(file)
    assert len({tuple(row.params.values()) for row in result.trials}) == len(result.trials) == 8


def test_more_trials_go_on_with_a_search_and_other_settings_are_refused() -> None:
    three = found_in(write(3))
    five = found_in(write(5))
    assert told(five)[:3] == told(three)
    assert len(five.trials) == 5
    with pytest.raises(UsageError, match=r"a search with other settings; those that differ: epochs\."):
        found_in(write(5, epochs=7))


def test_trials_whose_settings_do_not_go_together_say_so() -> None:
    result = found_in(write(space="optimizer = ['sgd', 'momentum']\nmomentum = [0.9]\nsampler = 'grid'"))
    outcomes = {row.params["optimizer"]: row.outcome for row in result.trials}
    assert outcomes["momentum"] == "complete"
    assert outcomes["sgd"].startswith("refused: --momentum goes with momentum, nesterov")


def test_trials_whose_settings_do_not_fit_the_data_say_so_and_the_others_are_trained() -> None:
    Path("gaps.csv").write_text(
        "a,label\n" + "".join(f"{i if i % 7 else ''},{i % 2}\n" for i in range(80)), encoding="utf-8"
    )
    file = write(2, 1, "missing = ['error', 'mean']\nsampler = 'grid'")
    text = Path(file).read_text(encoding="utf-8").replace('"two.npz"', '"gaps.csv"\nmissing = "mean"')
    Path(file).write_text(text, encoding="utf-8")
    outcomes = {row.params["missing"]: row.outcome for row in found_in(file).trials}
    assert outcomes["mean"] == "complete"
    assert outcomes["error"].startswith("refused: ")


def test_a_trial_that_diverges_is_told_as_such() -> None:
    file = write(2, space="lr = [0.01, 1e300]\nsampler = 'grid'\noptimizer = ['sgd']")
    outcomes = {row.params["lr"]: row.outcome for row in found_in(file).trials}
    assert outcomes == {0.01: "complete", 1e300: "diverged"}


@pytest.mark.parametrize(
    ("space", "message"),
    [
        ("", "names no setting"),
        ("lrr = [1]", r"'lrr' that does not exist. Did you mean lr\?"),
        ("lr = 0.1", "give a list of values"),
        ("lr = []", "give a list of values"),
        ("lr = [0.1, 'x']", "has lr = 'x': invalid"),
        ("lr = { low = 0.1, high = 0.01 }", "low is the less"),
        ("lr = { low = 0.0, high = 0.01, log = true }", "above 0"),
        ("batch_size = { low = 8.5, high = 64 }", "has batch_size = 8.5: expected"),
        ("lr = { low = 0.1, high = 1.0 }\nsampler = 'grid'", "a grid needs a list"),
        ("lr = [0.1]\nsampler = 'cmaes'", "choose tpe or grid"),
        ("seed = [0, 1]", "cannot be searched: all trials have the same seed"),
        ("test_fraction = [0.1]", "cannot be searched: all trials have the same seed and parts"),
        ("loss = ['mse', 'huber:1']", "cannot be searched: validation losses of different losses"),
        ("log = [['csv']]", "cannot be searched: it says how a run is kept, shown or ended"),
    ],
)
def test_what_cannot_be_searched_is_refused(space: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        load_search(write(space=space))
    assert not Path("runs").exists()


def test_a_search_has_a_table_a_number_of_trials_and_a_name_of_one_word() -> None:
    text = Path(write()).read_text(encoding="utf-8")
    for changed, message in (
        (text.partition("[search]")[0], r"no table \[search\]"),
        (text.replace("trials = 12", "trials = 0"), "has trials = 0: give the number of trials"),
    ):
        Path("small.toml").write_text(changed, encoding="utf-8")
        with pytest.raises(UsageError, match=message):
            load_search("small.toml")
    with pytest.raises(UsageError, match="'a/b' cannot be the name of a search"):
        search(replace(load_search(write()), name="a/b"), lambda row, planned: None)
    Path("runs").write_text("a file", encoding="utf-8")
    with pytest.raises(RunFolderError, match=r"folder runs/small could not be made \(.*\): choose a place"):
        found_in("small.toml")
    assert Path("runs").read_text(encoding="utf-8") == "a file"


def test_whole_numbers_of_a_range_are_whole() -> None:
    file = load_search(write(trials=4, epochs=1, space="batch_size = { low = 4, high = 16, log = true }\n"))
    sizes = [row.params["batch_size"] for row in search(file, lambda row, planned: None).trials]
    assert len(sizes) == 4
    assert all(type(size) is int and 4 <= size <= 16 for size in sizes)


def test_a_search_needs_a_validation_part() -> None:
    file = write()
    Path(file).write_text(
        Path(file).read_text(encoding="utf-8").replace("validation = 0.25", ""), encoding="utf-8"
    )
    with pytest.raises(UsageError, match="there is no validation part"):
        found_in(file)
    assert not Path("runs").exists()


def test_the_command_shows_the_trials_and_what_mattered(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("search", write()) == 0
    shown = said(capsys)
    assert "what mattered:" in shown
    assert "Best: nnbackprop train runs/small/best.toml" in shown
    assert Path("runs/small/importances.png").read_bytes().startswith(b"\x89PNG")
    assert run("search", "small.toml", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert len(found["trials"]) == 12
    assert sum(found["importances"].values()) == pytest.approx(1)


def test_train_refuses_the_file_of_a_search(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("train", write()) == 2
    assert "which nnbackprop search reads" in said(capsys)


def test_without_optuna_the_command_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    assert run("search", write()) == 2
    assert 'pip install "optuna>=5"' in said(capsys)
    assert not Path("runs").exists()


def test_a_row_of_a_trial_without_an_epoch_is_not_a_number_in_json() -> None:
    row = TrialRow(0, "diverged", float("nan"), None, 0, {})
    assert row.to_json()["loss"] is None
