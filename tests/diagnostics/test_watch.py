"""The watch: when it looks, what it measures, what rows alone tell, and that it leaves the run as it was."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from nnbackprop.diagnostics.monitor.checks import SIGNS

from backends import Backend, leaves, select
from nnbackprop.cli import main
from nnbackprop.data.dataset import Dataset
from nnbackprop.diagnostics.findings import Finding
from nnbackprop.diagnostics.monitor import History, Point, judge_rows
from nnbackprop.diagnostics.monitor import checks as judge
from nnbackprop.diagnostics.monitor.activation_stats import ActivationStats, Units, Weighted
from nnbackprop.errors import DivergedError, UsageError
from nnbackprop.nn.initializers import Normal
from nnbackprop.nn.layers import Dense, Dropout, ReLU, Sigmoid, Tanh
from nnbackprop.nn.losses import MeanSquaredError, SoftmaxCrossEntropy
from nnbackprop.nn.sequential import Sequential
from nnbackprop.optim import SGD, Adam
from nnbackprop.training.trainer import Trainer

IDS = {
    "not-finite",
    "rate-too-high",
    "rate-too-low",
    "saturation",
    "dead-relu",
    "vanishing",
    "exploding",
    "plateau",
    "overfitting",
    "dropout-in-evaluation",
}


def points(n: int = 96) -> Dataset:
    rng = np.random.default_rng(0)
    labels = (np.arange(n) % 3).astype(np.int32)
    centres = np.array([[0.0, 1.0], [1.0, -1.0], [-1.0, -1.0]])
    return Dataset(centres[labels] + 0.3 * rng.standard_normal((n, 2)), labels, ("a", "b", "c"))


def make(*layers: Any, **settings: Any) -> Trainer:
    given = {"backend": select("numpy"), "epochs": 10, "batch_size": 12, "dtype": "float64", "doctor": True}
    given |= settings
    optimizer, lr, loss = (
        given.pop("optimizer", SGD()),
        given.pop("lr", 0.2),
        given.pop("loss", SoftmaxCrossEntropy()),
    )
    trainer = Trainer(Sequential(*layers), loss, optimizer, lr, **given)
    if trainer.watch:
        trainer.watch.share = 0
    return trainer


def epochs(train: list[float], validation: list[float] | None = None, **more: Any) -> list[dict[str, Any]]:
    """Rows of metrics.jsonl with the given losses, 100 steps an epoch."""
    return [
        {
            "epoch": i + 1,
            "step": 100 * (i + 1),
            "lr": 0.1,
            "train_loss": loss,
            "train_accuracy": 0.5,
            "validation_loss": validation[i] if validation else None,
            "gradient_norms": {"dense1": 1.0},
            **{name: values[i] for name, values in more.items()},
        }
        for i, loss in enumerate(train)
    ]


def found(rows: list[dict[str, Any]]) -> list[str]:
    return [finding.id for finding in judge_rows(rows).findings]


# What is measured.


def test_a_look_measures_the_next_step_and_the_way_back() -> None:
    """Full batch, no hidden layer: by hand, dJ/dz = (p - onehot) / n and the update is -lr x^T dJ/dz."""
    data = points()
    trainer = make(Dense(3, bias=None), batch_size=None, epochs=1, lr=0.5)
    trainer.build(data)
    W = np.array(trainer.params[0]["W"])
    trainer.fit(data)
    e = np.exp(data.inputs @ W)
    p, hot = e / e.sum(axis=1, keepdims=True), np.eye(3)[data.targets]
    look = trainer.watch.looks[0]
    (layer,) = look.weighted
    assert layer.weights == pytest.approx(np.linalg.norm(W), rel=1e-12)
    assert layer.update == pytest.approx(0.5 * np.linalg.norm(data.inputs.T @ (p - hot) / 96), rel=1e-12)
    assert layer.delta == pytest.approx(np.linalg.norm(p - hot) / 96, rel=1e-12)
    assert look.loss == pytest.approx(-np.mean(np.log(p[np.arange(96), data.targets])), rel=1e-12)
    assert look.accuracy == np.mean(np.argmax(p, axis=1) == data.targets)
    assert (look.step, look.samples, look.lr) == (0, 96, 0.5)


def test_idle_units_are_counted_and_nothing_is_changed(backend: Backend) -> None:
    """Units whose biases are out of reach are dead or flat; the run goes as it goes without a doctor."""

    def run(doctor: bool) -> Trainer:
        layers = Dense(4), ReLU(), Dropout(0.2), Dense(4), Sigmoid(), Dense(3)
        trainer = make(*layers, backend=backend, optimizer=Adam(), lr=0.01, doctor=doctor)
        trainer.build(points())
        trainer.state["params"][0]["b"] = backend.asarray(np.array([-1000.0, 0, 0, 0]))
        trainer.state["params"][3]["b"] = backend.asarray(np.array([1000.0, -1000.0, 0, 0]))
        trainer.fit(points())
        return trainer

    a, b = run(True), run(False)
    shares = {units.name: units.share for units in a.watch.looks[0].units}
    assert shares == {"relu1": 0.25, "sigmoid1": 0.5}
    assert "dropout-in-evaluation" in a.diagnosis.passed
    for x, y in zip(leaves(a.state["params"]), leaves(b.state["params"]), strict=True):
        np.testing.assert_array_equal(backend.to_numpy(x), backend.to_numpy(y))
    assert [row.train for row in a.history] == [row.train for row in b.history]


def test_flat_outputs_count_where_they_are_wrong_alone() -> None:
    """An output of 1 for class a: right for a third of the samples, and each other sample has a wrong one."""
    data = points()
    trainer = make(Dense(3, weights=Normal(1e-9)), Sigmoid(), loss=MeanSquaredError(), epochs=1, lr=1e-9)
    trainer.build(data)
    trainer.state["params"][0]["b"][...] = [50.0, -50.0, -50.0]
    trainer.fit(data)
    assert trainer.watch.looks[0].units[0].share == pytest.approx(2 / 3)


# When.


@pytest.mark.parametrize("settings", [{}, {"batch_size": 1, "epochs": 30}, {"epochs": 2000, "batch_size": None}])
def test_looks_are_few_and_span_the_run(settings: dict[str, Any]) -> None:
    trainer = make(Dense(4), Tanh(), Dense(3), **settings)
    trainer.fit(points())
    at = [look.step for look in trainer.watch.looks]
    assert at[0] == 0
    assert at[-1] == trainer.progress.step
    assert at == sorted(set(at))
    assert 3 <= len(at) <= 60


def test_a_look_waits_until_its_cost_is_a_small_share_of_the_time() -> None:
    trainer = make(Dense(4), Tanh(), Dense(3))
    trainer.watch.share = 1e9
    trainer.fit(points())
    assert [look.step for look in trainer.watch.looks][2:] == [trainer.progress.step]


def test_a_long_course_is_kept_short_without_losing_its_mean() -> None:
    trainer = make(Dense(3), epochs=3000, batch_size=None, lr=1e-3)
    trainer.fit(points())
    course = trainer.watch.course
    assert len(course) < 1024
    assert course[-1].step == 3000
    mean = sum(p.loss * p.samples for p in course) / sum(p.samples for p in course)
    assert mean == pytest.approx(np.mean([row.train.loss for row in trainer.history]), rel=1e-9)


# What is said.


def test_without_a_doctor_there_is_no_diagnosis() -> None:
    with pytest.raises(UsageError, match="doctor=True"):
        _ = make(Dense(3), doctor=False).diagnosis


def test_every_id_is_told_once_and_none_other() -> None:
    assert set(SIGNS) == IDS
    for diagnosis in (judge(History()), judge_rows([]), judge_rows(epochs([1.0, 0.9]))):
        told = [finding.id for finding in diagnosis.findings] + [*diagnosis.passed, *diagnosis.not_applicable]
        assert sorted(told) == sorted(IDS)


def test_what_a_run_does_not_offer_is_not_applicable() -> None:
    """No ReLU, no validation part, two layers, no dropout, four steps."""
    trainer = make(Dense(3), Tanh(), Dense(3), epochs=1, batch_size=24)
    trainer.fit(points())
    told = trainer.diagnosis
    assert {"dead-relu", "overfitting", "vanishing", "dropout-in-evaluation", "plateau", "rate-too-low"} <= set(
        told.not_applicable
    )
    assert told.passed == ("not-finite",)


def test_a_run_that_diverges_names_step_and_layer_as_its_error_does() -> None:
    trainer = make(Dense(8), ReLU(), Dense(3), lr=lambda step: 1e200 if step == 9 else 0.1, epochs=5)
    with pytest.raises(DivergedError) as error:
        trainer.fit(points())
    fault, told = trainer.watch.fault, trainer.diagnosis
    assert fault.step == 11
    assert fault.layer is not None
    finding = next(f for f in told.findings if f.id == "not-finite")
    assert finding.level == "fault"
    assert "Step 11: " in finding.evidence
    assert finding.evidence.rstrip(".") in str(error.value)


def test_of_an_unwatched_run_that_diverges_the_doctor_says_the_same() -> None:
    """Its look back is at the state the fault is replayed from: here the first, whose step is far too long."""
    network = Dense(8), ReLU(), Dense(3)
    watched, alone = (make(*network, lr=1e150, doctor=doctor, epochs=5) for doctor in (True, False))
    for trainer in watched, alone:
        with pytest.raises(DivergedError):
            trainer.fit(points())
    told = {finding.id: finding for finding in alone.diagnosis.findings}
    assert {"not-finite", "rate-too-high"} <= set(told)
    assert "step 1 changes the weights" in told["rate-too-high"].evidence
    assert told == {finding.id: finding for finding in watched.diagnosis.findings}


def test_overfitting_is_a_rise_of_the_validation_loss_that_lasts() -> None:
    falling = [1.0, 0.8, 0.6, 0.5, 0.4, 0.3]
    assert found(epochs(falling, [1.0, 0.9, 0.95, 1.1, 1.2, 1.3])) == ["overfitting"]
    assert not found(epochs(falling, [1.0, 0.9, 0.92, 0.95, 0.97, 0.99]))  # within a tenth
    assert not found(epochs(falling, [1.0, 0.9, 1.5, 0.9, 1.5, 0.89]))  # noise
    assert not found(epochs(falling[::-1], [1.0, 0.9, 0.95, 1.1, 1.2, 1.3])[:2])


def test_a_run_stopped_early_has_dealt_with_its_overfitting() -> None:
    rows = epochs([1.0, 0.8, 0.6, 0.5], [0.9, 1.1, 1.2, 1.3])
    (finding,) = judge(replace(History.of_rows(rows), stopped="early-stopping")).findings
    assert (finding.id, finding.level) == ("overfitting", "note")


def test_rows_tell_a_rate_too_high_and_gradients_that_explode() -> None:
    assert found(epochs([1.0, 0.9, 0.8, 2.5, 3.0])) == ["rate-too-high"]
    exploding = epochs([1.0, 1.2, 1.5], gradient_norms=[{"dense1": n} for n in (1.0, 60.0, 4000.0)])
    assert found(exploding) == ["exploding"]


def test_rows_tell_a_plateau() -> None:
    still = [2.3026, 2.3025, 2.3027, 2.3024, 2.3026, 2.3025, 2.3026, 2.3024]
    assert found(epochs(still, train_accuracy=[0.1] * 8)) == ["plateau"]
    assert not found(epochs(still, train_accuracy=[0.97] * 8))  # converged
    assert not found(epochs([2.3 - 0.1 * i for i in range(8)], train_accuracy=[0.1] * 8))
    assert not found(epochs(still[:7], train_accuracy=[0.1] * 7))


def vitals(step: int, ratio: float, loss: float = 1.0, units: tuple[Units, ...] = ()) -> ActivationStats:
    return ActivationStats(step, 256, 0.1, loss, 0.5, (Weighted("dense1", 1.0, ratio, 1.0),), units)


def judged(*looks: ActivationStats) -> list[str]:
    course = tuple(Point(look.step + 1, look.loss, look.accuracy, look.lr) for look in looks)
    return [finding.id for finding in judge(History(looks, course, commonest=0.1)).findings]


def test_a_small_ratio_counts_over_the_run_and_with_the_loss() -> None:
    assert judged(vitals(0, 1e-7), vitals(50, 2e-7, 0.99)) == []  # 1e-3 would need a rate of 500
    lower = [replace(look, lr=1e-5) for look in (vitals(0, 1e-7), vitals(50, 2e-7, 0.99))]
    assert judged(*lower) == ["rate-too-low"]
    assert judged(replace(lower[0], weighted=vitals(0, 0.1).weighted), lower[1]) == []  # as ex4 begins
    assert judged(lower[0], replace(lower[1], loss=0.7)) == []  # it gets there


def test_units_that_come_back_were_not_lost() -> None:
    def course(*shares: float) -> list[str]:
        looks = [vitals(20 * i, 1e-3, 1.0, (Units("relu1", "relu", 64, s),)) for i, s in enumerate(shares)]
        return judged(*looks)

    assert course(0.0, 0.6, 0.7, 0.8) == ["dead-relu"]
    assert course(0.0, 0.6, 0.7, 0.1) == []
    assert course(0.0, 0.3, 0.3, 0.3) == []


def test_a_layer_of_two_units_or_four_samples_says_nothing_of_shares() -> None:
    two = vitals(50, 1e-3, 1.0, (Units("relu1", "relu", 2, 1.0),))
    assert judged(two) == []
    assert judged(replace(two, samples=4, units=(Units("relu1", "relu", 64, 1.0),))) == []


# On the command line.


def run(*words: str) -> int:
    with pytest.raises(SystemExit) as stop:
        main(["train", "weight-height", *words])
    return int(stop.value.code or 0)


def test_a_run_with_a_doctor_keeps_its_diagnosis(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert run("--epochs", "5", "--name", "a", "--doctor", "--progress", "off") == 0
    told = json.loads(Path("runs/a/doctor.json").read_text())
    assert told["findings"] == []
    assert {*told["passed"], *told["not_applicable"]} == IDS


@pytest.mark.parametrize("flags", [["--doctor"], []])
def test_findings_are_shown_also_of_a_run_that_diverges(
    flags: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    table = {"X": np.random.default_rng(0).standard_normal((40, 3)), "y": np.arange(40) % 2}
    np.savez("two.npz", **table)
    words = ["--data", "two.npz", "--epochs", "2", "--lr", "1e30", *flags, "--progress", "off", "--dtype"]
    words += ["float32", "--output", "identity", "--activation", "relu", "--outputs", "2", "--name", "a"]
    assert run(*words) == 4
    told = json.loads(Path("runs/a/doctor.json").read_text())
    assert told["findings"][0]["id"] == "not-finite"
    assert Finding(**told["findings"][0]).level == "fault"
    assert "not-finite" in capsys.readouterr().out
