"""`Backend.scan` by CUDA graphs: chains of steps captured once and replayed.

A small step is launch-bound: its kernels end sooner than Python can launch the next. A graph launches a chain of
steps with one call. Its addresses are fixed, so a graph updates its own buffers of the state in place, and what
changes from step to step is copied into buffers that it reads. Each library has its `GraphRecorder`.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol
from weakref import WeakKeyDictionary, ref

from backends.base import Step
from backends.tree import Array, Tree, leaves, tree_map, zip_leaves

GRAPH_STEPS = 16
"""Steps of a graph: enough that its launch and the copies before it cost little."""

MAX_GRAPHS = 12
"""Graphs kept of one step; a run has a handful: whole, ragged and single batches, with and without `last_step`."""


class GraphRecorder(Protocol):
    """A library's way to capture graphs."""

    def record(self, work: Callable[[], None]) -> Any:
        """Call `work` and capture its kernels: a graph with `replay()`; raises what prevents it."""

    def copy(self, array: Array) -> Array:
        """A new array with the same numbers."""

    def address(self, array: Array) -> Hashable:
        """Its first byte and its strides: equal for two views of the same elements."""

    def overlap(self, a: Array, b: Array) -> bool:
        """Whether the two may share memory."""


class CapturedScan:
    """`Backend.scan` by captured graphs.

    The first steps with arguments of given shapes run eagerly, which compiles their kernels; later ones are
    captured. A step that cannot be captured runs eagerly, and a warning says why.

    The caller gets views of a graph's buffers. A state that comes back is recognised by its address and needs no
    copy; another state reuses the buffers if no view of them is alive, and else gets graphs of its own.
    """

    def __init__(self, recorder: GraphRecorder, loop: Callable[..., Tree]) -> None:
        """`loop` is `Backend.scan` as a Python loop."""
        self._recorder, self._loop = recorder, loop
        self._steps: WeakKeyDictionary[Step, _CapturedStep] = WeakKeyDictionary()

    def scan(self, step: Step, state: Tree, constants: Tree, batches: Tree, last_step: Step | None = None) -> Tree:
        """As `Backend.scan`: by graphs of `GRAPH_STEPS` steps, and of single ones for the rest."""
        captured = self._steps.setdefault(step, _CapturedStep())
        constants_key = _shapes(constants), tuple(self._recorder.address(a) for a in leaves(constants))
        at, steps = 0, leaves(batches)[0].shape[0]
        while at < steps:
            end = at + (GRAPH_STEPS if steps - at >= GRAPH_STEPS else 1)
            taken = tree_map(lambda a: a[at:end, ...], batches)  # noqa: B023
            state = self._advance(
                captured, step, last_step if end == steps else None, state, constants, taken, constants_key
            )
            at = end
        return captured.views_of(state)

    def graphs(self) -> Iterator[tuple[int, Any]]:
        """Each cached graph, with its number of steps."""
        for captured in list(self._steps.values()):
            for cached in captured.graphs.values():
                yield leaves(cached.batches)[0].shape[0], cached.graph

    def clear(self) -> None:
        """Drop all graphs and their memory; they are captured again when they are needed."""
        self._steps.clear()

    def _advance(
        self,
        captured: _CapturedStep,
        step: Step,
        last_step: Step | None,
        state: Tree,
        constants: Tree,
        batches: Tree,
        constants_key: Any,
    ) -> Tree:
        """The steps of `batches`: eagerly at first, then by a graph, which is captured where there is none."""
        signature = last_step and ref(last_step), _shapes(state), constants_key[0], _shapes(batches, 1)
        if captured.eager or signature not in captured.seen:
            captured.seen.add(signature)
            return self._loop(step, captured.views_of(state), constants, batches, last_step)
        try:
            buffers = self._buffers_for(captured, state)
            key = leaves(batches)[0].shape[0], signature, constants_key, buffers
            if key not in captured.graphs:
                own_batches = tree_map(self._recorder.copy, batches)
                precompute(step, constants, own_batches)  # compiles its kernels

                def steps() -> Tree:
                    return self._loop(
                        step, buffers.arrays, constants, precompute(step, constants, own_batches), last_step
                    )

                graph = self._recorder.record(lambda: self._refill(buffers.arrays, steps()))
                captured.cache(key, _CachedGraph(buffers, tree_map(_view, constants), own_batches, graph))
        except Exception as error:  # a library can run what it cannot capture
            captured.eager = True
            _warn(error)
            return self._loop(step, captured.views_of(state), constants, batches, last_step)
        cached = captured.graphs[key]
        self._refill(buffers.arrays, state)
        self._refill(cached.batches, batches)
        cached.graph.replay()
        return buffers.arrays

    def _buffers_for(self, captured: _CapturedStep, state: Tree) -> _StateBuffers:
        """The buffers that hold `state` or most of it; else some without a view that is alive; else new ones."""
        if (own := captured.buffers_with(state)) is not None:
            return own
        addresses = {self._recorder.address(a) for a in leaves(state) if math.prod(a.shape)}

        def shared(buffers: _StateBuffers) -> int:
            return sum(self._recorder.address(a) in addresses for a in leaves(buffers.arrays))

        fitting = (buffers for buffers in captured.buffers() if _shapes(buffers.arrays) == _shapes(state))
        usable = (buffers for buffers in fitting if shared(buffers) or not buffers.in_use())
        return max(usable, key=shared, default=None) or _StateBuffers(tree_map(self._recorder.copy, state))

    def _refill(self, own: Tree, new: Tree) -> None:
        """Copy `new` into the arrays `own`, except what is there already.

        A step may return one array of its state in the place of another: what overlaps is copied first.
        """
        if own is new:
            return
        address, overlap, all_own = self._recorder.address, self._recorder.overlap, leaves(own)
        moved = [(target, a) for target, a in zip_leaves(own, new) if address(a) != address(target)]
        sources = [self._recorder.copy(a) if any(overlap(a, o) for o in all_own) else a for _, a in moved]
        for (target, _), source in zip(moved, sources, strict=True):
            target[...] = source


