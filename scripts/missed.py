"""What stands in the way of the aims that were missed: by measurement, or that it is not known."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from statistics import median

import aims
import besides
import memory

from benchmarks.beside import Beside
from benchmarks.contestants import ENTRIES, US
from benchmarks.overhead import SAMPLES
from benchmarks.results import Result
from benchmarks.works import WORKS

IMAGES, PIXELS = 70_000, 784
"""Of MNIST, for training and for the test."""

BATCH = 120
"""Of W1n."""


@dataclass(frozen=True)
class Miss:
    """An aim that was missed, and the ratios of the rounds that count."""

    result: Result
    ours: str
    rival: str
    work: str
    aim: float
    ratios: Sequence[float]

    @property
    def leaves(self) -> float:
        """The share of our time that a step might take to reach the aim."""
        return median(self.ratios) / self.aim

    @property
    def products(self) -> float | None:
        """The share of our time that the products alone take, where they are NumPy's."""
        if ENTRIES[self.ours].options["backend"] != "numpy":
            return None
        return share(self.result, self.work, self.ours)

    @property
    def rounds(self) -> int:
        """In how many rounds it was reached."""
        return sum(aims.reached(ratio, self.aim) for ratio in self.ratios)

    @property
    def cells(self) -> Iterator[str]:
        """Its row."""
        yield from (aims.name(self.ours), aims.name(self.rival), self.work, aims.kernels(self.result))
        yield f"{self.rounds} of {len(self.ratios)}"
        yield f"{self.leaves:.0%}"
        products = "" if self.products is None else f"{self.products:.0%}"
        yield f"**{products}**" if self.products and self.products > self.leaves else products


def misses(results: Sequence[Result]) -> Iterator[Miss]:
    """In the order of the aims."""
    for ours, rival, work, aim in aims.each():
        for result in results:
            ratios = aims.ratios(result, work, ours, rival)
            if ratios and not aims.reached(median(ratios), aim):
                yield Miss(result, ours, rival, work, aim, ratios)


def table(found: Sequence[Miss]) -> str:
    """A row a miss."""
    lines = [
        "| ours | against | work | kernels | rounds that reached it | the aim leaves | products alone |",
        "|---|---|---|---|---|---|---|",
    ]
    return "\n".join([*lines, *(f"| {' | '.join(miss.cells)} |" for miss in found)])


# Figures out of the results.


def share(result: Result, work: str, contestant: str) -> float:
    """The products' share of a contestant's time."""
    return ratio(result, work, "products", contestant)


def ratio(result: Result, work: str, theirs: str, ours: str) -> float:
    """Median over the rounds."""
    return median(aims.ratios(result, work, ours, theirs))


def seconds(result: Result, work: str, contestant: str) -> float:
    """For the unit of the work."""
    timing = result.timing(work)
    row = timing.row(contestant) if timing else None
    assert row, f"{contestant} was measured at {work}"
    return row.seconds.median


def both(results: Sequence[Result], figure: Callable[[Result], float], form: str = ".0%") -> str:
    """A figure of each machine, in the order of the columns."""
    return " and ".join(f"{figure(result):{form}}" for result in results)


def products(results: Sequence[Result], work: str, contestant: str) -> str:
    """The products' share of a contestant's time."""
    return both(results, lambda result: share(result, work, contestant))


# A paragraph a pair.

BESIDES = """Besides what the rival does, ours scales each batch from bytes, sums its loss, counts its right
    answers, and takes the gradients' norms in a chunk's last step"""


def numpy_torch(results: Sequence[Result], found: Sequence[Miss]) -> str:
    """One sample a step is what is far away."""
    step = both(results, lambda r: 1e6 * seconds(r, "W3", US) / WORKS["W3"].steps, ".0f")
    alone = both(results, lambda r: 1e6 * seconds(r, "W3", "products") / WORKS["W3"].steps, ".0f")
    words = f"""W3's step takes {step} µs, its products {alone}. The rest are dozens of short calls of NumPy's; how
        much of them is the interpreter has not been measured. A compiled loop makes none, and takes
        {both(results, lambda r: ratio(r, "W3", "jax", US), ".2f")} of the time: `--backend jax`."""
    for miss in (miss for miss in found if miss.work != "W3"):
        words += f""" At {miss.work} the products take {products(results, miss.work, US)} of our time, and
            {miss.rounds} of {len(miss.ratios)} rounds with kernels for {aims.kernels(miss.result)} reached
            the aim."""
    return words


