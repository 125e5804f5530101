"""Every part in a process of its own, one after the other: what goes wrong in one of them is over with it.

An error of CUDA's stays with the process it happened in, and libraries keep memory as long as they live.
"""

from __future__ import annotations

import multiprocessing
import time
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import Connection

from nnbackprop.errors import DataError

from .captures import capture, endurance, memory
from .environment import GPU, environment
from .learning import accuracy
from .proofs import gradients, parity
from .results import Figure, Part, Skipped, Status
from .rivals import ENTRIES, rival
from .setting import Asked
from .speed import ladder, large
from .streaming import streaming

SECONDS = 8 * 60.0
"""For everything."""
LONGEST = 150.0
"""For one piece."""
LEAVE = 10.0
"""For its process to go once it has said its last word; then it is ended."""


@dataclass(frozen=True)
class Piece:
    """What is run as one part; `gpu` says why that takes a GPU, where it does."""

    title: str
    run: Callable[[Asked], Iterator[Figure]]
    gpu: str = ""


GRAPHS = "only on a GPU are steps captured as graphs"
TF32 = "TF32 is a precision of NVIDIA GPUs"
RIVALS = "on a CPU, nnbackprop bench has the rivals"

PIECES: dict[str, Piece] = {
    "environment": Piece("the machine", environment),
    "parity": Piece("the same as NumPy", parity),
    "gradients": Piece("gradients by differences", gradients),
    "capture": Piece("captured graphs", capture, GRAPHS),
    "ladder-float32": Piece("W1 in float32", partial(ladder, dtype="float32")),
    "ladder-tf32": Piece("W1 in TF32", partial(ladder, dtype="tf32"), TF32),
    "large-float32": Piece("W4 in float32", partial(large, dtype="float32")),
    "large-tf32": Piece("W4 in TF32", partial(large, dtype="tf32"), TF32),
    "accuracy": Piece("time to an accuracy", accuracy),
    "streaming": Piece("samples that stream", streaming),
    "memory": Piece("out of memory", memory, "a CPU's memory has no limit that could be set"),
    "endurance": Piece("replays without end", endurance, GRAPHS),
    **{name: Piece(entry.title, partial(rival, name=name), RIVALS) for name, entry in ENTRIES.items()},
}
"""In the order of what matters, should the time run out."""

Answer = Figure | tuple[Status, str]
"""What comes back from a process: a figure as it is found, and last how it ended and why."""


@dataclass(frozen=True)
class Runner:
    """Runs the pieces until the time is up; `say` hears of each once it is over."""

    asked: Asked
    say: Callable[[Part], None]

    def run(self) -> tuple[Part, ...]:
        """All of them, the machine first: it tells what there is to run them on."""
        until = time.monotonic() + SECONDS
        machine = self.part("environment", LONGEST)
        self.say(machine)
        parts = [machine]
        for name in list(PIECES)[1:]:
            left = until - time.monotonic()
            reason = self.hindrance(name, machine) or ("" if left > 0 else f"{SECONDS / 60:.0f} minutes were over")
            parts.append(ended(name, "skipped", reason) if reason else self.part(name, min(left, LONGEST)))
            self.say(parts[-1])
        return tuple(parts)

    def hindrance(self, name: str, machine: Part) -> str:
        """Why there is no use in starting a piece on this machine; empty where there may be."""
        if machine.status != "passed":
            return f"the backend {self.asked.backend} cannot be used here"
        return "" if any(figure.what == GPU for figure in machine.figures) else PIECES[name].gpu

    def part(self, name: str, limit: float) -> Part:
        """One of them, for `limit` seconds at most."""
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe(duplex=False)
        process = context.Process(target=serve, args=(name, self.asked, theirs), daemon=True)
        begin, figures = time.monotonic(), list[Figure]()
        process.start()
        theirs.close()
        try:
            status, reason = listen(ours, begin + limit, figures)
            process.join(LEAVE)
        except TimeoutError:
            status, reason = "failed", f"it was not done after {limit:.0f} s"
        except EOFError:
            process.join(LEAVE)
            status, reason = "failed", f"its process ended with exit code {process.exitcode}"
        process.kill()
        process.join()
        return ended(name, status, reason, figures, time.monotonic() - begin)


def listen(pipe: Connection, until: float, figures: list[Figure]) -> tuple[Status, str]:
    """Gather the figures that come; how it ended. EOFError if it did without a word, TimeoutError if not yet."""
    while pipe.poll(max(0.0, until - time.monotonic())):
        answer: Answer = pipe.recv()
        if isinstance(answer, tuple):
            return answer
        figures.append(answer)
    raise TimeoutError


def ended(name: str, status: Status, reason: str, figures: Sequence[Figure] = (), seconds: float = 0.0) -> Part:
    """How a piece ended; one that ended well has failed all the same if a figure is beyond its limit."""
    beyond = [figure for figure in figures if not figure.holds]
    if status == "passed" and beyond:
        words = (f"{figure.what}: {figure.value}, the limit is {figure.limit:g}" for figure in beyond)
        status, reason = "failed", "; ".join(words)
    return Part(name, PIECES[name].title, status, seconds, tuple(figures), reason)


def serve(name: str, asked: Asked, pipe: Connection) -> None:
    """In the process of a piece: run it, and send what it finds as it finds it."""
    refuse_to_fall_back()
    try:
        for figure in PIECES[name].run(asked):
            pipe.send(figure)
        pipe.send(("passed", ""))
    except (Skipped, DataError) as error:
        pipe.send(("skipped", one_line(str(error))))
    except Exception as error:
        traceback.print_exc()
        pipe.send(("failed", one_line(f"{type(error).__name__}: {error}")))


def refuse_to_fall_back() -> None:
    """Make an error of the warning that a step is not captured: it would be timed, and praised, as if it were."""
    warnings.filterwarnings("error", "A step cannot be captured", RuntimeWarning)


def one_line(words: str) -> str:
    """Without line breaks, and not without end."""
    return " ".join(words.split())[:400]
