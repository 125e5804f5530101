"""Text for people: counts, sizes, times and metrics."""

from __future__ import annotations

import math


def count(n: float) -> str:
    """1,234,567."""
    return f"{n:,.0f}"


def size(n: float) -> str:
    """Bytes as B, KiB, MiB or GiB."""
    for unit in ("B", "KiB", "MiB"):
        if n < 1024:
            return f"{n:.0f} B" if unit == "B" else f"{n:.1f} {unit}"
        n /= 1024
    return f"{n:.1f} GiB"


def duration(seconds: float) -> str:
    """Seconds as 1.5ms, 3.21s, 2:05 or 1:02:05."""
    if seconds < 0.1:
        return f"{1000 * seconds:.1f}ms"
    if seconds < 60:
        return f"{seconds:.2f}s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def age(seconds: float) -> str:
    """A time that has passed, in its largest whole unit: 40 s, 3 min, 2 h, 5 d."""
    for unit, length in (("d", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{int(seconds // length)} {unit}"
    return f"{max(0, int(seconds))} s"


def percent(x: float) -> str:
    """0.98 as 98.00%."""
    return f"{100 * x:.2f}%"


def shape(dimensions: tuple[int, ...]) -> str:
    """(28, 28) as 28 x 28."""
    return " x ".join(map(str, dimensions))


def plural(n: int, noun: str) -> str:
    """1 sample, 2 samples."""
    return f"{count(n)} {noun}" + ("" if n == 1 else "s")


def loss(x: float) -> str:
    """A loss to four decimals, or as 1.23e-05 where those would be too few or too many."""
    return f"{x:.4f}" if x == 0 or 1e-3 <= abs(x) < 1e4 else f"{x:.2e}"


def number(x: float) -> str:
    """A number of any unit to five digits: 0.012345, 3.1416, 23,412."""
    if x == 0 or not 1e-4 <= abs(x) < 1e9:
        return f"{x:.4g}"
    return f"{x:,.{max(0, 4 - math.floor(math.log10(abs(x))))}f}"


def metric(name: str, x: float) -> str:
    """A metric by its name: accuracies as 98.00%, errors as a number of the targets' unit, others as a loss."""
    if name.endswith("accuracy"):
        return percent(x)
    return number(x) if name in ("rmse", "mae") else loss(x)
