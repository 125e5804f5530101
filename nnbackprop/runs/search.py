"""A search over settings by Optuna: trials trained in turn, stored in SQLite, so that processes may share them.

A trial is claimed under a lock of the search's folder, and its process holds another while it trains. So a trial
whose process was killed is known, and trained again under its own number.
"""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from nnbackprop._files import write_atomically
from nnbackprop.distributed.communicator import Communicator, SingleProcess
from nnbackprop.errors import DataError, DivergedError, OutOfMemoryError, RunFolderError, UsageError
from nnbackprop.training.callbacks import Callback, EarlyStopping, TimeLimit
from nnbackprop.training.events import EpochEnd
from nnbackprop.training.trainer import Trainer

from . import build
from .config import Config
from .config_checks import check_config
from .config_files import to_toml
from .lr_find import resolve_lr
from .process_setup import check_same_options, prepare_process
from .run_data import RunData, data_options_of
from .run_dir import RunDir
from .search_result import SearchResult, TrialRow, importances
from .search_space import Range, SearchFile
from .train import initialized_trainer, open_backend

OnTrial = Callable[[TrialRow, int], None]
"""Gets a trial that ended, and the number of trials planned."""


def import_optuna() -> Any:
    """Optuna, imported; UsageError says how to install it."""
    try:
        import optuna
    except ImportError as error:
        raise UsageError(
            f"nnbackprop search needs Optuna, which cannot be imported ({error}). Install it: "
            'pip install "optuna>=5", or the extra: pip install "nnbackprop[search]"'
        ) from error
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna


def search(file: SearchFile, on_trial: OnTrial, communicator: Communicator | None = None) -> SearchResult:
    """Train what is left of a search's trials, and write the best one's settings to best.toml in its folder.

    Processes that were started together each train their own trials, and end when all have been trained.

    Raises:
        UsageError: Optuna is not installed; there is no validation part; the folder is that of another search.
        RunFolderError: it is no search's folder, or cannot be written to.
    """
    import_optuna()
    communicator = communicator or SingleProcess()
    check_same_options(communicator, file.definition)
    prepare_process(communicator, file.config)
    data = TrialData()
    if data.of(file.config).validation is None:
        raise UsageError(
            "A search compares validation losses and there is no validation part: keep some of the training data "
            f"for it, with validation = 0.1 above [search] in the file of {file.name}."
        )
    path = _folder(file)
    with _worker(path) as worker:
        study = _open_study(file, path)
        while (trial := _claim(file, path, study, worker)) is not None:
            _train(file, study, trial, data)
            on_trial(TrialRow.of(study.trials[trial.number]), file.trials)
            _write_best(file, path, study)
        communicator.all_gather_object(None)  # the last trials of the others
        _write_best(file, path, study)  # of a search that was killed before it could, or has other tags now
    return SearchResult(path, file.trials, tuple(map(TrialRow.of, study.trials)), importances(study))


@dataclass(eq=False)
class TrialData:
    """The training and validation parts of the trials, without the test part; the last are kept."""

    kept: dict[Any, RunData] = field(default_factory=dict)

    def of(self, config: Config) -> RunData:
        """The parts that a configuration reads; the split is the same in all trials."""
        key = (repr(data_options_of(config)), config.class_weight)
        if key not in self.kept:
            self.kept = {key: replace(RunData.load(config), test=None)}
        return self.kept[key]


