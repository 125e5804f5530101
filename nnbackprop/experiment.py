"""A run from its configuration to its folder: data, trainer, listeners, summary and plots put together."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from backends import Backend, select

from . import assembly
from . import config as configuration
from .config import Config
from .data import load
from .data.dataset import Dataset
from .data.scaling import fit_scaling
from .data.split import split
from .errors import DataError, DivergedError, UsageError
from .machine import Moment, cores, crowd, remark, use_threads
from .metrics import confusion
from .report.findings import diagnosis_report
from .report.progress import progress
from .training import checkpoints, state
from .training.diagnosis import NotFinite
from .training.events import Score
from .training.interrupt import stop_on_interrupt
from .training.run_folder import Recorder, RunFolder, environment
from .training.trainer import Trainer

MAY_CHANGE = (
    "epochs",
    "patience",
    "max_time",
    "progress",
    "backend",
    "device",
    "threads",
    "resident",
    "doctor",
    "runs_dir",
)


@dataclass(frozen=True)
class Parts:
    """The data of a run: what is trained on, what chooses the best weights, what judges at the end."""

    train: Dataset
    validation: Dataset | None
    test: Dataset | None

    @classmethod
    def load(cls, config: Config) -> Parts:
        """Read and split the data of `config`."""
        splits = load(
            config.data, test_fraction=config.test_fraction, seed=config.seed, split=config.test_fraction > 0
        )
        if not config.validation:
            if config.patience is not None:
                raise UsageError(
                    "--patience waits for a better validation loss and there is no validation part: "
                    "keep some of the training data for it, with --validation 0.1."
                )
            return cls(splits.train, None, splits.test)
        train, validation = split(splits.train, config.validation, config.seed)
        return cls(train, validation, splits.test)

    @cached_property
    def fingerprint(self) -> str:
        """A digest of the training samples in their order, to know the data again by."""
        digest = hashlib.blake2b(digest_size=16)
        for array in (self.train.inputs, self.train.labels):
            digest.update(f"{array.dtype}{array.shape}".encode())
            digest.update(np.ascontiguousarray(array).data)
        return digest.hexdigest()


@dataclass(frozen=True)
class Finished:
    """A run that ended: its folder, why it ended, and its summary unless it was interrupted."""

    folder: RunFolder
    reason: str
    summary: Mapping[str, Any] | None


def train(config: Config, console: Console) -> Finished:
    """Train `config` from its beginning in a new run folder."""
    assembly.check(config)
    begin, backend = Moment.now(), _backend(config)
    parts = Parts.load(config)
    trainer = assembly.trainer(config, backend, parts.train, fit_scaling(config.scale, parts.train))
    trainer.build(parts.train)
    folder = RunFolder.create(Path(config.runs_dir), config.recipe if config.name is None else config.name)
    with folder.held():
        return _run(config, trainer, parts, folder, console, begin)


def resume(run: str, overrides: Mapping[str, Any], runs: Path, console: Console) -> Finished:
    """Go on with a run in its own folder; `overrides` may change how long and where, not what is trained."""
    folder = RunFolder.open(runs, run)
    with folder.held():
        return _resume(folder, overrides, console)


def _resume(folder: RunFolder, overrides: Mapping[str, Any], console: Console) -> Finished:
    kept = configuration.of_run(folder.config)
    config = _changed(kept, overrides)
    last = checkpoints.load(folder.checkpoint("last"))
    begin, backend = Moment.now(), _backend(config)
    parts = Parts.load(config)
    if parts.fingerprint != last.meta["fingerprint"]:
        raise DataError(
            f"The data {config.data} is not what {folder.path} was trained on (fingerprint {parts.fingerprint}, "
            f"then {last.meta['fingerprint']}): put the old data back, or begin a new run."
        )
    trainer = assembly.trainer(config, backend, parts.train, state.scaling_of(last))
    best = folder.checkpoint("best")
    state.restore(trainer, parts.train, last, checkpoints.load(best) if last.meta["best"]["epoch"] else None)
    done = trainer.progress.epoch - 1
    if config.epochs < done:
        raise UsageError(
            f"{folder.path} has {done} epochs done, and --epochs {config.epochs} is less: ask for more."
        )
    folder.keep_rows(before=done + 1)
    if parts.validation is None:
        best.unlink(missing_ok=True)  # the last weights were the best, and will not be any more
    # where a run goes on is not where it was asked to run: a GPU run repeats on a laptop
    stored = replace(config, backend=kept.backend, device=kept.device)
    return _run(stored, trainer, parts, folder, console, begin)


def _changed(config: Config, overrides: Mapping[str, Any]) -> Config:
    for name, value in overrides.items():
        before = getattr(config, name)
        if name not in MAY_CHANGE and before != value:
            raise UsageError(
                f"A resumed run keeps its {name}: it is {before!r} there, and {value!r} was asked for. Leave "
                f"the flag out, or begin a new run. What may change is {', '.join(MAY_CHANGE)}."
            )
    settings = {name: value for name, value in asdict(config).items() if value is not None}
    return configuration.parse({**settings, **overrides}, "The resumed run with the given flags")


def _backend(config: Config) -> Backend:
    if config.threads is not None:
        use_threads(config.threads)
    return select(config.backend, config.device)


def _remarks(config: Config, backend: Backend, begin: Moment) -> dict[str, str]:
    """What a run's header says of the machine, where that is not as it should be."""
    remarks = {}
    if backend.name == "numpy" and not backend.fused:
        remarks["rules"] = 'one operator at a time; pip install "nnbackprop[fast]" compiles them'
    if backend.device == "cpu":
        others = crowd(begin, Moment.now())
        if words := remark(others, config.threads or cores(), cores()):
            remarks["machine"] = words
    return remarks


