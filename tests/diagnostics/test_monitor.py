"""The monitor: when it measures, what it measures, what metrics.jsonl alone shows, and that runs are unchanged."""

from __future__ import annotations

import json
import math
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from backends import Backend, NumpyBackend, leaves, select
from backends.memory import raise_memory_error
from nnbackprop.data.dataset import Dataset
from nnbackprop.diagnostics.monitor import RUN_CHECKS, CurvePoint, Monitor, RunHistory, check_history
from nnbackprop.diagnostics.monitor.layer_stats import LayerStats, NetworkStats
from nnbackprop.diagnostics.nan_tracing import trace_nan
from nnbackprop.errors import DivergedError
from nnbackprop.nn.initializers import Normal
from nnbackprop.nn.layers import Dense, Dropout, Identity, ReLU, Sigmoid, Tanh
from nnbackprop.nn.losses import MeanSquaredError, SoftmaxCrossEntropy
from nnbackprop.nn.sequential import Sequential
from nnbackprop.optim import SGD, Adam
from nnbackprop.report.flags import with_flags
from nnbackprop.training.trainer import Trainer
from tests.support.commands import run
from tests.support.small_runs import Messages, clouds


def monitored(*layers: Any, max_time_share: float = math.inf, **settings: Any) -> tuple[Trainer, Monitor]:
    """A trainer and its monitor, whose measurements depend on the steps alone."""
    given = {"backend": select("numpy"), "epochs": 10, "batch_size": 12, "dtype": "float64", **settings}
    optimizer, lr = given.pop("optimizer", SGD()), given.pop("lr", 0.2)
    loss, monitor = given.pop("loss", SoftmaxCrossEntropy()), Monitor(max_time_share)
    return Trainer(Sequential(*layers), loss, optimizer, lr, callbacks=(monitor,), **given), monitor


def epochs(
    train: list[float], validation: list[float] | None = None, accuracy: float = 0.5
) -> list[dict[str, Any]]:
    """Rows of metrics.jsonl with the given losses, 100 steps an epoch."""
    return [
        {
            "epoch": i + 1,
            "step": 100 * (i + 1),
            "lr": 0.1,
            "train_loss": loss,
            "train_accuracy": accuracy,
            "validation_loss": validation[i] if validation else None,
        }
        for i, loss in enumerate(train)
    ]


# What is measured.


def test_a_measurement_is_of_the_next_step_and_the_gradients() -> None:
    """Full batch, no hidden layer: by hand, dJ/dz = (p - onehot) / n and the update is -lr x^T dJ/dz."""
    data = clouds(96)
    trainer, monitor = monitored(Dense(3, bias=False), batch_size=None, epochs=1, lr=0.5)
    trainer.initialize(data)
    W = np.array(trainer.params[0]["W"])
    trainer.fit(data)
    e = np.exp(data.inputs @ W)
    p, hot = e / e.sum(axis=1, keepdims=True), np.eye(3)[data.targets]
    stats = monitor.history.stats[0]
    (layer,) = stats.weighted
    assert layer.weight_norm == pytest.approx(np.linalg.norm(W), rel=1e-12)
    assert layer.update_norm == pytest.approx(0.5 * np.linalg.norm(data.inputs.T @ (p - hot) / 96), rel=1e-12)
    assert layer.dy_norm == pytest.approx(np.linalg.norm(p - hot) / 96, rel=1e-12)
    assert stats.loss == pytest.approx(-np.mean(np.log(p[np.arange(96), data.targets])), rel=1e-12)
    assert stats.accuracy == np.mean(np.argmax(p, axis=1) == data.targets)
    assert (stats.step, stats.samples, stats.lr) == (0, 96, 0.5)


def test_idle_units_are_counted_and_the_run_is_unchanged(backend: Backend) -> None:
    """Units whose biases are out of reach are dead or flat; the weights are those of a run without a monitor."""

    def run(share: float) -> tuple[Trainer, Monitor]:
        layers = Dense(4), ReLU(), Dropout(0.2), Dense(4), Sigmoid(), Dense(3)
        trainer, monitor = monitored(*layers, backend=backend, optimizer=Adam(), lr=0.01)
        trainer.initialize(clouds(96))
        trainer.state["params"][0]["b"] = backend.asarray(np.array([-1000.0, 0, 0, 0]))
        trainer.state["params"][3]["b"] = backend.asarray(np.array([1000.0, -1000.0, 0, 0]))
        trainer.set_options(callbacks=trainer.callbacks if share else ())
        trainer.fit(clouds(96))
        return trainer, monitor

    (a, monitor), (b, _) = run(1), run(0)
    shares = {
        layer.name: layer.inactive for layer in monitor.history.stats[0].layers if layer.inactive is not None
    }
    assert shares == {"relu1": 0.25, "sigmoid1": 0.5}
    for x, y in zip(leaves(a.state["params"]), leaves(b.state["params"]), strict=True):
        np.testing.assert_array_equal(backend.to_numpy(x), backend.to_numpy(y))
    assert [row.train for row in a.history] == [row.train for row in b.history]


