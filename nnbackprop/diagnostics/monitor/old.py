"""The monitor as the trainer of before callbacks with (trainer, event) calls it."""

from __future__ import annotations

import time
from types import SimpleNamespace
from typing import Any

from .monitor import Monitor


class OldMonitor:
    """Adapts Monitor."""

    def __init__(self, step: Any, state: Any) -> None:
        self.monitor, self.step, self.state, self.trainer = Monitor(), step, state, SimpleNamespace()

    def look(self, loader: Any, state: Any, xs: Any, at: int) -> float:
        """Before a chunk."""
        begin = time.perf_counter()
        self.trainer = SimpleNamespace(backend=loader.backend, loader=loader, step=self.step, state=state)
        self.monitor.chunk_begin(self.trainer, SimpleNamespace(step=at, xs=xs))
        return time.perf_counter() - begin

    def __getattr__(self, name: str) -> Any:
        if name in ("diagnosis", "history", "probe"):
            return getattr(self.monitor, name)
        if name in ("train_begin", "chunk_end", "epoch_end"):
            return lambda event: getattr(self.monitor, name)(self.trainer, event)
        if name == "train_end":
            self.trainer.state = self.state()
            return lambda event: self.monitor.train_end(self.trainer, event)
        return lambda event: None

    def __setattr__(self, name: str, value: Any) -> None:
        if name in ("fault", "share"):
            setattr(self.monitor, name, value)
        else:
            object.__setattr__(self, name, value)
