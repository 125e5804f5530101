"""A run that is not begun, for the terminal."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.text import Text

from nnbackprop.runs.config_files import to_toml
from nnbackprop.runs.dry_run import DryRun

from .flags import with_flags
from .formatting import count, duration, plural, size
from .tables import layer_table


def dry_run_report(found: DryRun, width: int = 80) -> RenderableType:
    """The configuration as TOML, the layer table, and estimates of memory and time."""
    samples = ", ".join(f"{count(n)} {part}" for part, n in found.samples.items() if n)
    parts = ", ".join(f"{name} {size(n)}" for name, n in found.memory.items())
    if found.seconds is None:
        time = f"no estimate for {found.backend} on {found.device}"
    else:
        each, every = duration(found.seconds), duration(found.seconds * found.config.epochs)
        time = f"about {each} an epoch, {every} in all, of training steps on an idle machine, within a factor of 3"
    lines = [
        *(f"{subject}  {with_flags(line)}" for subject, line in found.data.items()),
        f"backend  {found.backend} on {found.device}",
        f"samples  {samples}",
        f"steps    {plural(found.steps_per_epoch, 'step')} an epoch of {plural(found.batch_size, 'sample')}, "
        f"{plural(found.config.epochs, 'epoch')}",
        f"memory   about {size(sum(found.memory.values()))}: {parts}",
        f"time     {time}",
        "Nothing was trained or written: leave out --dry-run to begin.",
    ]
    return Group(Text(to_toml(found.config)), layer_table(found.layers, width), Text("\n".join(lines)))
