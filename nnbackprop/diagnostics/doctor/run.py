"""`nnbackprop doctor`: from a recipe, a run folder or a data set to one diagnosis."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from backends import select
from nnbackprop.data import read
from nnbackprop.data.scaling import fit_scaling
from nnbackprop.diagnostics.check import run_checks, skipped
from nnbackprop.diagnostics.findings import Diagnosis
from nnbackprop.diagnostics.monitor import RUN_CHECKS, History, check_history
from nnbackprop.errors import DataError, DivergedError, RunFolderError, UsageError
from nnbackprop.runs import build
from nnbackprop.runs import config as configuration
from nnbackprop.runs import trainer_state as state
from nnbackprop.runs.checkpoint import load
from nnbackprop.runs.config import Config
from nnbackprop.runs.data_splits import DataSplits
from nnbackprop.runs.run_dir import RunDir
from nnbackprop.runs.trained_model import TrainedModel

from . import DATA_CHECKS, START_CHECKS, TRAINED_CHECKS, ModelProbe, Samples
from .inputs import not_finite
from .labels import encoded_twice, out_of_range
from .model_probe import MOST
from .start import overflow

SECONDS = 3.0  # of training: hundreds of steps of every recipe
WITH_A_RUN = ("data", "backend", "device", "runs_dir", "resident")
OF_ERRORS = {"labels-encoded-twice": encoded_twice, "labels-range": out_of_range, "inputs-not-finite": not_finite}
"""Findings for errors of reading, by `NnbackpropError.finding`."""


def diagnose(target: str | None, overrides: Mapping[str, Any]) -> Diagnosis:
    """Diagnose a recipe (mnist if nothing is named), a run, or, where `data` alone is given, a data set.

    target     a recipe's name or a TOML file; else a run folder, its name in `runs_dir`, or `last`
    overrides  settings by name, as flags give them
    """
    if target is None and "data" in overrides:
        return _check_data(configuration.resolve("mnist", dict(overrides)))[0]
    if target is None or target in configuration.recipes() or target.endswith(".toml"):
        return _diagnose_recipe(configuration.resolve(target or "mnist", dict(overrides)))
    return _diagnose_run(target, overrides)


def _diagnose_recipe(config: Config) -> Diagnosis:
    """The data, the network at its start, and a few seconds of training."""
    build.check(config)
    data, parts = _check_data(config, outputs=config.outputs)
    if parts is None:
        return Diagnosis.merge(data, skipped(START_CHECKS))
    return Diagnosis.merge(data, _check_start(config, parts), _train_briefly(config, parts))


def _diagnose_run(run: str, overrides: Mapping[str, Any]) -> Diagnosis:
    """The data, the start and, once there was a step, the weights of a run, and what it recorded."""
    if other := [name for name in overrides if name not in WITH_A_RUN]:
        raise UsageError(
            f"A run is diagnosed as it was trained: leave out --{other[0].replace('_', '-')}, or name its "
            f"config.toml to diagnose that with changes. With a run go {', '.join(WITH_A_RUN)}."
        )
    runs = Path(overrides.get("runs_dir", "runs"))
    folder = _open(runs, run)
    settings = {k: v for k, v in asdict(configuration.of_run(folder.config)).items() if v is not None}
    config = configuration.parse({**settings, **overrides}, f"The run {folder.path} with the given flags")
    data, parts = _check_data(config, outputs=config.outputs)
    recorded = _recorded(folder)
    if parts is None:
        return Diagnosis.merge(data, skipped(START_CHECKS), recorded)
    start = _check_start(config, parts)
    if folder.checkpoint("best").is_file() or state.progress_of(load(folder.checkpoint("last"))).step > 0:
        return Diagnosis.merge(data, _check_trained(config, folder, runs, parts), start, recorded)
    # without a step, input-ignored may be found of the initial weights, and must not be said to have passed
    passed = tuple(id for id in start.passed if id not in TRAINED_CHECKS)
    return Diagnosis.merge(data, replace(start, passed=passed), skipped(TRAINED_CHECKS), recorded)


def _open(runs: Path, run: str) -> RunDir:
    try:
        return RunDir.open(runs, run)
    except RunFolderError as error:
        recipes = ", ".join(configuration.recipes())
        raise UsageError(f"{run!r} names no recipe ({recipes}), no .toml file and no run: {error}") from error


def _check_data(config: Config, outputs: int | None = None) -> tuple[Diagnosis, DataSplits | None]:
    """The diagnosis of the data, and its parts, or None where nothing can be trained on them."""
    try:
        tables = read(config.data)
    except DataError as error:
        if error.finding not in OF_ERRORS:
            raise
        found = OF_ERRORS[error.finding](str(error))
        return Diagnosis.merge(Diagnosis((found,)), skipped(DATA_CHECKS)), None
    samples = Samples(
        tables,
        scale=config.scale,
        shuffle=config.shuffle,
        full=config.batch_size == "full",
        test_fraction=config.test_fraction,
        seed=config.seed,
        outputs=outputs,
    )
    diagnosis = run_checks(DATA_CHECKS, samples)
    unusable = any(f.id in OF_ERRORS and f.level == "fault" for f in diagnosis.findings)
    return diagnosis, None if unusable else DataSplits.load(config)


def _check_start(config: Config, parts: DataSplits) -> Diagnosis:
    """The network as a run of `config` starts it."""
    train = parts.train
    probe = ModelProbe.at_start(
        select(config.backend, config.device),
        build.objective(config, config.outputs or len(train.classes)),
        train,
        fit_scaling(config.scale, train),
        config.storage,
        config.seed,
    )
    return run_checks(START_CHECKS, probe.few(MOST))


def _check_trained(config: Config, folder: RunDir, runs: Path, parts: DataSplits) -> Diagnosis:
    """The weights of a run, on its test part where there is one."""
    model = TrainedModel.open(str(folder.path), runs, select(config.backend, config.device))
    dataset, inference = (parts.test or parts.train).with_classes(model.classes), model.inference
    args = inference.backend, inference.objective, model.params, dataset, inference.scaling, config.storage
    return run_checks(TRAINED_CHECKS, ModelProbe(*args, config.seed, trained=True).few(MOST))


def _train_briefly(config: Config, parts: DataSplits) -> Diagnosis:
    """A few seconds of the run itself, with a monitor."""
    limit = min(SECONDS, config.max_time or SECONDS)
    brief = replace(config, doctor=True, max_time=limit, patience=None)
    scaling = fit_scaling(config.scale, parts.train)
    trainer = build.trainer(brief, select(config.backend, config.device), parts.train, scaling)
    try:
        trainer.build(parts.train)
    except (UsageError, DataError) as error:
        if error.finding != "initial-loss":
            raise
        return Diagnosis.merge(Diagnosis((overflow(str(error)),)), skipped(RUN_CHECKS))
    with contextlib.suppress(DivergedError):  # which the diagnosis reports
        trainer.fit(parts.train, parts.validation, parts.test)
    return trainer.diagnosis


def _recorded(folder: RunDir) -> Diagnosis:
    """The diagnosis that the run kept, and what its metrics show."""
    rows, kept = check_history(History.of_rows(folder.rows())), folder.read_json("doctor.json")
    if kept is None:
        return rows
    try:
        return Diagnosis.merge(Diagnosis.from_json(kept), rows)
    except (ValueError, KeyError, TypeError) as error:
        raise RunFolderError(
            f"{folder.path / 'doctor.json'} cannot be read as a diagnosis ({error}): delete it, and the run is "
            "diagnosed by its metrics."
        ) from error