@dataclass(eq=False)
class PruningCallback(Callback):
    """Reports the validation loss of each epoch, and ends a trial that is worse than the median of the others.

    The loss is that of the data alone: with penalties, trials of other `l1` and `l2` could not be compared.
    """

    trial: Any
    losses: dict[int, float] = field(default_factory=dict)  # by epoch

    def __post_init__(self) -> None:
        frozen = self.trial.study.trials[self.trial.number]
        self.reported = max(frozen.intermediate_values, default=0)  # by a process that was killed

    def epoch_end(self, trainer: Trainer, event: EpochEnd) -> None:
        """Report and, where the median of the other trials is better, prune."""
        assert event.validation is not None
        loss = event.validation.loss
        if trainer.penalty is not None:
            penalty = trainer.penalty.loss(trainer.backend.xp, trainer.network, trainer.eval_params)
            loss -= float(trainer.backend.to_numpy(penalty))
        self.losses[event.epoch] = loss
        if event.epoch <= self.reported:
            return
        self.trial.report(loss, event.epoch)
        if self.trial.should_prune() and event.epoch < trainer.epochs:
            raise import_optuna().TrialPruned


def _train(file: SearchFile, study: Any, trial: Any, data: TrialData) -> None:
    """Train a trial to its end, or until it is pruned, and tell the study."""
    optuna, outcome, callback = import_optuna(), "pruned", PruningCallback(trial)
    try:
        config = file.config_of(trial.params)
        early_stopping = EarlyStopping(config.patience)
        check_config(config)
        backend, parts = open_backend(config), data.of(config)
        config = resolve_lr(build.resolve_task(config, parts.train), backend, parts)
        trainer = initialized_trainer(config, backend, parts)
        time_limit = () if config.max_time is None else (TimeLimit(config.max_time),)
        plateau = build.plateau_callbacks(config)
        trainer.set_options(callbacks=(early_stopping, *plateau, callback, *time_limit))
        trainer.fit(parts.train, parts.validation)
    except optuna.TrialPruned:
        pass
    except DivergedError:
        outcome = "diverged"
    except (UsageError, DataError) as error:  # settings that do not go together, or not with the data
        outcome = f"refused: {error}"
    except OutOfMemoryError as error:
        outcome = f"out of memory: {error}"
    else:
        outcome = "complete" if early_stopping.best_epoch else "no epoch"
    trial.set_user_attr("epochs", max(callback.losses, default=0))
    trial.set_user_attr("outcome", outcome)
    if outcome == "complete":
        trial.set_user_attr("best_epoch", early_stopping.best_epoch)
        study.tell(trial, callback.losses[early_stopping.best_epoch])
    else:
        study.tell(trial, state=optuna.trial.TrialState.PRUNED)


def _folder(file: SearchFile) -> Path:
    """The search's folder, made if need be."""
    if Path(file.name).name != file.name or file.name in ("", ".", ".."):
        raise UsageError(
            f"{file.name!r} cannot be the name of a search: give name one word, and runs_dir its place."
        )
    path = Path(file.config.runs_dir) / file.name
    names = {entry.name for entry in path.iterdir()} if path.exists() else set()
    if names and "workers" not in names:
        raise RunFolderError(
            f"{path} is there and holds no search: give the search another name, by name = ... in its file, or "
            "move the folder away."
        )
    try:
        (path / "workers").mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunFolderError(
            f"The search's folder {path} could not be made ({error.strerror}): choose a place you may write to, "
            "by runs_dir = ... in its file."
        ) from error
    return path


@contextlib.contextmanager
def _mutex(path: Path) -> Iterator[None]:
    """Within it no other process claims a trial of the search; SQLite's lock goes when its holder does."""
    with contextlib.closing(sqlite3.connect(path / "lock.db", timeout=600, isolation_level=None)) as lock:
        lock.execute("BEGIN EXCLUSIVE")
        yield


@contextlib.contextmanager
def _worker(path: Path) -> Iterator[RunDir]:
    """A folder that this process holds for as long as it trains trials."""
    worker = RunDir(Path(tempfile.mkdtemp(dir=path / "workers")))
    try:
        with worker.lock():
            yield worker
    finally:
        shutil.rmtree(worker.path, ignore_errors=True)