def numpy_jax(results: Sequence[Result], found: Sequence[Miss]) -> str:
    """Products, and what lies beyond them."""
    return f"""At W1 {beyond(results, found, "W1")} NumPy's products alone are {shares(results, "jax-grad")} of the
        time of JAX's whole step. What that spends on products of its own cannot be told: it is compiled as one."""


def numpy_sklearn(results: Sequence[Result], found: Sequence[Miss]) -> str:
    """The same products."""
    works = list(dict.fromkeys(miss.work for miss in found))
    words = " ".join(f"At {work} {beyond(results, found, work)}" for work in works)
    return f"""It makes the same products with the same OpenBLAS, and they are {shares(results, "sklearn", works)}
        of its time. {words} How far that could be brought down has not been measured;
        `nnbackprop bench --profile W1n` shows its pieces."""


def jax_jax(results: Sequence[Result], found: Sequence[Miss]) -> str:
    """What ours does besides."""
    return f"""{BESIDES}, which at W4 is one in {WORKS["W4"].chunk}. {without("jax")}"""


def torch_torch(results: Sequence[Result], found: Sequence[Miss]) -> str:
    """Not Adam."""
    plain = "W1n" in {miss.work for miss in found}
    words = "W1n is missed with neither dropout nor Adam, so neither is the whole cause." if plain else ""
    words = f"{words} {BESIDES}. {without('torch')}"
    return f"""{words} Which of our other calls take longer than autograd's has not been measured;
        `nnbackprop bench --profile W1n --backend torch` shows ours alone."""


def without(backend: str) -> str:
    """What is left of a step that does nothing besides, and the rival's time in the same turns."""
    measured = besides.kept()
    if measured is None:
        return "What these take has not been measured."
    parts = [
        f"at {case.work} {spread(case.bare)} of the whole step's time, and the rival {spread(case.rival)}"
        for case in measured.cases
        if case.backend == backend
    ]
    return f"Without all that, in turns of their own, our step takes {'; '.join(parts)}."


def spread(ratios: Sequence[float]) -> str:
    """Median, least and greatest."""
    return f"{median(ratios):.2f} ({min(ratios):.2f}..{max(ratios):.2f})"


def beyond(results: Sequence[Result], found: Sequence[Miss], work: str) -> str:
    """What a step takes beyond its products, and what the aims that were missed leave for it."""
    here = [(miss.leaves, miss.products) for miss in found if miss.work == work and miss.products]
    left = [f"{round(100 * leaves) - round(100 * alone)}%" for leaves, alone in here]  # of what the table shows
    return f"""what lies beyond the products takes {both(results, lambda r: 1 - share(r, work, US))} of our time,
        where the aim leaves {" and ".join(left).replace("-", "−")}."""


def shares(results: Sequence[Result], contestant: str, works: Sequence[str] = ("W1", "W1n", "W1a", "W4")) -> str:
    """The products' share of a contestant's time, work by work."""
    return ", ".join(f"{products(results, work, contestant)} ({work})" for work in works)


Note = Callable[[Sequence[Result], Sequence[Miss]], str]

NOTES: dict[tuple[str, str], Note] = {
    (US, "torch-eager"): numpy_torch,
    (US, "jax-grad"): numpy_jax,
    (US, "sklearn"): numpy_sklearn,
    ("jax", "jax-grad"): jax_jax,
    ("torch", "torch-eager"): torch_torch,
}