def test_flat_outputs_count_where_they_are_wrong_alone() -> None:
    """An output of 1 for class a: right for a third of the samples, and each other sample has a wrong one."""
    data = clouds(96)
    trainer, monitor = monitored(
        Dense(3, weight_init=Normal(1e-9)), Sigmoid(), loss=MeanSquaredError(), epochs=1, lr=1e-9
    )
    trainer.initialize(data)
    trainer.state["params"][0]["b"][...] = [50.0, -50.0, -50.0]
    trainer.fit(data)
    assert monitor.history.stats[0].layers[1].inactive == pytest.approx(2 / 3)


# When.


@pytest.mark.parametrize("settings", [{}, {"batch_size": 1, "epochs": 30}, {"epochs": 2000, "batch_size": None}])
def test_measurements_are_few_and_span_the_run(settings: dict[str, Any]) -> None:
    trainer, monitor = monitored(Dense(4), Tanh(), Dense(3), **settings)
    trainer.fit(clouds(96))
    at = [stats.step for stats in monitor.history.stats]
    assert at[0] == 0
    assert at[-1] == trainer.progress.step
    assert at == sorted(set(at))
    assert 3 <= len(at) <= 60


def test_a_measurement_waits_until_its_cost_is_a_small_fraction_of_the_time() -> None:
    trainer, monitor = monitored(Dense(4), Tanh(), Dense(3), max_time_share=1e-9)
    trainer.fit(clouds(96))
    assert [stats.step for stats in monitor.history.stats][2:] == [trainer.progress.step]


@dataclass(frozen=True)
class Hungry(Identity):
    """Finds no memory for more than `most` rows."""

    most: int = 30

    def forward(self, xp: Any, params: Any, x: Any, key: Any) -> Any:
        if x.shape[0] > self.most:
            raise MemoryError(f"{x.shape[0]} rows")
        return super().forward(xp, params, x, key)


def test_a_monitor_without_memory_for_its_samples_takes_fewer() -> None:
    trainer, monitor = monitored(Dense(4), Hungry(), Dense(3), batch_size=96)
    trainer.fit(clouds(96))
    assert {stats.samples for stats in monitor.history.stats} == {16}
    assert "not-finite" in monitor.diagnosis.passed


def test_a_monitor_without_memory_at_all_gives_up_with_one_message() -> None:
    """Errors of a library's own are MemoryErrors where they come out of `scan`, and there alone."""

    class OwnErrors(NumpyBackend):
        def memory_errors(self) -> AbstractContextManager[None]:
            return raise_memory_error(RuntimeError, "RESOURCE_EXHAUSTED")

    class NoEvaluation(Identity):
        def forward(self, xp: Any, params: Any, x: Any, key: Any) -> Any:
            if key is None:
                raise RuntimeError("RESOURCE_EXHAUSTED: out of memory")
            return super().forward(xp, params, x, key)

    trainer, monitor = monitored(Dense(4), NoEvaluation(), Dense(3), backend=OwnErrors())
    messages = Messages()
    trainer.set_options(callbacks=(monitor, messages))
    trainer.fit(clouds(96))
    assert monitor.history.stats == []
    assert messages.texts == ["memory ran out in a measurement of the monitor: it makes no more of them"]
    assert monitor.history.curve[-1].step == 80


def test_a_long_curve_is_shortened_without_changing_its_mean() -> None:
    trainer, monitor = monitored(Dense(3), epochs=3000, batch_size=None, lr=1e-3)
    trainer.fit(clouds(96))
    curve = monitor.history.curve
    assert len(curve) < 1024
    assert curve[-1].step == 3000
    mean = sum(p.loss * p.samples for p in curve) / sum(p.samples for p in curve)
    assert mean == pytest.approx(np.mean([row.train.loss for row in trainer.history]), rel=1e-9)


# What is said.


def test_every_check_is_reported_once() -> None:
    for history in (RunHistory(), RunHistory.of_rows([]), RunHistory.of_rows(epochs([1.0, 0.9]))):
        diagnosis = check_history(history)
        assert sorted([*diagnosis.passed, *diagnosis.not_applicable]) == sorted(RUN_CHECKS)


def test_what_a_run_does_not_offer_is_not_applicable() -> None:
    """No ReLU, no validation part, two layers, no dropout, four steps."""
    trainer, monitor = monitored(Dense(3), Tanh(), Dense(3), epochs=1, batch_size=24)
    trainer.fit(clouds(96))
    assert monitor.diagnosis.passed == ("not-finite",)
    assert not monitor.diagnosis.findings