def _open_study(file: SearchFile, path: Path) -> Any:
    """The search's study, new or as it is; UsageError where it was begun by another file."""
    optuna = import_optuna()
    with _mutex(path):
        storage = optuna.storages.RDBStorage(
            f"sqlite:///{path / 'study.db'}", engine_kwargs={"connect_args": {"timeout": 600}}
        )
        warmup = file.config.epochs // 5
        pruner = optuna.pruners.MedianPruner(n_startup_trials=5, n_warmup_steps=warmup)
        study = optuna.create_study(storage=storage, pruner=pruner, study_name="search", load_if_exists=True)
        definition = _json(file.definition)
        before = study.user_attrs.get("definition")
        if before is None:
            study.set_user_attr("definition", definition)
            return study
        defaults = {name: value for name, value in _json(asdict(Config())).items() if name in definition}
        before = defaults | before  # a setting added since has its default
        if changed := sorted(n for n in {*before, *definition} if before.get(n) != definition.get(n)):
            raise UsageError(
                f"{path} is a search with other settings; those that differ: {', '.join(changed)}. Only the "
                "number of trials may change: put the others back, or give this search another name, by name = ..."
            )
    return study


def _claim(file: SearchFile, path: Path, study: Any, worker: RunDir) -> Any:
    """The trial to train next: one whose process was killed, or a new one; None where all are taken."""
    optuna = import_optuna()
    with _mutex(path):
        trials = study.trials
        running = [trial for trial in trials if trial.state == optuna.trial.TrialState.RUNNING]
        left = [trial for trial in running if not _in_use(path, trial.user_attrs.get("worker"))]
        if left:
            study.sampler = _sampler(file)
            study.sampler.before_trial(study, left[0])
            trial = optuna.trial.Trial(study, left[0]._trial_id)
        elif len(trials) >= file.trials:
            return None
        else:
            study.sampler = _sampler(file)
            trial = study.ask()
        _suggest(trial, file)
        trial.set_user_attr("worker", worker.path.name)
        # told of the last trial, a GridSampler would stop Optuna's loop
        study.sampler = optuna.samplers.RandomSampler()
        return trial


def _in_use(path: Path, worker: str | None) -> bool:
    return worker is not None and RunDir(path / "workers" / worker).in_use


def _sampler(file: SearchFile, *key: int) -> Any:
    """A search's sampler, whose draws depend on the search's seed and `key`: a trial's and a setting's numbers.

    A grid's point is the trial's own.
    """
    samplers = import_optuna().samplers
    if file.sampler == "tpe":
        return samplers.TPESampler(seed=int(np.random.SeedSequence([file.config.seed, *key]).generate_state(1)[0]))
    grid = {name: list(values.values) for name, values in file.space.items() if not isinstance(values, Range)}
    return samplers.GridSampler(grid, seed=file.config.seed % 2**32)


def _suggest(trial: Any, file: SearchFile) -> None:
    """Draw each setting by a generator of its own: a trial may have been killed when it had some of them."""
    for i, (name, values) in enumerate(file.space.items()):
        trial.study.sampler = _sampler(file, trial.number, i)
        if not isinstance(values, Range):
            trial.suggest_categorical(name, list(values.values))
        elif values.integers:
            trial.suggest_int(name, values.low, values.high, log=values.log)
        else:
            trial.suggest_float(name, values.low, values.high, log=values.log)


def _write_best(file: SearchFile, path: Path, study: Any) -> None:
    """Write the best trial's settings as a recipe, whole or not at all."""
    with _mutex(path):
        rows = [TrialRow.of(trial) for trial in study.trials]
        complete = [row for row in rows if row.outcome == "complete"]
        if complete:
            best = min(complete, key=lambda row: row.loss)
            title = f"trial {best.number} of the search {file.name}, validation loss {best.loss:.6g}"
            write_atomically(path / "best.toml", to_toml(file.recipe_of(best.params, title)).encode())


def _json(values: Any) -> Any:
    """Tuples as lists, as JSON has them."""
    if isinstance(values, dict):
        return {name: _json(value) for name, value in values.items()}
    return [_json(value) for value in values] if isinstance(values, list | tuple) else values
