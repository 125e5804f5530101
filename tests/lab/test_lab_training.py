"""A run made in the lab is an ordinary run: the same weights, paused or not, and the same files."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nnbackprop.diagnostics.replay import replay
from nnbackprop.errors import UsageError
from nnbackprop.lab.trainer_process import TrainerProcess
from nnbackprop.lab.worker import Job
from nnbackprop.runs.checkpoint import load
from nnbackprop.runs.config_files import load_run_config, resolve
from nnbackprop.runs.run_dir import RunDir
from nnbackprop.runs.train import start
from tests.support.lab_client import Client, serving, wait_until

pytest.importorskip("starlette", reason="starlette is not installed")
pytest.importorskip("uvicorn", reason="uvicorn is not installed")

EPOCHS = 30
SETTINGS: dict[str, Any] = {"recipe": "weight-height", "epochs": EPOCHS}
LONG: dict[str, Any] = SETTINGS | {"epochs": 10_000}


@pytest.fixture
def client(tmp_path: Path) -> Iterator[Client]:
    with serving(tmp_path / "runs") as (_, client):
        yield client


def last(folder: Path) -> dict[str, np.ndarray]:
    """The arrays of a run's last checkpoint."""
    return load(folder / "checkpoints" / "last.safetensors").arrays


def ordinary_run(tmp_path: Path) -> dict[str, np.ndarray]:
    with start(resolve("weight-height", {"epochs": EPOCHS, "runs_dir": str(tmp_path / "plain")})) as run:
        run.fit()
    return last(tmp_path / "plain" / "weight-height")


def rows_of(events: list[tuple[str, Any]], name: str) -> list[Any]:
    return [row for kind, data in events if kind in ("progress", "history") for row in data[name]]


def test_a_run_has_the_bits_and_the_files_of_nnbackprop_train(client: Client, tmp_path: Path) -> None:
    state, events = client.train_to_end(**SETTINGS)
    run = tmp_path / "runs" / state["run"]
    assert (state["status"], state["reason"], state["step"]) == ("finished", "finished", 4 * EPOCHS)
    for name, array in ordinary_run(tmp_path).items():
        np.testing.assert_array_equal(last(run)[name], array)
    written = {path.name for path in run.iterdir()}
    assert {"config.toml", "metrics.jsonl", "summary.json", "env.json", "doctor.json", "checkpoints"} <= written
    (summary,) = [data["summary"] for kind, data in events if kind == "end"]
    assert summary == RunDir(run).read_json("summary.json")


def test_events_tell_the_layers_the_curves_and_the_norms(client: Client, tmp_path: Path) -> None:
    state, events = client.train_to_end(**SETTINGS)
    (begin,) = [data for kind, data in events if kind == "begin"]
    assert [layer["name"] for layer in begin["layers"]] == ["dense1", "sigmoid1", "dense2", "sigmoid2"]
    assert (begin["steps_per_epoch"], begin["n_samples"]["train"], begin["first_step"]) == (4, 4, 0)
    chunks, epochs = rows_of(events, "chunks"), rows_of(events, "epochs")
    assert [chunk["step"] for chunk in chunks] == sorted({chunk["step"] for chunk in chunks})
    assert set(chunks[-1]["gradient_norms"]) == {"dense1", "dense2"}
    row = RunDir(tmp_path / "runs" / state["run"]).read_metrics()[-1]
    assert (epochs[-1]["epoch"], epochs[-1]["train"]["loss"]) == (EPOCHS, row["train_loss"])
    assert epochs[-1]["test"] is None


def test_pauses_and_single_steps_leave_the_bits_as_they_are(client: Client, tmp_path: Path) -> None:
    client.post("/api/train", **LONG)
    client.wait("running")
    client.post("/api/control", action="pause")
    step = client.wait("paused")["step"]
    for more in (1, 2):
        client.post("/api/control", action="step")
        wait_until(lambda more=more: client.wait("paused")["step"] == step + more)
    client.post("/api/control", action="stop")
    state = client.wait("stopped")
    assert (state["step"], state["reason"]) == (step + 2, "interrupted")
    found = replay(state["run"], {}, tmp_path / "runs")
    assert found.exact
    assert found.steps == step + 2


def test_another_learning_rate_while_it_runs_is_recorded_and_replayed(client: Client, tmp_path: Path) -> None:
    client.post("/api/train", **LONG)
    client.wait("running")
    client.post("/api/control", action="set", lr=0.02)
    wait_until(lambda: client.wait("running")["lr"] == 0.02)
    client.post("/api/control", action="pause")
    step = client.wait("paused")["step"]
    client.post("/api/control", action="step")
    wait_until(lambda: client.wait("paused")["step"] == step + 1)
    client.post("/api/control", action="stop")
    run = client.wait("stopped")["run"]
    assert "lr_changes = [\n    [" in (tmp_path / "runs" / run / "config.toml").read_text(encoding="utf-8")
    assert replay(run, {}, tmp_path / "runs").exact