def diverge(trainer: Trainer) -> DivergedError:
    with pytest.raises(DivergedError) as error:
        trainer.fit(clouds(96))
    return error.value


def test_a_divergence_is_a_finding_with_its_step_and_layer() -> None:
    trainer, monitor = monitored(Dense(8), ReLU(), Dense(3), lr=lambda step: 1e200 if step == 9 else 0.1, epochs=5)
    fault = monitor.history.divergence = trace_nan(trainer, diverge(trainer))
    assert fault.step == 11
    assert fault.layer is not None
    finding = monitor.diagnosis.findings[0]
    assert (finding.id, finding.level, finding.evidence) == ("not-finite", "fault", fault.text)
    assert finding.evidence.startswith("Step 11: ")


def test_a_diverged_run_without_a_monitor_is_diagnosed_from_its_snapshot() -> None:
    """The snapshot is the state before the first step, which is far too long."""
    trainer, monitor = monitored(Dense(8), ReLU(), Dense(3), lr=1e150, epochs=5)
    fault = trace_nan(trainer, diverge(trainer))
    afterwards = Monitor.from_snapshot(trainer)
    monitor.history.divergence = afterwards.history.divergence = fault
    found = {finding.id: finding for finding in afterwards.diagnosis.findings}
    assert {"not-finite", "rate-too-high"} <= set(found)
    assert "Step 1 changes the weights" in found["rate-too-high"].evidence
    assert found == {finding.id: finding for finding in monitor.diagnosis.findings}


@pytest.mark.parametrize("lr", [1e3, 1e30])
def test_the_rate_to_try_after_a_divergence_trains(lr: float) -> None:
    layers = Dense(8), ReLU(), Dense(3)
    trainer, monitor = monitored(*layers, lr=lr, dtype="float32", loss=MeanSquaredError())
    monitor.history.divergence = trace_nan(trainer, diverge(trainer))
    fix = next(f.fix for f in monitor.diagnosis.findings if f.id == "rate-too-high")
    rate = float(fix.removeprefix("lr="))
    assert 1e-4 < rate <= 1
    again, monitor = monitored(*layers, lr=rate, dtype="float32", loss=MeanSquaredError(), epochs=100)
    assert again.fit(clouds(96))[-1].train.loss < again.history[0].train.loss
    assert monitor.diagnosis.healthy


def test_a_regression_leaves_checks_of_accuracy_out() -> None:
    x = clouds(96).inputs
    data = Dataset(x, x[:, :1] - 2 * x[:, 1:], ())
    trainer, monitor = monitored(Dense(8), Tanh(), Dense(1), loss=MeanSquaredError(), epochs=50)
    trainer.fit(data)
    assert monitor.diagnosis.healthy
    assert "plateau" in monitor.diagnosis.not_applicable


FALLING, RISING = [1.0, 0.8, 0.6, 0.5, 0.4, 0.3], [1.0, 0.9, 0.95, 1.1, 1.2, 1.3]
STILL = [2.3026, 2.3025, 2.3027, 2.3024, 2.3026, 2.3025, 2.3026, 2.3024]


@pytest.mark.parametrize(
    ("rows", "ids"),
    [
        (epochs(FALLING, RISING), ["overfitting"]),
        (epochs(FALLING, [1.0, 0.9, 0.92, 0.95, 0.97, 0.99]), []),  # within a tenth
        (epochs(FALLING, [1.0, 0.9, 1.5, 0.9, 1.5, 0.89]), []),  # noise
        (epochs(FALLING[::-1], RISING)[:2], []),
        (epochs([1.0, 0.9, 0.8, 2.5, 3.0]), ["rate-too-high"]),
        (epochs([1.0, 0.9, 0.8, 1.5, 1.9]), []),
        (epochs(STILL, accuracy=0.1), ["plateau"]),
        (epochs(STILL, accuracy=0.97), []),  # converged
        (epochs([2.3 - 0.1 * i for i in range(8)], accuracy=0.1), []),
        (epochs([-1 - 0.2 * i for i in range(10)]), []),  # as a likelihood of counts may be
        (epochs([-1.0, -1.1, -1.2, 0.5, 1.0]), ["rate-too-high"]),
        (epochs([-loss for loss in STILL], accuracy=0.1), ["plateau"]),
        (epochs([loss - 2 for loss in FALLING], [-1.0, -1.1, -1.0, -0.9, -0.8, -0.7]), ["overfitting"]),
        (epochs([loss - 2 for loss in FALLING], [-1.0, -1.1, -1.08, -1.06, -1.05, -1.04]), []),
        (epochs(FALLING, [1.0, 0.0, 0.1, 0.2, 0.3, 0.4]), ["overfitting"]),
        (epochs(STILL[:7], accuracy=0.1), []),
    ],
)
def test_rows_of_metrics_jsonl_alone_are_diagnosed(rows: list[dict[str, Any]], ids: list[str]) -> None:
    assert [finding.id for finding in check_history(RunHistory.of_rows(rows)).findings] == ids


