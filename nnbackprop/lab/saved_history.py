"""A run of the disk as the page is told of it."""

from __future__ import annotations

from nnbackprop.runs.config_files import load_run_config
from nnbackprop.runs.run_dir import RunDir

from . import events
from .events import History, State


def saved_history(run_dir: RunDir) -> History:
    """What the files of a run tell: its epochs, its findings, and how it stands."""
    config, in_use = load_run_config(run_dir.config_path), run_dir.in_use
    rows = run_dir.read_metrics()
    summary = None if in_use else run_dir.read_json("summary.json")
    history = History()
    history.epochs = events.spread([events.epoch_of_row(row) for row in rows], events.MAX_POINTS)
    history.findings = (run_dir.read_json("doctor.json") or {}).get("findings", [])
    last = rows[-1] if rows else {"epoch": 0, "step": 0}
    history.state = State(
        status="running" if in_use else "finished" if summary else "stopped",
        run=run_dir.path.name,
        recipe=config.recipe,
        epoch=last["epoch"],
        epochs=config.epochs,
        step=last["step"],
        steps_per_epoch=last["step"] // max(last["epoch"], 1),
        lr=config.lr if isinstance(config.lr, float) else None,
        dropout=config.dropout,
        seconds=sum(row["seconds"] for row in rows),
        reason=str(summary.get("reason")) if summary else None,
        elsewhere=in_use,
    )
    return history
