"""`nnbackprop doctor`: from a recipe, a run folder or a data set to one diagnosis."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from backends import select
from nnbackprop.data.catalog import open_source
from nnbackprop.data.tabular import TableSplits, to_raw
from nnbackprop.diagnostics.findings import Diagnosis, run_checks
from nnbackprop.diagnostics.monitor import RUN_CHECKS, Monitor, RunHistory, check_history
from nnbackprop.diagnostics.nan_tracing import trace_nan
from nnbackprop.errors import (
    DivergedError,
    ImageTooSmallError,
    InitialValueError,
    InputError,
    LabelError,
    OneHotError,
    RunFolderError,
    ScalingError,
    UsageError,
)
from nnbackprop.runs import build
from nnbackprop.runs.config import Config
from nnbackprop.runs.config_checks import check_config
from nnbackprop.runs.config_files import load_run_config, recipe_for, recipes, resolve
from nnbackprop.runs.run_data import RunData, data_options_of
from nnbackprop.runs.run_dir import RunDir
from nnbackprop.runs.settings import with_changes
from nnbackprop.runs.train import initialized_trainer
from nnbackprop.runs.trained_model import TrainedModel
from nnbackprop.training.callbacks import TimeLimit

from . import DATA_CHECKS, LAYER_CHECKS, START_CHECKS, TRAINED_CHECKS, DataProbe, ModelProbe
from .images import vanished
from .inputs import not_finite
from .labels import encoded_twice, out_of_range
from .learning import weights_hardly_changed
from .probes import MAX_SAMPLES
from .start import overflow

TRAINING_SECONDS = 3.0  # hundreds of steps of every recipe
RUN_SETTINGS = ("data", "backend", "device", "runs_dir", "resident")
OF_CLASSES = tuple(id for id in DATA_CHECKS if id.startswith(("labels-", "classes-", "images-column")))
"""Checks that numbers as targets have nothing to do with."""

UNUSABLE = ("labels-range", "labels-encoded-twice", "inputs-not-finite")
"""Faults of data on which no network can be built or trained."""


def diagnose(target: str | None, overrides: Mapping[str, Any]) -> Diagnosis:
    """Diagnose a recipe (mnist if nothing is named), a run, or, where `data` alone is given, a data set.

    target     a recipe's name or a TOML file; else a run folder, its name in `runs_dir`, or `last`
    overrides  settings by name, as flags give them
    """
    if target is None and "data" in overrides:
        return _check_data(resolve(*recipe_for(None, overrides)))[0]
    if target is None or target in recipes() or target.endswith(".toml"):
        return _diagnose_recipe(resolve(target or "mnist", dict(overrides)))
    return _diagnose_run(target, overrides)


def _diagnose_recipe(config: Config) -> Diagnosis:
    """The data, the network at its start, and a few seconds of training."""
    check_config(config)
    diagnosis, data = _check_data(config, config.n_outputs)
    of_network = {**START_CHECKS, **LAYER_CHECKS}
    if data is None:
        return Diagnosis.merge(diagnosis, Diagnosis(not_applicable=tuple(of_network)))
    config = build.resolve_task(config, data.train)
    try:
        initial = _initial_probe(config, data).subset(MAX_SAMPLES)
    except ImageTooSmallError as error:
        return Diagnosis.merge(diagnosis, Diagnosis((vanished(str(error)),), (), (*of_network, *RUN_CHECKS)))
    return Diagnosis.merge(diagnosis, run_checks(of_network, initial), _train_briefly(config, data))


def _diagnose_run(run: str, overrides: Mapping[str, Any]) -> Diagnosis:
    """The data, the start and, once there was a step, the weights of a run, and what it recorded."""
    if other := [name for name in overrides if name not in RUN_SETTINGS]:
        raise UsageError(
            f"A run is diagnosed as it was trained: leave out --{other[0].replace('_', '-')}, or name its "
            f"config.toml to diagnose that with changes. With a run go {', '.join(RUN_SETTINGS)}."
        )
    runs = Path(overrides.get("runs_dir", "runs"))
    run_dir = _open(runs, run)
    config = with_changes(
        load_run_config(run_dir.config_path), overrides, f"The run {run_dir.path} with the given flags"
    )
    diagnosis, data = _check_data(config, config.n_outputs)
    if data is None:
        not_applicable = (*START_CHECKS, *LAYER_CHECKS)
        return Diagnosis.merge(diagnosis, Diagnosis(not_applicable=not_applicable), _recorded(run_dir))
    initial = _initial_probe(config, data)
    model = TrainedModel.open(str(run_dir.path), runs, initial.backend)
    trained = replace(
        initial,
        objective=model.evaluator.objective,
        dataset=(data.test or data.train).with_classes(model.classes),
        scaling=model.evaluator.scaling,
        trained=model.params,
    )
    of_weights = run_checks(
        {**TRAINED_CHECKS, **LAYER_CHECKS, "rate-too-low": weights_hardly_changed}, trained.subset(MAX_SAMPLES)
    )
    of_start = run_checks(START_CHECKS, initial.subset(MAX_SAMPLES))
    return Diagnosis.merge(diagnosis, of_weights, of_start, _recorded(run_dir))


def _open(runs: Path, run: str) -> RunDir:
    try:
        return RunDir.open(runs, run)
    except RunFolderError as error:
        raise UsageError(
            f"{run!r} names no recipe ({', '.join(recipes())}), no .toml file and no run: {error}"
        ) from error


def _check_data(config: Config, n_outputs: int | None = None) -> tuple[Diagnosis, RunData | None]:
    """The diagnosis of the data, and the data, or None where nothing can be trained on it."""
    description: Mapping[str, str] = {}
    try:
        source = open_source(config.data, data_options_of(config))
        if isinstance(source, TableSplits):
            description = source.roles.description
        raw = to_raw(source) if isinstance(source, TableSplits) else source
    except (LabelError, InputError) as error:
        kinds = {OneHotError: encoded_twice, LabelError: out_of_range, InputError: not_finite}
        finding = next(finding for kind, finding in kinds.items() if isinstance(error, kind))
        return Diagnosis.merge(Diagnosis((finding(str(error)),), (), tuple(DATA_CHECKS), description)), None
    full_batch = config.batch_size == "full"
    probe = DataProbe(raw, config.scale, config.shuffle, full_batch, config.test_fraction, config.seed, n_outputs)
    numbers = raw.train.task != "classification"
    checks = {id: check for id, check in DATA_CHECKS.items() if not (numbers and id in OF_CLASSES)}
    about = Diagnosis((), (), OF_CLASSES if numbers else (), description)
    diagnosis = Diagnosis.merge(run_checks(checks, probe), about)
    unusable = any(f.id in UNUSABLE and f.level == "fault" for f in diagnosis.findings)
    return diagnosis, None if unusable else RunData.load(config)


def _initial_probe(config: Config, data: RunData) -> ModelProbe:
    """The network as a run of `config` starts it."""
    backend, train = select(config.backend, config.device), data.train
    objective = build.objective(config, build.n_outputs(config, train), train.image_shape)
    scaling, augment = build.scaling(config, train), build.augmentation(config)
    objective.network.summary(train.sample_shape)  # every layer fits
    return ModelProbe(backend, objective, train, scaling, config.params_dtype, config.seed, augment=augment)


def _train_briefly(config: Config, data: RunData) -> Diagnosis:
    """A few seconds of the run itself, with a monitor."""
    try:
        trainer = initialized_trainer(config, select(config.backend, config.device), data)
    except (InitialValueError, ScalingError) as error:
        return Diagnosis((overflow(str(error)),), (), tuple(RUN_CHECKS))
    monitor = Monitor()
    time_limit = TimeLimit(min(TRAINING_SECONDS, config.max_time or TRAINING_SECONDS))
    trainer.set_options(callbacks=(monitor, time_limit))
    try:
        trainer.fit(data.train, data.validation, data.test)
    except DivergedError as error:
        monitor.history.divergence = trace_nan(trainer, error)
    return monitor.diagnosis


def _recorded(run_dir: RunDir) -> Diagnosis:
    """The diagnosis that the run kept, and what its metrics show."""
    rows, kept = check_history(RunHistory.of_rows(run_dir.read_metrics())), run_dir.read_json("doctor.json")
    if kept is None:
        return rows
    try:
        return Diagnosis.merge(Diagnosis.from_json(kept), rows)
    except (ValueError, KeyError, TypeError) as error:
        raise RunFolderError(
            f"{run_dir.path / 'doctor.json'} cannot be read as a diagnosis ({error}): delete it, and the run is "
            "diagnosed by its metrics."
        ) from error
