"""A run from its configuration to its folder: data, trainer, callbacks, summary and plots put together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape

from backends import Backend, select
from nnbackprop._files import remove
from nnbackprop._system_info import Moment, cores, crowd, remark, threads, use_threads
from nnbackprop.data.scaling import fit_scaling
from nnbackprop.errors import DivergedError, UsageError
from nnbackprop.report.findings import diagnosis_report
from nnbackprop.report.progress import progress
from nnbackprop.training.trainer import Trainer

from . import build
from . import config as configuration
from . import trainer_state as state
from .callbacks import Recorder, SaveEvery
from .checkpoint import Checkpoint
from .checkpoint_manager import CheckpointManager
from .config import MAY_CHANGE, Config
from .data_splits import DataSplits
from .divergence_recovery import DivergenceRecovery
from .run_dir import RunDir, environment
from .signals import stop_on_signals
from .summary import about, draw, summarise


@dataclass(frozen=True)
class Finished:
    """A run that ended: its folder, and its summary, or the number of the signal that interrupted it."""

    folder: RunDir
    summary: Mapping[str, Any] | None
    signal: int = 0


def train(config: Config, console: Console) -> Finished:
    """Train `config` from its beginning in a new run folder."""
    build.check(config)
    begin, backend = Moment.now(), open_backend(config)
    parts = DataSplits.load(config)
    trainer = first_trainer(config, backend, parts)
    folder = RunDir.create(Path(config.runs_dir), config.recipe if config.name is None else config.name)
    with folder.held():
        return _run(
            config, trainer, parts, folder, CheckpointManager(folder.checkpoints, config.keep), console, begin
        )


def first_trainer(config: Config, backend: Backend, parts: DataSplits) -> Trainer:
    """The trainer before its first step."""
    trainer = build.trainer(config, backend, parts.train, fit_scaling(config.scale, parts.train))
    trainer.build(parts.train)
    return trainer


def resume(run: str, overrides: Mapping[str, Any], runs: Path, console: Console) -> Finished:
    """Go on with a run in its own folder; `overrides` may change how long and where, not what is trained."""
    folder = RunDir.open(runs, run)
    with folder.held():
        return _resume(folder, overrides, console)


def _resume(folder: RunDir, overrides: Mapping[str, Any], console: Console) -> Finished:
    kept = configuration.of_run(folder.config)
    config = _changed(kept, overrides)
    build.check(config)
    begin, backend, shelf = Moment.now(), open_backend(config), CheckpointManager(folder.checkpoints, config.keep)
    if folder.begun:
        trainer, parts = _restored(config, backend, folder, shelf, console)
    else:  # killed before its first checkpoint
        parts = DataSplits.load(config)
        trainer = first_trainer(config, backend, parts)
    done, within = trainer.progress.epoch - 1, trainer.progress.samples > 0
    if config.epochs < done + within:
        begun = f", and is within epoch {done + 1}" if within else ""
        raise UsageError(
            f"{folder.path} has {done} epochs done{begun}: --epochs {config.epochs} is less, ask for more."
        )
    _tell_missing_rows(folder, done, console)
    folder.keep_rows(before=done + 1)
    if trainer.best.params is None:  # the last weights were the best, and will not be any more
        remove(folder.checkpoint("best"))
    # where a run goes on is not where it was asked to run: a GPU run repeats on a laptop
    stored = replace(config, backend=kept.backend, device=kept.device)
    return _run(stored, trainer, parts, folder, shelf, console, begin)


def _tell_missing_rows(folder: RunDir, done: int, console: Console) -> None:
    """A word if epochs that were trained have no row: no crash loses one, so that somebody took it out."""
    missing = sorted({*range(1, done + 1)} - {row["epoch"] for row in folder.rows()})
    if missing:
        which = f"{missing[0]} to {missing[-1]}" if len(missing) > 1 else f"{missing[0]}"
        words = f"lacks {len(missing)} of its rows, of epoch {which}: they are lost, and the run goes on."
        console.print(f"[yellow]{escape(str(folder.metrics))} {words}[/]", soft_wrap=True)


def _restored(
    config: Config, backend: Backend, folder: RunDir, shelf: CheckpointManager, console: Console
) -> tuple[Trainer, DataSplits]:
    """The trainer where the newest sound checkpoint was taken, and the data; a word of those passed over."""
    path, found, wrong = _newest(shelf, console)
    state.check_settings(found, config.settled, path, folder.config)
    parts = DataSplits.load(config)
    parts.check(found.meta.get("fingerprint"), path)
    trainer = build.trainer(config, backend, parts.train, state.scaling_of(found))
    state.restore(trainer, parts.train, found)
    if wrong:
        console.print(f"Going on from {escape(str(path))}, step {trainer.progress.step}.", soft_wrap=True)
    else:
        shelf.step = trainer.progress.step
    return trainer, parts


def _newest(shelf: CheckpointManager, console: Console) -> tuple[Path, Checkpoint, bool]:
    """The newest sound checkpoint and whether any was passed over, of which a word is said."""
    path, found, wrong = shelf.newest()
    for words in wrong:
        console.print(f"[yellow]passed over:[/] {escape(words)}", soft_wrap=True)
    return path, found, bool(wrong)


def _changed(config: Config, overrides: Mapping[str, Any]) -> Config:
    for name, value in overrides.items():
        before = getattr(config, name)
        if name not in MAY_CHANGE and before != value:
            raise UsageError(
                f"A resumed run keeps its {name}: it is {before!r} there, and {value!r} was asked for. Leave "
                f"the flag out, or begin a new run. What may change is {', '.join(MAY_CHANGE)}."
            )
    return configuration.changed(config, overrides, "The resumed run with the given flags")


def open_backend(config: Config) -> Backend:
    """The array library that `config` asks for, told how to compute."""
    if config.deterministic or config.threads:
        use_threads(config.threads or 1)
    backend = select(config.backend, config.device)
    if config.dtype == "tf32":
        backend.use_tf32()
    if config.gpu_memory_limit is not None:
        backend.limit_memory(int(config.gpu_memory_limit * 2**30))
    if config.deterministic:
        backend.deterministic()
    return backend


def _remarks(config: Config, backend: Backend, begin: Moment) -> dict[str, str]:
    """What a run's header says of the machine, where that is not as it should be."""
    remarks = {}
    if backend.name == "numpy" and not backend.fused:
        remarks["rules"] = 'one operator at a time; pip install "nnbackprop[fast]" compiles them'
    if backend.device == "cpu":
        others = crowd(begin, Moment.now())
        if words := remark(others, threads(), cores()):
            remarks["machine"] = words
    return remarks


