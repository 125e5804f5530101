"""A copy of the state to replay from: after memory ran out, and to find where numbers became NaN or infinite."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from backends import Tree, tree_map

from .progress import Progress

SHARE = 100  # a snapshot may cost 1/100 of the time between snapshots


@dataclass
class Snapshot:
    """The state before step `step` + 1, which begins after `samples` samples of `epoch`; renewed when cheap."""

    xp: Any
    state: Tree = None
    epoch: int = 0
    samples: int = 0
    step: int = 0
    progress: Mapping[str, Any] = field(default_factory=dict)
    cost: float = 0.0  # seconds
    taken: float = 0.0

    def renew(self, state: Tree, progress: Progress) -> None:
        """Copy `state` if the last copy is old enough."""
        begin = time.perf_counter()
        if self.state is not None and begin - self.taken < SHARE * self.cost:
            return
        self.state = state
        self.state = self.copy()
        self.epoch, self.samples, self.step = progress.epoch, progress.samples, progress.step
        self.progress = progress.to_dict()
        self.taken = time.perf_counter()
        self.cost = self.taken - begin

    def copy(self) -> Tree:
        """A copy of the copy, to be donated to a step."""
        return tree_map(lambda a: self.xp.asarray(a, copy=True), self.state)
