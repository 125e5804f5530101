"""Who else was on the machine during a slice: what all its cores did, less what was the contestant's."""

from __future__ import annotations

from nnbackprop._system_info import Moment, crowd

MUCH = 0.1
"""Cores' worth of others' work, on the cores we use, that spoils a slice."""


def taken(before: Moment, after: Moment, cpu: float, cores: int, threads: int) -> float:
    """How many of our `threads` cores others kept busy between two moments, on average.

    `cpu` is what the contestant's process used, in seconds. Others cost us nothing while they find room on the
    rest of the machine's `cores`.
    """
    others = crowd(before, after) - cpu / (after.clock - before.clock)
    return max(0.0, others - (cores - threads))