@dataclass(eq=False)
class _StateBuffers:
    """Arrays that graphs update in place, and the views of them that the caller was given last."""

    arrays: Tree
    views: list[ref[Array]] = field(default_factory=list)

    def in_use(self) -> bool:
        return any(view() is not None for view in self.views)


@dataclass(frozen=True)
class _CachedGraph:
    """A graph with all arrays that it reads and writes, which must live as long; `constants` are views."""

    buffers: _StateBuffers
    constants: Tree
    batches: Tree
    graph: Any


@dataclass
class _CapturedStep:
    """The signatures of arguments that a step function has run on, and its graphs."""

    seen: set[Hashable] = field(default_factory=set)
    graphs: dict[Hashable, _CachedGraph] = field(default_factory=dict)
    eager: bool = False

    def cache(self, key: Hashable, graph: _CachedGraph) -> None:
        if len(self.graphs) == MAX_GRAPHS:
            del self.graphs[next(iter(self.graphs))]
        self.graphs[key] = graph

    def buffers(self) -> list[_StateBuffers]:
        return list(dict.fromkeys(cached.buffers for cached in self.graphs.values()))

    def buffers_with(self, arrays: Tree) -> _StateBuffers | None:
        return next((buffers for buffers in self.buffers() if buffers.arrays is arrays), None)

    def views_of(self, state: Tree) -> Tree:
        """New views where `state` is a graph's own arrays; any other state as it is."""
        if (buffers := self.buffers_with(state)) is not None:
            state = tree_map(_view, state)
            buffers.views = [ref(view) for view in leaves(state)]
        return state


def precompute(step: Step, constants: Tree, batches: Tree) -> Tree:
    """`batches` with what the step computes ahead for all of them, by its own `precompute`, if it has one."""
    return step.precompute(constants, batches) if hasattr(step, "precompute") else batches


def _view(array: Array) -> Array:
    return array[...]


def _shapes(tree: Tree, axis: int = 0) -> tuple[Hashable, ...]:
    """Shapes, from `axis` on, and dtypes."""
    return tuple((tuple(a.shape[axis:]), a.dtype) for a in leaves(tree))


def _warn(error: Exception) -> None:
    reason = f"{type(error).__name__}: {error}".rstrip(".")
    warnings.warn(
        f"A step cannot be captured as a CUDA graph ({reason}). It goes on kernel by kernel, with the same "
        "numbers and more slowly.",
        RuntimeWarning,
        stacklevel=5,
    )
