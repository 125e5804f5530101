"""The cheapest of the forty healthy runs, each recipe among them: a finding here would be a false alarm."""

from __future__ import annotations

import pytest

from nnbackprop.diagnostics.monitor import RunHistory, check_history
from nnbackprop.runs.config_files import resolve
from nnbackprop.training.history import row
from tests.support.healthy_runs import RUNS, HealthyRun, trained

CHEAP = [run for run in RUNS if run.cheap]


def test_the_40_runs_cover_every_recipe_and_optimizer() -> None:
    assert len(RUNS) == 40
    assert {run.recipe for run in RUNS} == {"mnist", "mnist-original", "ex4", "rashid", "weight-height"}
    optimizers = {"sgd", "momentum", "nesterov", "rmsprop", "adagrad", "adam", "adamw"}
    assert {resolve(run.recipe, run.overrides).optimizer for run in RUNS} == optimizers
    assert {run.recipe for run in CHEAP} == {run.recipe for run in RUNS}


@pytest.mark.parametrize("run", CHEAP, ids=str)
def test_a_healthy_run_gives_no_alarm(run: HealthyRun) -> None:
    trainer, monitor = trained(run)
    assert monitor.diagnosis.healthy, monitor.diagnosis
    rows = check_history(RunHistory.of_rows(row(event) for event in trainer.history))
    assert rows.healthy, rows
