"""Sums of products over tiles of numbers that stay in registers: what convolutions on the CPU are made of.

OpenBLAS multiplies large square matrices at the processor's speed, and the long narrow ones of a convolution,
some dozens of filters wide, at a third of it. Here numba compiles one loop for each size of tile, in LLVM's
vectors, and reads images where they lie: no windows are copied.
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Sequence
from functools import cache, lru_cache
from typing import Any, NamedTuple

import numpy as np

from .numba_fuse import compiler
from .threads import run_blocks
from .tree import Array

MAX_ROWS = 14
"""Rows of the largest tile: a longer one only takes longer to compile."""


class Axis(NamedTuple):
    """A loop of `length`, and how many numbers further each turn of it reads a and b, and adds to c."""

    length: int
    a: int = 0
    b: int = 0
    c: int = 0


class Contraction(NamedTuple):
    """c += a b, summed over the two axes `sums`, at every place of the others; the strides are those of each axis.

    c has the axes `rows` and `columns`, of which tiles are cut, those in `outer`, and `images`, whose blocks are
    computed by several threads. Along columns, b and c are contiguous; a has none. Where c has no images it has a
    part for each block of them instead, to be added up. With `overwrites` c = a b: each place of c is in one tile.
    """

    images: Axis
    outer: tuple[Axis, ...]
    rows: Axis
    columns: int
    sums: tuple[Axis, Axis]
    overwrites: bool = False


def contract(terms: Contraction, a: Array, b: Array, c: Array, blocks: Sequence[tuple[int, int]]) -> None:
    """Write the contraction of a and b to c; C-contiguous arrays of one dtype, float32 or float64.

    `blocks` are the images of each block, first and past the last. The order of a sum depends on them alone, and
    not on the number of threads.
    """
    parts = c.size // len(blocks) if terms.images.c == 0 else 0
    a, b, c = a.reshape(-1), b.reshape(-1), c.reshape(-1)
    loops = [(_loop(*tile, terms.overwrites), tiles) for tile, tiles in _tiles(terms, c.dtype)]
    images, (segments, depth), rows = terms.images[1:], terms.sums, terms.rows
    lengths = segments.length, depth.length
    strides = segments.a, depth.a, rows.a, segments.b, depth.b, rows.c

    def run(block: int) -> None:
        for loop, tiles in loops:
            loop(a, b, c, tiles, blocks[block], parts * block, images, lengths, strides)

    run_blocks(run, len(blocks))


@lru_cache(maxsize=256)
def _tiles(terms: Contraction, dtype: np.dtype) -> list[tuple[tuple[int, tuple[int, ...]], Array]]:
    """The sizes of tiles, and where those of one image begin in a, b and c, (tiles, 3) each."""
    lanes, most = _vector_bytes() // dtype.itemsize, 4 if _registers() == 32 else 2
    found = []
    for f, width, blocks in _cut(terms.columns, most * lanes, balanced=False):
        widths = _widths(width, lanes)
        free = _registers() - 2 - len(widths)  # of the registers for the numbers of c
        for p, height, times in _cut(terms.rows.length, min(max(free // len(widths), 1), MAX_ROWS)):
            begins = np.array([[p * terms.rows.a, f, p * terms.rows.c + f]])
            over = Axis(times, height * terms.rows.a, 0, height * terms.rows.c)
            for axis in (Axis(blocks, 0, width, width), *terms.outer, over):
                turns = np.arange(axis.length)[:, np.newaxis] * np.array(axis[1:])
                begins = (begins[:, np.newaxis, :] + turns).reshape(-1, 3)
            found.append(((height, widths), begins))
    return found


def _cut(length: int, most: int, balanced: bool = True) -> list[tuple[int, int, int]]:
    """`length` in pieces of at most `most`: where the equal ones begin, their size and number, and the rest's."""
    size = -(-length // -(-length // most)) if balanced else min(length, most)
    times = length // size
    rest = length - times * size
    return [(0, size, times), *([(times * size, rest, 1)] if rest else [])]


def _widths(width: int, lanes: int) -> tuple[int, ...]:
    """`width` as vectors of `lanes` numbers, and of powers of two for the rest."""
    rest = width % lanes
    return (lanes,) * (width // lanes) + tuple(1 << k for k in range(rest.bit_length())[::-1] if rest >> k & 1)


@cache
def _cpu_features() -> Any:
    from llvmlite import binding

    return binding.get_host_cpu_features()


def _vector_bytes() -> int:
    """The width of the processor's vectors."""
    return 64 if _cpu_features().get("avx512f") else 32 if _cpu_features().get("avx") else 16


def _registers() -> int:
    """How many vectors the processor holds."""
    return 32 if _cpu_features().get("avx512f") or platform.machine().lower() in ("aarch64", "arm64") else 16


@cache
def _loop(rows: int, widths: tuple[int, ...], overwrites: bool) -> Callable[..., None]:
    """The compiled loop over tiles of `rows` by the sum of `widths`, of a block of images; c begins at `first`."""
    add_tile = _tile(rows, widths, overwrites)

    def loop(
        a: Any, b: Any, c: Any, tiles: Any, block: Any, first: int, image_strides: Any, lengths: Any, strides: Any
    ) -> None:
        for image in range(block[0], block[1]):
            for t in range(tiles.shape[0]):
                at_a, at_b = image * image_strides[0] + tiles[t, 0], image * image_strides[1] + tiles[t, 1]
                at_c = first + image * image_strides[2] + tiles[t, 2]
                add_tile(a, b, c, at_a, at_b, at_c, lengths, strides)

    return compiler().njit(loop, nogil=True, error_model="numpy")


def _tile(rows: int, widths: tuple[int, ...], overwrites: bool) -> Any:
    """For numba: c[p, f] += the sum over g, k of a[g, k, p] b[g, k, f] for one tile, written in LLVM's vectors.

    With `overwrites` it is = in place of +=. In Python, with arrays, the tile of c would go through memory at
    every turn of k. Here it is a vector of `widths[v]` numbers for each p and v, which LLVM keeps in a register
    from the first turn to the last; a number of a stands in all places of another, and each turn is a fused
    multiply-add for each p and v.
    """
    from llvmlite import ir
    from numba.core import cgutils, types
    from numba.extending import intrinsic

    helpers: Any = cgutils  # without types

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        a, b, c = (
            context.make_array(kind)(context, builder, array).data
            for kind, array in zip(signature.args[:3], arguments[:3], strict=True)
        )
        at_a, at_b, at_c = arguments[3:6]
        segments, depth = helpers.unpack_tuple(builder, arguments[6])
        a_segment, a_depth, a_row, b_segment, b_depth, c_row = helpers.unpack_tuple(builder, arguments[7])
        code = _VectorCode(builder, context.get_data_type(signature.args[2].dtype), widths)

        places = [pointer for p in range(rows) for pointer in code.vectors(c, code.step(at_c, p, c_row))]
        sums = [helpers.alloca_once(builder, place.type.pointee) for place in places]
        for total, place in zip(sums, places, strict=True):
            zero = ir.Constant(place.type.pointee, None)
            builder.store(zero if overwrites else code.load(place), total)
        with helpers.for_range(builder, segments) as segment:
            from_a, from_b = code.step(at_a, segment.index, a_segment), code.step(at_b, segment.index, b_segment)
            with helpers.for_range(builder, depth) as turn:
                line = [code.load(v) for v in code.vectors(b, code.step(from_b, turn.index, b_depth))]
                first = code.step(from_a, turn.index, a_depth)
                for p in range(rows):
                    number = builder.load(builder.gep(a, [code.step(first, p, a_row)]))
                    for total, vector in zip(sums[p * len(line) :], line, strict=False):
                        code.add_product(total, number, vector)
        for total, place in zip(sums, places, strict=True):
            builder.store(builder.load(total), place, align=code.alignment)
        return context.get_dummy_value()

    @intrinsic
    def add_tile(
        context: Any, a: Any, b: Any, c: Any, at_a: Any, at_b: Any, at_c: Any, lengths: Any, strides: Any
    ) -> Any:
        return types.void(a, b, c, types.intp, types.intp, types.intp, lengths, strides), generate

    return add_tile


class _VectorCode:
    """What `_tile` writes for a line of b or c, which is made of vectors of `widths` numbers."""

    def __init__(self, builder: Any, number: Any, widths: tuple[int, ...]) -> None:
        from llvmlite import ir

        self.builder, self.ir = builder, ir
        self.kinds = [ir.VectorType(number, width) for width in widths]
        self.begins = [sum(widths[:v]) for v in range(len(widths))]
        self.alignment = 8 if number == ir.DoubleType() else 4

    def step(self, begin: Any, index: Any, stride: Any) -> Any:
        """begin + index stride."""
        index = self.ir.Constant(stride.type, index) if isinstance(index, int) else index
        return self.builder.add(begin, self.builder.mul(index, stride))

    def vectors(self, array: Any, begin: Any) -> list[Any]:
        """Where the vectors of a line are."""
        places = [self.builder.add(begin, self.ir.Constant(begin.type, at)) for at in self.begins]
        numbers = [self.builder.gep(array, [place]) for place in places]
        return [self.builder.bitcast(at, kind.as_pointer()) for at, kind in zip(numbers, self.kinds, strict=True)]

    def load(self, place: Any) -> Any:
        """The vector at a place that is aligned for numbers only."""
        return self.builder.load(place, align=self.alignment)

    def add_product(self, total: Any, number: Any, vector: Any) -> None:
        """total += number vector, by one instruction where the processor has it."""
        undefined, index = self.ir.Constant(vector.type, self.ir.Undefined), self.ir.IntType(32)
        first = self.builder.insert_element(undefined, number, self.ir.Constant(index, 0))
        everywhere = self.ir.Constant(self.ir.VectorType(index, vector.type.count), None)
        repeated = self.builder.shuffle_vector(first, undefined, everywhere)
        product = self.builder.fmul(repeated, vector, flags=("contract",))
        self.builder.store(self.builder.fadd(self.builder.load(total), product, flags=("contract",)), total)