def test_other_dropout_rates_while_it_runs_are_recorded_resumed_and_replayed(
    client: Client, tmp_path: Path
) -> None:
    client.post("/api/train", recipe="iris", hidden=[8, 8], dropout=[0.0, 0.2, 0.2], epochs=10_000)
    assert client.wait("running")["dropout"] == [0.2, 0.2]
    status, answer = client.ask("/api/control", action="set", dropout=[0.5])
    assert (status, answer["error"]["kind"]) == (422, "usage")
    client.post("/api/control", action="set", dropout=[0.5, 0.0])
    wait_until(lambda: client.wait("running")["dropout"] == [0.5, 0.0])
    client.post("/api/control", action="stop")
    run = client.wait("stopped")["run"]
    (change,) = load_run_config(tmp_path / "runs" / run / "config.toml").dropout_changes
    assert change[1] == (0.5, 0.0)
    client.post("/api/control", action="resume")
    assert client.wait("running")["dropout"] == [0.5, 0.0]
    client.post("/api/control", action="pause")
    assert client.wait("paused")["step"] > change[0]
    client.post("/api/control", action="stop")
    client.wait("stopped")
    assert replay(run, {}, tmp_path / "runs").exact
    config = replace(load_run_config(tmp_path / "runs" / run / "config.toml"), runs_dir=str(tmp_path / "again"))
    with pytest.raises(UsageError, match="dropout_changes"), start(config):
        pass


def test_a_stopped_run_goes_on_to_the_end_it_would_have_had(client: Client, tmp_path: Path) -> None:
    client.post("/api/train", **SETTINGS, seed=0)
    client.post("/api/control", action="step")  # it makes one step, however fast it is
    state = client.wait("paused")
    client.post("/api/control", action="stop")
    client.wait("stopped")
    client.post("/api/control", action="resume")
    assert client.wait("finished")["run"] == state["run"]
    for name, array in ordinary_run(tmp_path).items():
        np.testing.assert_array_equal(last(tmp_path / "runs" / state["run"])[name], array)


def test_a_finished_run_goes_on_for_more_epochs(client: Client) -> None:
    state, _ = client.train_to_end(**SETTINGS)
    client.post("/api/control", action="resume", run=state["run"], epochs=EPOCHS + 5)
    wait_until(lambda: client.wait("finished")["epochs"] == EPOCHS + 5)
    assert client.wait("finished")["epoch"] == EPOCHS + 5


def test_a_run_of_the_disk_that_goes_on_keeps_its_curves_and_findings(tmp_path: Path) -> None:
    ordinary_run(tmp_path)
    found = {"findings": [{"id": "overfitting", "level": "note"}]}
    (tmp_path / "plain" / "weight-height" / "doctor.json").write_text(json.dumps(found), encoding="utf-8")
    with serving(tmp_path / "plain", run="last") as (server, client):
        assert client.history()["state"]["steps_per_epoch"] == 4
        server.lab.session.history.add("message", {"text": "said before"})
        client.post("/api/control", action="resume", epochs=EPOCHS + 1)
        client.post("/api/control", action="step")
        client.wait("paused")
        history = client.history()
        assert [row["epoch"] for row in history["epochs"]] == [*range(1, EPOCHS + 1)]
        assert history["findings"] == found["findings"]
        assert {"text": "said before"} in history["messages"]


def test_a_page_that_opens_late_and_another_one_see_the_same(client: Client) -> None:
    client.post("/api/train", **LONG)
    client.wait("running")
    client.post("/api/control", action="pause")
    step = client.wait("paused")["step"]
    histories = [client.history() for _ in range(2)]
    assert histories[0] == histories[1]
    assert histories[0]["chunks"][-1]["step"] == step
    assert histories[0]["begin"]["run"] == histories[0]["state"]["run"]


def test_two_pages_are_told_the_same_events(client: Client) -> None:
    with client.events() as one, client.events() as other:
        seen: list[list[tuple[str, Any]]] = [[next(one)], [next(other)]]
        client.post("/api/train", **SETTINGS)
        for events, kept in zip((one, other), seen, strict=True):
            for event in events:
                kept.append(event)
                if event[0] == "end":
                    break
    assert seen[0] == seen[1]


def test_one_trainer_at_a_time(client: Client) -> None:
    client.post("/api/train", **LONG)
    status, answer = client.ask("/api/train", **SETTINGS)
    assert (status, answer["error"]["kind"]) == (409, "busy")
    client.wait("running")
    assert client.ask("/api/control", action="resume", run="weight-height")[0] == 409


