"""A doctor's visit from beginning to end: from a recipe, a run folder or a data set to one diagnosis."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from backends import select
from nnbackprop.data import read
from nnbackprop.data.scaling import fit_scaling
from nnbackprop.diagnostics.findings import Diagnosis, Finding
from nnbackprop.diagnostics.monitor import judge_rows
from nnbackprop.diagnostics.monitor.checks import SIGNS
from nnbackprop.errors import (
    DataError,
    DivergedError,
    InitialValueError,
    InputError,
    LabelError,
    OneHotError,
    RunFolderError,
    ScalingError,
    UsageError,
)
from nnbackprop.runs import build
from nnbackprop.runs import config as configuration
from nnbackprop.runs import trainer_state as state
from nnbackprop.runs.checkpoint import load
from nnbackprop.runs.config import Config
from nnbackprop.runs.data_splits import DataSplits
from nnbackprop.runs.run_dir import RunDir
from nnbackprop.runs.trained_model import TrainedModel

from . import (
    BEHAVIOUR,
    DATA,
    START,
    ModelProbe,
    Samples,
    examine_data,
    examine_start,
    examine_trained,
    labels_encoded,
    labels_out_of_range,
    not_finite,
    overflow,
    skipped,
)

SECONDS = 3.0  # of training: hundreds of steps of every recipe
WITH_A_RUN = ("data", "backend", "device", "runs_dir", "resident")


def examine(target: str | None, overrides: Mapping[str, Any]) -> Diagnosis:
    """Examine a recipe (mnist if nothing is named), a run, or, where `data` alone is given, a data set.

    target     a recipe's name or a TOML file; else a run folder, its name in `runs_dir`, or `last`
    overrides  settings by name, as flags give them
    """
    if target is None and "data" in overrides:
        return of_data(configuration.resolve("mnist", dict(overrides)))
    if target is None or target in configuration.recipes() or target.endswith(".toml"):
        return of_recipe(configuration.resolve(target or "mnist", dict(overrides)))
    return of_run(target, overrides)


def of_data(config: Config) -> Diagnosis:
    """The checks of data, on data that may have any fault."""
    return _data(config)[0]


def of_recipe(config: Config) -> Diagnosis:
    """The data, the network at its start, and a few seconds of training."""
    build.check(config)
    data, parts = _data(config, outputs=config.outputs)
    if parts is None:
        return _merged(data, skipped((*START, *BEHAVIOUR)))
    subject = _at_start(config, parts)
    return _merged(data, examine_start(subject), _trained_briefly(config, parts))


def of_run(run: str, overrides: Mapping[str, Any]) -> Diagnosis:
    """The data, the start and, once there was a step, the weights of a run, and what it recorded."""
    if other := [name for name in overrides if name not in WITH_A_RUN]:
        raise UsageError(
            f"A run is examined as it was trained: leave out --{other[0].replace('_', '-')}, or name its "
            f"config.toml to examine that with changes. What may be given is {', '.join(WITH_A_RUN)}."
        )
    runs = Path(overrides.get("runs_dir", "runs"))
    folder = _folder(runs, run)
    kept = configuration.of_run(folder.config)
    settings = {name: value for name, value in asdict(kept).items() if value is not None}
    config = configuration.parse({**settings, **overrides}, f"The run {folder.path} with the given flags")
    data, parts = _data(config, outputs=config.outputs)
    recorded = _recorded(folder)
    if parts is None:
        return _merged(data, skipped((*START, *BEHAVIOUR)), recorded)
    if not _has_trained(folder):
        return _merged(data, _first_weights(config, parts), recorded)
    trained = TrainedModel.open(str(folder.path), runs, select(config.backend, config.device))
    judged = (parts.test or parts.train).with_classes(trained.classes)
    weights = ModelProbe(
        trained.inference.backend,
        trained.inference.objective,
        trained.params,
        judged,
        trained.inference.scaling,
        config.storage,
        config.seed,
        trained=True,
    )
    return _merged(data, examine_trained(weights), examine_start(_at_start(config, parts)), recorded)


def _has_trained(folder: RunDir) -> bool:
    """Whether a run's weights are others than those it began with."""
    return folder.checkpoint("best").is_file() or state.progress_of(load(folder.checkpoint("last"))).step > 0


