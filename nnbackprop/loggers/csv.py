"""A row of comma-separated values an epoch."""

from __future__ import annotations

import csv
import io
from pathlib import Path

from nnbackprop._files import append, write_atomically
from nnbackprop.errors import RunFolderError
from nnbackprop.runs.train import Run
from nnbackprop.training.callbacks import Callback
from nnbackprop.training.events import EpochEnd, TrainBegin
from nnbackprop.training.history import flat_row
from nnbackprop.training.trainer import Trainer


class CSVLogger(Callback):
    """Writes the rows of metrics.jsonl to a CSV file, gradient norms as gradient_norm_dense1 and so on.

    A file that is there is gone on with: its rows of epochs that are trained again are replaced.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)

    def train_begin(self, trainer: Trainer, event: TrainBegin) -> None:
        """Keep the rows of the epochs before this one; RunFolderError where the file holds other rows."""
        if not self.path.exists():
            return
        try:
            head, *rows = list(csv.reader(io.StringIO(self.path.read_text(encoding="utf-8")))) or [[]]
            kept = [cells for cells in rows if cells and int(cells[0]) < trainer.progress.epoch]
        except (ValueError, csv.Error) as error:
            raise RunFolderError(
                f"{self.path} holds a row that does not begin with the number of an epoch ({error}): put back "
                "what was there, or move the file away, and a new one is begun."
            ) from error
        write_atomically(self.path, _text(*([head, *kept] if kept else [])))

    def epoch_end(self, trainer: Trainer, event: EpochEnd) -> None:
        """Append the epoch's row, after the names of its columns where the file is empty."""
        values = flat_row(event)
        empty = not self.path.exists() or not self.path.stat().st_size
        append(self.path, _text(*([list(values)] if empty else []), list(values.values())))


def _text(*rows: list[object] | list[str]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue().encode()


def for_run(run: Run) -> CSVLogger:
    """`--log csv`: metrics.csv in the run's folder."""
    return CSVLogger(run.run_dir.path / "metrics.csv")