def openblas(results: Sequence[Result]) -> Iterator[str]:
    """What kernels make of the same products: the first two machines', if they are one."""
    if len(results) < 2:
        return
    one, other = results[:2]
    quotients = {
        who: ", ".join(f"{work} {seconds(one, work, who) / seconds(other, work, who):.0%}" for work in WORKS)
        for who in ("products", "jax-grad")
    }
    timing = one.timing("W1")
    row = timing.row("products") if timing else None
    assert row
    yield f"""**OpenBLAS.** With `OPENBLAS_CORETYPE=Haswell` it leaves a processor's AVX-512 alone. With kernels
        for {aims.kernels(one)} the products take, of their seconds with {aims.kernels(other)}'s:
        {quotients["products"]}. W1, W1n and W1a make the same products; at W1 {row.left_out} of their
        {len(row.slices)} slices had to be left out. The two contests were held apart, and the machine was not
        equally fast: JAX, which does without OpenBLAS, took {quotients["jax-grad"]}."""


def trainer(found: Beside) -> str:
    """By the step, and by the turn."""
    parts = {one.work: 1e6 * (one.trained - one.bare) for one in found.overheads}
    turn = parts["W1n"] * (SAMPLES // BATCH) / 1e3
    return f"""**Trainer and display** take {parts["W1n"]:.0f} µs a step at W1n, which is {turn:.0f} ms in a turn
        of {SAMPLES // BATCH} steps, and {parts["W3"]:.1f} µs at W3: a look after each chunk, at whether all is
        finite, a copy of the state from time to time to go back to, and drawing. How it divides among these has
        not been measured."""


def floats(found: Beside) -> str:
    """Samples as floats are there twice."""
    more, one = found.memory.float32 - found.memory.uint8, IMAGES * PIXELS / 1e6  # MB, a byte a number
    return f"""**Samples in float32** take {more / 1e6:.0f} MB more than in uint8. They are there twice, as they
        came, for judging and pictures, and scaled once for all steps: {IMAGES:,} images of {PIXELS} numbers are
        {4 * one:.0f} MB as floats, {one:.0f} as bytes, and twice the one less the other is {7 * one:.0f}."""


def resident(found: memory.Resident, results: Sequence[Result]) -> str:
    """Stage by stage."""
    stages, names = found.stages, list(memory.STAGES)
    numba, drawing = (stages[stage] - stages[names[names.index(stage) - 1]] for stage in ("numba", "end"))
    lines = ["| one process, one epoch, bytes resident when | MB |", "|---|---|"]
    lines += [f"| {words} | {stages[stage] / 1e6:.0f} |" for stage, words in memory.STAGES.items()]
    words = f"""**Memory.** Of the {stages["end"] / 1e6:.0f} MB of this run the import of numba takes
        {numba / 1e6:.0f}, and {drawing / 1e6:.0f} come after training, when matplotlib draws; less these two it is
        {(stages["end"] - numba - drawing) / 1e6:.0f}. Without `[fast]` there is no numba, and the default run, W1,
        takes {both(results, lambda r: ratio(r, "W1", "numpy", US), ".2f")} times as long."""
    return "\n\n".join([bullet(words), "\n".join(lines)])


def bullet(words: str) -> str:
    """A paragraph, wrapped."""
    return textwrap.fill(" ".join(words.split()), 118, break_on_hyphens=False, break_long_words=False)


def everything(results: Sequence[Result], besides: Beside | None, stages: memory.Resident | None) -> str:
    """The table, and a paragraph a pair of which an aim was missed; with no note, that it is not known."""
    found = list(misses(results))
    parts = [table(found)]
    for ours, rival in dict.fromkeys((miss.ours, miss.rival) for miss in found):
        note = NOTES.get((ours, rival))
        here = [miss for miss in found if (miss.ours, miss.rival) == (ours, rival)]
        words = note(results, here) if note else "What stands in the way is not known."
        parts.append(bullet(f"**{aims.name(ours)} against {aims.name(rival)}.** {words}"))
    parts += map(bullet, openblas(results))
    if besides:
        parts += [bullet(trainer(besides)), bullet(floats(besides))]
    if stages:
        parts.append(resident(stages, results))
    return "\n\n".join(parts) + "\n"