def _run(
    config: Config, trainer: Trainer, parts: Parts, folder: RunFolder, console: Console, begin: Moment
) -> Finished:
    """Train, record, and at the end judge and draw; data was read from `begin` on."""
    for outdated in ("summary.json", "doctor.json"):
        (folder.path / outdated).unlink(missing_ok=True)
    folder.write("config.toml", configuration.to_toml(config))
    folder.write_json("env.json", environment(trainer.backend))
    meta = _meta(parts)
    recorder = Recorder(
        folder,
        last=lambda: state.take_last(trainer, meta),
        best=lambda: state.take_best(trainer, meta),
        improved=lambda: trainer.best.waited == 0 and trainer.best.epoch > 0,
    )
    trainer.listeners = (recorder, progress(config.progress, console))
    trainer.description = {**trainer.description, **_remarks(config, trainer.backend, begin)}
    summary = None
    try:
        with stop_on_interrupt(trainer.stop):
            trainer.fit(parts.train, parts.validation, parts.test)
        if trainer.stopped != "interrupted":
            summary = summarise(config, trainer, parts)
    except DivergedError:
        recorder.write_rows()
        _tell_diagnosis(trainer, folder, console)
        raise
    _tell_diagnosis(trainer, folder, console)
    if summary is None:
        return Finished(folder, "interrupted", None)
    folder.write_json("summary.json", summary)
    draw(folder, trainer, parts)
    return Finished(folder, trainer.stopped or "finished", summary)


def _tell_diagnosis(trainer: Trainer, folder: RunFolder, console: Console) -> None:
    """Keep what the doctor has to say, and say what it found."""
    if not trainer.doctor:
        return
    diagnosis = trainer.diagnosis
    folder.write_json("doctor.json", diagnosis.to_json())
    if diagnosis.findings:
        console.print(diagnosis_report(diagnosis))


def _meta(parts: Parts) -> dict[str, Any]:
    """What a checkpoint says beside its arrays: enough to use the weights without the data."""
    train = parts.train
    return {
        "version": version("nnbackprop"),
        "fingerprint": parts.fingerprint,
        "features": train.inputs.shape[1],
        "classes": list(train.classes),
        "highest": float(train.inputs.max()),
        "image_shape": list(train.image_shape) if train.image_shape else None,
    }


def summarise(config: Config, trainer: Trainer, parts: Parts) -> dict[str, Any]:
    """The figures of a finished run; losses and accuracies in evaluation mode, with the weights it ends with."""
    p = trainer.progress
    samples = (p.epoch - 1) * len(parts.train.labels) + p.samples
    scores: dict[str, float | None] = {}
    for name in ("train", "validation", "test"):
        part = getattr(parts, name)
        score: Score | None = trainer.evaluate(part) if part else None
        if score and not math.isfinite(score.loss):
            words = f"After the last step the loss of the {name} part is {score.loss}"
            raise trainer.diverged(NotFinite(p.step, "watched", words, kept=False))
        scores[f"{name}_loss"] = score.loss if score else None
        scores[f"{name}_accuracy"] = score.accuracy if score else None
    return {
        "recipe": config.recipe,
        "backend": trainer.backend.name,
        "device": trainer.backend.device,
        "dtype": config.dtype,
        "seed": config.seed,
        "parameters": sum(row.parameters for row in trainer.layers),
        "epochs": p.epoch - 1,
        "steps": p.step,
        "best_epoch": trainer.best.epoch or None,
        "reason": trainer.stopped or "finished",
        **scores,
        "seconds": p.seconds,
        "samples_per_second": samples / p.seconds if p.seconds else None,
    }


def draw(folder: RunFolder, trainer: Trainer, parts: Parts) -> None:
    """The run's plots, judged on the test part or, where there is none, on the training part."""
    from .report.plots import draw_all

    judged = parts.test or parts.train
    probabilities = trainer.predict_proba(judged.inputs)
    predicted = trainer.predict(judged.inputs)
    weights = next(p["W"] for p in trainer.params if "W" in p)
    draw_all(
        folder.plots,
        folder.rows(),
        trainer.backend.to_numpy(weights),
        judged,
        confusion(predicted, judged.labels, len(judged.classes)),
        predicted,
        probabilities,
    )
