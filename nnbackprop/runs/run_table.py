"""Runs side by side: the state, best score, time and settings of each run folder."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from nnbackprop.errors import NnbackpropError, RunFolderError

from .config import Config
from .config_files import load_run_config
from .run_dir import RunDir

NOT_COMPARED = {"recipe", "title", "name", "tags", "runs_dir", "progress", "keep_checkpoints", "save_every", "log"}
"""Settings that say nothing of what was trained."""


@dataclass(frozen=True)
class RunInfo:
    """A run as its folder tells it.

    status is running, finished, early-stopping, max-time, diverged, unfinished (to be resumed), empty (nothing to
    resume) or damaged. `score` is of the best epoch by validation loss; without a validation part that of
    the last, on the test part if there is one.
    """

    name: str
    status: str
    changed: float  # when it was last written to, in seconds since 1970
    config: Config | None = None
    rows: Sequence[Mapping[str, Any]] = ()
    summary: Mapping[str, Any] | None = None
    problem: str = ""

    @property
    def epochs(self) -> int:
        """Epochs done."""
        return self.rows[-1]["epoch"] if self.rows else 0

    @property
    def seconds(self) -> float:
        """Of all training steps."""
        return sum(row.get("seconds", 0.0) for row in self.rows)

    @property
    def part(self) -> str:
        """The part of the data that the score is of: validation, test or train."""
        last = self.rows[-1] if self.rows else {}
        return next((part for part in ("validation", "test") if last.get(f"{part}_loss") is not None), "train")

    @property
    def best_row(self) -> Mapping[str, Any] | None:
        """The row of metrics.jsonl that the score is of."""
        scored = [row for row in self.rows if row.get(f"{self.part}_loss") is not None]
        if self.part == "validation":
            return min(scored, key=lambda row: row["validation_loss"])
        return scored[-1] if scored else None

    @property
    def score(self) -> dict[str, float | None]:
        """Loss and metrics of the best row, by name, None for NaN; empty before the first epoch is done."""
        prefix, row = f"{self.part}_", self.best_row or {}
        return {key.removeprefix(prefix): value for key, value in row.items() if key.startswith(prefix)}

    @property
    def tags(self) -> tuple[str, ...]:
        """The tags it was given."""
        return self.config.tags if self.config else ()

    def to_json(self) -> dict[str, Any]:
        """What the table shows, as JSON has it."""
        row, planned = self.best_row, self.config.epochs if self.config else None
        return {
            "name": self.name,
            "status": self.status,
            "epochs": self.epochs,
            "planned_epochs": planned,
            "part": self.part if row else None,
            "best_epoch": row["epoch"] if row else None,
            "score": self.score,
            "seconds": self.seconds,
            "changed": self.changed,
            "tags": list(self.tags),
            **({"problem": self.problem} if self.problem else {}),
        }


@dataclass(frozen=True)
class RunTable:
    """Several runs, and the settings in which they differ."""

    runs: tuple[RunInfo, ...]

    @property
    def differences(self) -> dict[str, list[Any]]:
        """Each setting that is not the same in all runs, with its value in each."""
        settings = [asdict(run.config) for run in self.runs if run.config]
        names = [field.name for field in fields(Config) if field.name not in NOT_COMPARED]
        values = {name: [one[name] for one in settings] for name in names}
        return {name: several for name, several in values.items() if any(v != several[0] for v in several)}

    def to_json(self) -> dict[str, Any]:
        """{"runs": [...], "differences": {setting: [its value in each run]}}."""
        return {"runs": [run.to_json() for run in self.runs], "differences": self.differences}


def list_runs(runs_dir: Path, tags: Iterable[str] = ()) -> RunTable:
    """The runs in a folder that have all of `tags`, the newest last; a damaged one is listed as such."""
    run_dirs = [RunDir(path.parent) for path in runs_dir.glob("*/config.toml")]
    found = sorted((_info(run_dir) for run_dir in run_dirs), key=lambda run: run.changed)
    return RunTable(tuple(run for run in found if set(tags) <= set(run.tags)))


def compare_runs(names: Sequence[str], runs_dir: Path) -> RunTable:
    """The runs called so, in that order; RunFolderError if one is damaged or not there."""
    found = tuple(_info(RunDir.open(runs_dir, name)) for name in names)
    for run in found:
        if run.problem:
            raise RunFolderError(run.problem)
    return RunTable(found)


def _info(run_dir: RunDir) -> RunInfo:
    changed = max(path.stat().st_mtime for path in (run_dir.config_path, run_dir.metrics_path) if path.exists())
    try:
        config, rows = load_run_config(run_dir.config_path), run_dir.read_metrics()
        summary = run_dir.read_json("summary.json")
        return RunInfo(run_dir.path.name, _status(run_dir, summary), changed, config, rows, summary)
    except NnbackpropError as error:
        return RunInfo(run_dir.path.name, "damaged", changed, problem=str(error))


def _status(run_dir: RunDir, summary: Mapping[str, Any] | None) -> str:
    if run_dir.in_use:
        return "running"
    if summary:
        return str(summary.get("reason"))
    diagnosis = run_dir.read_json("doctor.json") or {}
    findings = diagnosis.get("findings")
    ids = [f.get("id") for f in findings if isinstance(f, dict)] if isinstance(findings, list) else ()
    if "not-finite" in ids:
        return "diverged"
    return "unfinished" if run_dir.has_progress else "empty"
