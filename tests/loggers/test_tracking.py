"""Weights & Biases and Trackio, offline: what they keep on this machine is what the trainer recorded."""

from __future__ import annotations

import json
import sqlite3
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from nnbackprop.loggers.wandb import WandbLogger
from tests.support.small_runs import clouds, make_trainer

ROOT = Path(__file__).parents[2]
BLOCK, HEADER = 32768, struct.Struct("<IHB")  # of a LevelDB log: checksum, length, and which part of a record
FULL, LAST = 1, 4


def train(logger: str) -> str:
    """Train with a logger, in a process of its own; returns its standard output."""
    code = (
        "from tests.support.small_runs import *; from nnbackprop.loggers.wandb import WandbLogger; "
        f"make_trainer(callbacks=[{logger}]).fit(clouds(), test=clouds(seed=1))"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT, capture_output=True, text=True)
    return done.stdout


def assert_losses_and_metrics(rows: list[tuple[int, dict[str, Any]]]) -> None:
    """(step, values) as they were logged: those of the history of the same training."""
    history = make_trainer().fit(clouds(), test=clouds(seed=1))
    for name, want in (
        ("epoch", {row.step: row.epoch for row in history}),
        ("loss/train", {row.step: row.train.loss for row in history}),
        ("accuracy/test", {row.step: row.test.accuracy for row in history if row.test}),
        ("gradient_norm/dense1", {row.step: row.gradient_norms["dense1"] for row in history}),
    ):
        assert {step: values[name] for step, values in rows if name in values} == pytest.approx(want)
    assert sum("loss/chunk" in values for _, values in rows) >= len(history)


def wandb_records(path: Path) -> Iterator[Any]:
    """The records of an offline run's file: a LevelDB log of protobuf messages, after 7 bytes of its own."""
    from wandb.proto.wandb_internal_pb2 import Record

    content, at, record = path.read_bytes(), 7, b""
    while at + HEADER.size <= len(content):
        if (left := BLOCK - at % BLOCK) < HEADER.size:
            at += left
            continue
        _, length, part = HEADER.unpack_from(content, at)
        at += HEADER.size + length
        record += content[at - length : at]
        if part in (FULL, LAST):
            yield Record.FromString(record)
            record = b""


def test_only_a_training_that_goes_on_resumes_a_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """Trackio resumes by the name, which a run in another folder may have too."""
    begun = []
    library = SimpleNamespace(
        init=lambda **given: begun.append(given.get("resume")), log=lambda *_, **__: None, finish=lambda: None
    )
    monkeypatch.setitem(sys.modules, "wandb", library)
    trainer = make_trainer(epochs=1, callbacks=[WandbLogger("a")])
    trainer.fit(clouds())
    trainer.set_options(epochs=2)
    trainer.fit(clouds())
    assert begun == [None, "allow"]
    again = make_trainer(epochs=3, callbacks=[WandbLogger("a")])
    again.initialize(clouds())
    start = again.state_dict()
    again.fit(clouds())
    again.load_state_dict(start)  # as a run does that diverged in its first epoch
    again.fit(clouds())
    assert begun[2:] == [None, "allow"]


def test_an_offline_run_of_wandb_has_the_configuration_and_the_values_of_each_epoch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("wandb", reason="wandb is not installed")
    for name, value in (("WANDB_MODE", "offline"), ("WANDB_DIR", str(tmp_path)), ("WANDB_SILENT", "true")):
        monkeypatch.setenv(name, value)
    assert not train("WandbLogger('a')")  # the standard output is for --progress json
    (file,) = tmp_path.rglob("*.wandb")
    records = list(wandb_records(file))
    (begun,) = (record.run for record in records if record.WhichOneof("record_type") == "run")
    config = {update.key: json.loads(update.value_json) for update in begun.config.update}
    assert (begun.display_name, begun.project) == ("a", "nnbackprop")
    assert (config["lr"], config["batch_size"], config["epochs"]) == (0.05, 16, 4)
    histories = [record.history for record in records if record.WhichOneof("record_type") == "history"]
    assert_losses_and_metrics(
        [
            (h.step.num, {item.key or item.nested_key[0]: json.loads(item.value_json) for item in h.item})
            for h in histories
        ]
    )


def test_trackios_database_has_the_values_of_each_epoch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("trackio", reason="trackio is not installed")
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path))
    assert not train("WandbLogger('a', library='trackio')")
    (database,) = tmp_path.rglob("nnbackprop*.db")
    with sqlite3.connect(database) as connection:
        rows = connection.execute("select step, metrics from metrics order by id").fetchall()
    assert_losses_and_metrics([(step, json.loads(values)) for step, values in rows])
    train("WandbLogger('a', library='trackio')")
    with sqlite3.connect(database) as connection:
        counts = connection.execute("select count(*) from metrics group by run_id").fetchall()
    assert counts == [(len(rows),)] * 2  # another run of that name, and not more of the first
