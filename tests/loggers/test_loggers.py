"""Loggers by name, CSV, and what a callback is told of the configuration."""

from __future__ import annotations

import csv
import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest

from nnbackprop.errors import RunFolderError, UsageError
from nnbackprop.loggers.csv import CSVLogger
from nnbackprop.loggers.registry import load_loggers
from nnbackprop.loggers.values import flat_config
from nnbackprop.runs.run_dir import RunDir
from nnbackprop.training.callbacks import Callback
from nnbackprop.training.events import TrainBegin
from tests.support.commands import run, said
from tests.support.small_runs import clouds, make_trainer

WORDS = (
    "--data",
    "two.npz",
    "--hidden",
    "4",
    "--validation",
    "0",
    "--epochs",
    "3",
    "--backend",
    "numpy",
    "--progress",
    "off",
)


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.usefixtures("two_clouds")
def test_csv_has_the_rows_of_metrics_jsonl_also_after_a_resume() -> None:
    assert run("train", *WORDS, "--log", "csv", "--name", "a") == 0
    assert run("train", "--resume", "a", "--epochs", "5", "--progress", "off") == 0
    kept, written = RunDir(Path("runs/a")).read_metrics(), rows_of(Path("runs/a/metrics.csv"))
    assert [int(row["epoch"]) for row in written] == [row["epoch"] for row in kept] == [1, 2, 3, 4, 5]
    for ours, theirs in zip(written, kept, strict=True):
        assert float(ours["test_loss"]) == theirs["test_loss"]
        assert ours["validation_loss"] == ""
        assert float(ours["gradient_norm_dense1"]) == theirs["gradient_norms"]["dense1"]


def test_csv_replaces_epochs_that_are_trained_again(tmp_path: Path) -> None:
    first = make_trainer(epochs=2, callbacks=[CSVLogger(tmp_path / "a.csv")])
    first.fit(clouds())
    saved = first.state_dict()
    first.set_options(epochs=4)
    first.fit(clouds())
    assert [row["epoch"] for row in rows_of(tmp_path / "a.csv")] == ["1", "2", "3", "4"]
    again = make_trainer(epochs=3, lr=1e-3, callbacks=[CSVLogger(tmp_path / "a.csv")])
    again.initialize(clouds())
    again.load_state_dict(saved)
    (row,) = again.fit(clouds())
    written = rows_of(tmp_path / "a.csv")
    assert [row["epoch"] for row in written] == ["1", "2", "3"]
    assert float(written[-1]["train_loss"]) == row.train.loss


@pytest.mark.parametrize(
    "content", [b"epoch,train_loss\nfirst,0.5\n", b"epoch;train_loss\n1;0,5\n", b"\xff\xfee\0p\0", b'a\n"1\n2'],
    ids=["text", "semicolons", "UTF-16", "quote"],
)  # fmt: skip
def test_a_csv_of_other_rows_is_left_and_told(tmp_path: Path, content: bytes) -> None:
    """A spreadsheet may have written it anew."""
    path = tmp_path / "a.csv"
    path.write_bytes(content)
    with pytest.raises(RunFolderError, match=r"a\.csv holds a row .* move the file away"):
        make_trainer(epochs=1, callbacks=[CSVLogger(path)]).fit(clouds())
    assert path.read_bytes() == content


class Begin(Callback):
    """Keeps what `train_begin` is told."""

    def train_begin(self, trainer: Any, event: TrainBegin) -> None:
        self.config = dict(event.config)


def test_train_begin_carries_the_options_of_a_trainer() -> None:
    begin = Begin()
    make_trainer(callbacks=[begin]).fit(clouds())
    config = begin.config
    assert (config["lr"], config["batch_size"], config["epochs"], config["seed"]) == (0.05, 16, 4, 1)
    assert config["optimizer"] == "Adam(beta1=0.9, beta2=0.999, eps=1e-08)"
    assert "Dropout(rate=0.3)" in config["network"]
    assert json.loads(json.dumps(config)) == config


def test_the_programs_of_the_page_run(capsys: pytest.CaptureFixture[str]) -> None:
    """docs/commands.md: a callback of five lines prints a line an epoch; a range test sets the learning rate."""
    page = (Path(__file__).parents[2] / "docs" / "commands.md").read_text(encoding="utf-8")
    find, callback, notebook = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    names: dict[str, Any] = {}
    exec(compile(callback, "commands.md", "exec"), names)
    first, *epochs = capsys.readouterr().out.splitlines()
    assert first == "SGD() 0.1"
    assert [line.split()[0] for line in epochs] == ["1", "2", "3"]
    class_lines = callback[callback.index("class") :].split("\n\n")[0].strip().splitlines()
    assert len(class_lines) == 5
    exec(compile(find, "commands.md", "exec"), names)
    assert 0 < names["trainer"].lr < 10
    exec(compile(notebook, "commands.md", "exec"), names)
    names["trainer"].epochs += 1
    names["trainer"].fit(names["data"].train)
    assert "epoch 4/4" in capsys.readouterr().out


def test_flat_settings_are_words_numbers_and_booleans() -> None:
    config = {"lr": 0.1, "hidden": (4, 3), "dropout": [], "device": None, "bias": True, "path": Path("a")}
    assert flat_config(config) == {"lr": 0.1, "hidden": "4 3", "dropout": "", "bias": True, "path": "a"}


@pytest.mark.usefixtures("two_clouds")
def test_an_unknown_logger_is_refused_before_data_is_read(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("train", "--data", "not-there.npz", "--log", "csv", "mlflow") == 2
    assert "--log 'mlflow' is not known. Choose one of csv, tensorboard, wandb, trackio" in said(capsys)
    assert not Path("runs").exists()


def test_a_library_that_is_missing_is_named_with_its_installation(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    with pytest.raises(UsageError, match=r"needs the package tensorboard, .* pip install tensorboard"):
        load_loggers(["tensorboard"])


@pytest.mark.usefixtures("two_clouds")
def test_an_entry_point_adds_a_logger(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A package with an entry point, as pip leaves it in site-packages."""
    site = tmp_path / "site"
    info = site / "losses-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: losses\nVersion: 1.0\n", encoding="utf-8")
    (info / "entry_points.txt").write_text(
        "[nnbackprop.loggers]\nlosses = losses_logger:for_run\nbroken = losses_logger:nothing\n",
        encoding="utf-8",
    )
    (site / "losses_logger.py").write_text(
        "import nnbackprop as nb\n"
        "class Losses(nb.Callback):\n"
        "    def __init__(self, path):\n"
        "        self.path = path\n"
        "    def epoch_end(self, trainer, event):\n"
        "        with open(self.path, 'a') as file:\n"
        "            print(event.epoch, event.train.loss, file=file)\n"
        "def for_run(run):\n"
        "    return Losses(run.run_dir.path / 'losses.txt')\n",
        encoding="utf-8",
    )
    monkeypatch.syspath_prepend(str(site))
    assert run("train", *WORDS, "--log", "losses", "--name", "a") == 0
    lines = Path("runs/a/losses.txt").read_text(encoding="utf-8").splitlines()
    kept = [f"{row['epoch']} {row['train_loss']}" for row in RunDir(Path("runs/a")).read_metrics()]
    assert lines == kept
    assert run("train", *WORDS, "--log", "broken") == 2
    assert "its entry point losses_logger:nothing cannot be loaded" in said(capsys)