def _run(
    config: Config,
    trainer: Trainer,
    parts: DataSplits,
    folder: RunDir,
    shelf: CheckpointManager,
    console: Console,
    begin: Moment,
) -> Finished:
    """Train, record, and at the end judge and draw; data was read from `begin` on."""
    for outdated in ("summary.json", "doctor.json"):
        remove(folder.path / outdated)
    folder.write("config.toml", configuration.to_toml(config))
    folder.write_json("env.json", environment(trainer.backend))
    meta = about(config, parts)
    recorder = Recorder(
        folder,
        shelf,
        last=lambda: state.take_last(trainer, meta),
        best=lambda: state.take_best(trainer, meta),
        improved=lambda: trainer.best.waited == 0 and trainer.best.epoch > 0,
        every=SaveEvery.parse(config.save_every),
        fresh=trainer.best.params is not None,
    )
    trainer.callbacks = (recorder, progress(config.progress, console))
    trainer.description = {**trainer.description, **_remarks(config, trainer.backend, begin)}
    with stop_on_signals(trainer.stop) as heard:
        summary = _fit(config, trainer, parts, recorder, console, heard)
    if config.doctor:
        _tell_diagnosis(trainer, folder, console)
    if summary is None:
        return Finished(folder, None, heard[0] if heard else 0)
    folder.write_json("summary.json", summary)
    draw(folder, trainer, parts, console)
    return Finished(folder, summary)


def _fit(
    config: Config, trainer: Trainer, parts: DataSplits, recorder: Recorder, console: Console, heard: list[int]
) -> dict[str, Any] | None:
    """The summary of a finished training, None of one that a signal interrupted, as is `heard`.

    Where numbers cease to be finite, back to a checkpoint and on at half the rate, if that was asked for.
    """
    back = DivergenceRecovery(trainer, parts.train, recorder) if config.on_nan != "stop" else None
    while not heard:
        try:
            trainer.fit(parts.train, parts.validation, parts.test)
            return None if trainer.stopped == "interrupted" else summarise(config, trainer, parts)
        except DivergedError as error:
            recorder.write_rows()
            if back is None or back.too_slow:
                _tell_diagnosis(trainer, recorder.folder, console)
                raise
            console.print(f"[yellow]{escape(str(error))}[/]", soft_wrap=True)
            for words in back.go():
                console.print(escape(words), soft_wrap=True)
    return None


def _tell_diagnosis(trainer: Trainer, folder: RunDir, console: Console) -> None:
    """Keep what the doctor has to say, and say what it found."""
    diagnosis = trainer.diagnosis
    folder.write_json("doctor.json", diagnosis.to_json())
    if diagnosis.findings:
        console.print(diagnosis_report(diagnosis))