def test_overfitting_is_a_note_after_early_stopping() -> None:
    (finding,) = check_history(
        replace(RunHistory.of_rows(epochs(FALLING, RISING)), stop_reason="early-stopping")
    ).findings
    assert (finding.id, finding.level) == ("overfitting", "note")


def stats(step: int, ratio: float, loss: float = 1.0, idle: LayerStats | None = None) -> NetworkStats:
    layers = (LayerStats("dense1", weight_norm=1.0, update_norm=ratio, dy_norm=1.0), *((idle,) if idle else ()))
    return NetworkStats(step, 256, 0.1, loss, 0.5, layers)


def relu(share: float, units: int = 64) -> LayerStats:
    return LayerStats("relu1", "relu", units, inactive=share)


def found_in(*run: NetworkStats) -> list[str]:
    curve = [CurvePoint(s.step + 1, s.loss, s.accuracy, s.lr) for s in run]
    return [finding.id for finding in check_history(RunHistory(list(run), curve, majority_fraction=0.1)).findings]


def test_a_small_ratio_counts_over_the_run_and_with_the_loss() -> None:
    assert found_in(stats(0, 1e-7), stats(50, 2e-7, 0.99)) == []  # 1e-3 would need a rate of 500
    lower = [replace(s, lr=1e-5) for s in (stats(0, 1e-7), stats(50, 2e-7, 0.99))]
    assert found_in(*lower) == ["rate-too-low"]
    assert found_in(replace(lower[0], layers=stats(0, 0.1).layers), lower[1]) == []  # as ex4 begins
    assert found_in(lower[0], replace(lower[1], loss=0.7)) == []  # it gets there
    below = [replace(s, loss=s.loss - 2) for s in lower]
    assert found_in(*below) == ["rate-too-low"]
    assert found_in(below[0], replace(below[1], loss=-1.3)) == []


def test_many_small_steps_that_reach_nothing_are_a_rate_too_low() -> None:
    assert found_in(stats(0, 5e-5), stats(1000, 5e-5, 0.99)) == ["rate-too-low"]
    assert found_in(stats(0, 5e-5), stats(10000, 5e-5, 0.99)) == []  # steps of half the weights' norm together


@pytest.mark.parametrize(
    ("shares", "ids"),
    [((0.0, 0.6, 0.7, 0.8), ["dead-relu"]), ((0.0, 0.6, 0.7, 0.1), []), ((0.0, 0.3, 0.3, 0.3), [])],
)
def test_units_that_come_back_are_not_dead(shares: tuple[float, ...], ids: list[str]) -> None:
    assert found_in(*(stats(20 * i, 1e-2, 1.0, relu(share)) for i, share in enumerate(shares))) == ids


def test_fractions_of_two_units_or_four_samples_are_not_judged() -> None:
    assert found_in(stats(50, 1e-2, 1.0, relu(1.0, units=2))) == []
    assert found_in(replace(stats(50, 1e-2, 1.0, relu(1.0)), samples=4)) == []


# On the command line.


@pytest.mark.usefixtures("two_clouds")
def test_a_run_with_a_doctor_keeps_its_diagnosis() -> None:
    assert run("train", "weight-height", "--epochs", "5", "--name", "a", "--doctor", "--progress", "off") == 0
    kept = json.loads(Path("runs/a/doctor.json").read_text(encoding="utf-8"))
    assert kept["findings"] == []
    assert {*kept["passed"], *kept["not_applicable"]} == set(RUN_CHECKS)


@pytest.mark.usefixtures("two_clouds")
@pytest.mark.parametrize("flags", [["--doctor"], []])
def test_findings_of_a_diverged_run_are_shown_and_its_error_has_their_fix(
    flags: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--data", "two.npz", "--hidden", "8", "--dropout", "0", "--lr", "1e30", "--name", "a", *flags]
    assert run("train", "mnist-original", *words, "--progress", "off") == 4
    finding, *_ = json.loads(Path("runs/a/doctor.json").read_text(encoding="utf-8"))["findings"]
    assert (finding["id"], finding["level"]) == ("not-finite", "fault")
    printed = capsys.readouterr()
    assert "not-finite" in printed.out
    assert f"try {with_flags(finding['fix'])}." in " ".join(printed.err.split())
