"""Steps recorded once and played again: what a CUDA graph wants of a training loop, told without CUDA.

A small step is all launches: tens of kernels that are over sooner than Python has asked for the next. A recording
plays them all with one call. It has every address baked in, so the state stays in the arrays it was recorded on,
and what changes from step to step is copied into buffers that the recording reads. The libraries' part, a
`Recorder`, is in cupy_graph.py and torch_graph.py.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol
from weakref import WeakKeyDictionary, ref

from backends.base import Array, Step, Tree, leaves, tree_map

STEPS = 16
"""Steps of a recording: enough that the copies and the call before each one do not count."""

MOST = 12
"""Recordings kept of one step; a run has a handful: whole, ragged and single batches, with and without `last`."""


class Recording(Protocol):
    """What was recorded."""

    def replay(self) -> None:
        """Do it all once more, in the order of what else is asked of the device."""


class Recorder(Protocol):
    """What a library does of its own."""

    def record(self, work: Callable[[], None]) -> Recording:
        """Call `work` and record what it asks of the device, which is not done now; raise what prevents it."""

    def copy(self, array: Array) -> Array:
        """A new array with the same numbers."""

    def overlap(self, a: Array, b: Array) -> bool:
        """Whether the two may share memory."""


class Replays:
    """`Backend.scan` by recordings.

    Nothing is done for trial. The first steps of a kind are done plainly, which compiles their kernels, and those
    that follow are recorded. A step that cannot be recorded goes on plainly, and a warning says why.
    """

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self._known: WeakKeyDictionary[Step, _Known] = WeakKeyDictionary()

    def scan(self, step: Step, state: Tree, data: Tree, xs: Tree, last: Step | None = None) -> Tree:
        """As `Backend.scan`: by recordings of `STEPS` steps, and of single ones for what is left over."""
        known = self._known.setdefault(step, _Known())
        at, steps = 0, leaves(xs)[0].shape[0]
        while at < steps:
            end = at + (STEPS if steps - at >= STEPS else 1)
            rows = tree_map(lambda a: a[at:end, ...], xs)  # noqa: B023
            chain = _Chain(step, step if last is None or end < steps else last, end - at)
            state = self._advance(known, chain, state, data, rows)
            at = end
        return state

    def recordings(self) -> Iterator[tuple[int, Any]]:
        """Each recording that is kept, with its number of steps."""
        for known in list(self._known.values()):
            for track in known.tracks.values():
                yield leaves(track.xs)[0].shape[0], track.recording

    def forget(self) -> None:
        """Give up all recordings with the memory they hold; they are made anew when they are needed."""
        self._known.clear()

    def _advance(self, known: _Known, chain: _Chain, state: Tree, data: Tree, xs: Tree) -> Tree:
        kinds = _kinds(state), _kinds(data), _kinds(xs, 1)
        done = ref(chain.last), kinds
        if known.plain or done not in known.done:
            known.done.add(done)
            return chain(state, data, xs)
        key = chain.steps, done, tuple(id(a) for a in leaves(data))
        if key not in known.tracks:
            try:
                track = self._record(chain, state, data, xs)
            except Exception as error:  # whatever a library cannot record, it can do
                known.plain = True
                _warn(error)
                return chain(state, data, xs)
            known.keep(key, track)
        return self._play(known.tracks[key], state, xs)

    def _record(self, chain: _Chain, state: Tree, data: Tree, xs: Tree) -> _Track:
        """Record a chain on the arrays of `state`, which were given away to it, and on buffers of its own."""
        own = self._apart(state)
        buffers = tree_map(self._recorder.copy, xs)
        recording = self._recorder.record(lambda: self._refill(own, chain(own, data, buffers)))
        return _Track(own, data, buffers, recording)

    def _play(self, track: _Track, state: Tree, xs: Tree) -> Tree:
        self._refill(track.state, state)
        self._refill(track.xs, xs)
        track.recording.replay()
        return track.state

    def _refill(self, own: Tree, new: Tree) -> None:
        """Copy `new` into the arrays `own`; what is there already stays.

        A step may hand back one array of its state in the place of another: copied aside first, none is lost.
        """
        places = leaves(own)
        moved = [(place, a) for place, a in _pairs(own, new) if a is not place]
        safe = [
            self._recorder.copy(a) if any(self._recorder.overlap(a, p) for p in places) else a for _, a in moved
        ]
        for (place, _), a in zip(moved, safe, strict=True):
            place[...] = a

    def _apart(self, state: Tree) -> Tree:
        """The same arrays; a copy of one that shares its memory with an earlier one, as two will be written to."""
        seen: list[Array] = []

        def own(a: Array) -> Array:
            seen.append(self._recorder.copy(a) if any(self._recorder.overlap(a, s) for s in seen) else a)
            return seen[-1]

        return tree_map(own, state)


@dataclass(frozen=True)
class _Chain:
    """A number of steps in a row, the last of them by `last`."""

    step: Step
    last: Step
    steps: int

    def __call__(self, state: Tree, data: Tree, xs: Tree) -> Tree:
        for k in range(self.steps):
            make = self.step if k < self.steps - 1 else self.last
            state = make(state, data, tree_map(lambda a: a[k, ...], xs))  # noqa: B023
        return state


@dataclass(frozen=True)
class _Track:
    """A recording with all that it reads and writes, which must live as long."""

    state: Tree
    data: Tree
    xs: Tree
    recording: Recording


@dataclass
class _Known:
    """What is known of one step function; it lives no longer than that."""

    done: set[Hashable] = field(default_factory=set)
    tracks: dict[Hashable, _Track] = field(default_factory=dict)
    plain: bool = False

    def keep(self, key: Hashable, track: _Track) -> None:
        """Keep a recording, in place of the oldest where there are many."""
        if len(self.tracks) == MOST:
            del self.tracks[next(iter(self.tracks))]
        self.tracks[key] = track


def _kinds(tree: Tree, axis: int = 0) -> tuple[Hashable, ...]:
    """Shapes, from `axis` on, and dtypes."""
    return tuple((tuple(a.shape[axis:]), a.dtype) for a in leaves(tree))


def _pairs(own: Tree, new: Tree) -> list[tuple[Array, Array]]:
    """The arrays of two trees of one structure, by key: a step may build its dict in another order."""
    if isinstance(own, dict):
        return [pair for key in own for pair in _pairs(own[key], new[key])]
    if isinstance(own, tuple):
        return [pair for o, n in zip(own, new, strict=True) for pair in _pairs(o, n)]
    return [(own, new)]


def _warn(error: Exception) -> None:
    reason = f"{type(error).__name__}: {error}".rstrip(".")
    words = "It goes on kernel by kernel, with the same numbers and more slowly."
    warnings.warn(f"A step cannot be recorded as a CUDA graph ({reason}). {words}", RuntimeWarning, stacklevel=5)