def _first_weights(config: Config, parts: DataSplits) -> Diagnosis:
    """The start of a run that has made no step that is kept: of its behaviour, faults alone can be told."""
    start = examine_start(_at_start(config, parts))
    known = tuple(id for id in start.passed if id not in BEHAVIOUR)
    return _merged(replace(start, passed=known), skipped(BEHAVIOUR))


def _folder(runs: Path, run: str) -> RunDir:
    try:
        return RunDir.open(runs, run)
    except RunFolderError as error:
        recipes = ", ".join(configuration.recipes())
        raise UsageError(f"{run!r} names no recipe ({recipes}), no .toml file and no run: {error}") from error


def _data(config: Config, outputs: int | None = None) -> tuple[Diagnosis, DataSplits | None]:
    """What there is to say of the data, and its parts, or None where nothing can be trained on them."""
    try:
        tables = read(config.data)
    except DataError as error:
        return _unreadable(error), None
    samples = Samples(
        tables,
        scale=config.scale,
        shuffle=config.shuffle,
        full=config.batch_size == "full",
        test_fraction=config.test_fraction,
        seed=config.seed,
        outputs=outputs,
    )
    diagnosis = examine_data(samples)
    return diagnosis, DataSplits.load(config) if _usable(diagnosis) else None


def _usable(diagnosis: Diagnosis) -> bool:
    """Whether a network can be built and fed."""
    hopeless = ("labels-range", "labels-encoded-twice", "inputs-not-finite")
    return not any(f.id in hopeless and f.level == "fault" for f in diagnosis.findings)


def _unreadable(error: DataError) -> Diagnosis:
    """A file's fault as a finding, where it is one of the data rather than of the file."""
    evidence = str(error)
    found: Finding
    if isinstance(error, OneHotError):
        found = labels_encoded(evidence)
    elif isinstance(error, LabelError):
        found = labels_out_of_range(evidence, "Labels and samples do not belong together, one to one.")
    elif isinstance(error, InputError):
        found = not_finite(evidence)
    else:
        raise error
    return _merged(Diagnosis((found,)), skipped(DATA))


def _at_start(config: Config, parts: DataSplits) -> ModelProbe:
    """The network as a run of `config` begins it."""
    train = parts.train
    return ModelProbe.at_start(
        select(config.backend, config.device),
        build.objective(config, config.outputs or len(train.classes)),
        train,
        fit_scaling(config.scale, train),
        config.storage,
        config.seed,
    )


def _trained_briefly(config: Config, parts: DataSplits) -> Diagnosis:
    """What a few seconds of the run itself show."""
    limit = min(SECONDS, config.max_time or SECONDS)
    brief = replace(config, doctor=True, max_time=limit, patience=None)
    scaling = fit_scaling(config.scale, parts.train)
    trainer = build.trainer(brief, select(config.backend, config.device), parts.train, scaling)
    try:
        trainer.build(parts.train)
    except (InitialValueError, ScalingError) as error:
        return _merged(Diagnosis((overflow(str(error)),)), skipped(SIGNS))
    with contextlib.suppress(DivergedError):  # of which the diagnosis tells
        trainer.fit(parts.train, parts.validation, parts.test)
    return trainer.diagnosis


def _recorded(folder: RunDir) -> Diagnosis:
    """What the run's own doctor said, and what its rows show."""
    rows, said = judge_rows(folder.rows()), folder.read_json("doctor.json")
    if said is None:
        return rows
    try:
        return _merged(Diagnosis.from_json(said), rows)
    except (ValueError, KeyError, TypeError) as error:
        raise RunFolderError(
            f"{folder.path / 'doctor.json'} cannot be read as a diagnosis ({error}): delete it, and the run is "
            "judged by its rows."
        ) from error


def _merged(*parts: Diagnosis) -> Diagnosis:
    """Several examinations as one, in which an id stands once: found, else passed, else not applicable."""
    both = Diagnosis.together(parts)
    findings = {finding.id: finding for finding in reversed(both.findings)}
    passed = dict.fromkeys(id for id in both.passed if id not in findings)
    neither = dict.fromkeys(id for id in both.not_applicable if id not in findings and id not in passed)
    return Diagnosis(tuple(reversed(findings.values())), tuple(passed), tuple(neither))