def test_what_does_not_go_with_the_state_is_refused(client: Client) -> None:
    for action in ("pause", "stop"):
        assert client.ask("/api/control", action=action)[0] == 409
    assert client.ask("/api/control", action="resume")[0] == 404
    assert client.ask("/api/control", action="set", lr=0.1)[0] == 409


def test_reset_stops_and_empties_the_curves_and_keeps_the_run(client: Client, tmp_path: Path) -> None:
    client.post("/api/train", **LONG)
    run = client.wait("running")["run"]
    client.post("/api/control", action="reset")
    wait_until(lambda: client.history()["state"]["status"] == "idle")
    history = client.history()
    assert (history["begin"], history["chunks"], history["epochs"]) == (None, [], [])
    assert last(tmp_path / "runs" / run)


def test_a_run_that_diverges_says_at_which_layer_and_what_to_try(client: Client) -> None:
    state, events = client.train_to_end(recipe="house-prices", epochs=50, optimizer="sgd", lr=1e3)
    assert state["status"] == "failed"
    assert client.history()["state"]["error"] == state["error"]  # a page that is loaded anew is told
    assert "learning rate" in state["error"]
    assert "--" not in state["error"]  # a page has no flags
    findings = [finding for kind, data in events if kind == "findings" for finding in data["findings"]]
    assert "not-finite" in {finding["id"] for finding in findings}
    assert not [finding for finding in findings if "--" in finding["fix"]]


@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL on Windows")
def test_a_trainer_that_is_killed_is_reported_and_its_run_goes_on(tmp_path: Path) -> None:
    with serving(tmp_path / "runs") as (server, client):
        client.post("/api/train", **LONG)
        run = client.wait("running")["run"]
        os.kill(server.lab.session._trainer.pid, signal.SIGKILL)
        assert "SIGKILL" in client.wait("failed")["error"]
        client.post("/api/control", action="resume")
        assert client.wait("running")["run"] == run


@pytest.mark.skipif(sys.platform == "win32", reason="Windows blocks no signal")
def test_an_interrupt_while_the_trainer_starts_is_left_to_the_server(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Ctrl-C in a terminal goes to the server and the trainer alike; the former tells the latter to stop."""
    process = TrainerProcess(Job(config=resolve("weight-height", {"runs_dir": str(tmp_path), "progress": "off"})))
    assert process.pid is not None
    os.kill(process.pid, signal.SIGINT)
    process.send("mode", "stop")
    ends = [data for kind, data in process.messages() if kind == "end"]
    assert [end["state"]["status"] for end in ends] == ["idle"]  # it made no step, and left nothing
    assert "Traceback" not in capfd.readouterr().err
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, ())


def test_the_end_of_the_server_saves_the_run(tmp_path: Path) -> None:
    with serving(tmp_path / "runs") as (_, client):
        client.post("/api/train", **LONG)
        run = client.wait("running")["run"]
    assert not RunDir(tmp_path / "runs" / run).in_use
    assert replay(run, {}, tmp_path / "runs").exact


def test_a_run_of_another_process_is_followed_to_its_end_and_not_steered(tmp_path: Path) -> None:
    config = resolve("weight-height", {"epochs": 20, "runs_dir": str(tmp_path / "runs")})
    with serving(tmp_path / "runs") as (server, client):
        with start(config) as other:
            other._write_start()  # as its first step does
            server.lab.session.show("weight-height")
            state = client.history()["state"]
            assert (state["status"], state["elsewhere"]) == ("running", True)
            for action in ("pause", "stop", "resume"):
                assert client.ask("/api/control", action=action)[0] == 409
            other.fit()
        wait_until(lambda: client.history()["state"]["status"] == "finished")
        assert [row["epoch"] for row in client.history()["epochs"]] == [*range(1, 21)]


def test_a_run_of_another_process_whose_folder_is_deleted_is_followed_no_longer(tmp_path: Path) -> None:
    config = resolve("weight-height", {"epochs": 20, "runs_dir": str(tmp_path / "runs")})
    with serving(tmp_path / "runs") as (server, client):
        with start(config) as other:
            other._write_start()
            server.lab.session.show("weight-height")
            assert client.history()["state"]["elsewhere"]
            (tmp_path / "runs" / "weight-height").rename(tmp_path / "moved")
            wait_until(lambda: client.history()["state"]["status"] == "stopped")
            assert not client.history()["state"]["elsewhere"]
            (tmp_path / "moved").rename(tmp_path / "runs" / "weight-height")
        client.post("/api/control", action="reset")
        assert client.history()["state"]["status"] == "idle"


def test_a_run_that_exists_is_shown_with_its_curves(tmp_path: Path) -> None:
    ordinary_run(tmp_path)
    with serving(tmp_path / "plain", run="last") as (_, client):
        history = client.history()
    assert (history["state"]["status"], history["state"]["run"]) == ("finished", "weight-height")
    assert [row["epoch"] for row in history["epochs"]] == [*range(1, EPOCHS + 1)]
