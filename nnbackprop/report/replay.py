"""A replay as tables: weights and metrics beside those of the run folder, and a verdict."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.text import Text

from nnbackprop.diagnostics.replay import Replay
from nnbackprop.diagnostics.replay_differences import MetricDifference, WeightDifference

from .formatting import metric, plural
from .tables import MISSING, new_table


def replay_report(found: Replay) -> RenderableType:
    """The weights, the metrics, what has changed in the environment, and the verdict."""
    places = {(tensor.name, tensor.which): tensor for tensor in found.tensors}
    weights = new_table("weights", "last", "best", right=("last", "best"))
    for name in dict.fromkeys(tensor.name for tensor in found.tensors):
        weights.add_row(
            name, *(_relative(places.get((name, which)), found.tolerance) for which in ("last", "best"))
        )
    steps, where = plural(found.steps, "step"), f"{found.backend} ({found.device}, {found.dtype})"
    head = f"{found.run}: {steps} trained again on {where}"
    lines: list[RenderableType] = [Text(head), weights]
    if found.metrics:
        metrics = new_table("", "kept", "again", right=("kept", "again"))
        for m in found.metrics:
            kept, again = _value(m, m.kept), _value(m, m.again)
            metrics.add_row(m.name.replace("_", " "), kept, again if m.agrees else f"[bold red]{again}")
        lines.append(metrics)
    else:
        lines.append("The run has not ended: there are no metrics and no best weights to compare.")
    for change in found.changes:
        kept, now = ("not recorded" if value is None else value for value in (change.kept, change.now))
        lines.append(Text(f"{change.name}: {now} now, {kept} then", style="yellow"))
    return Group(*lines, Text(verdict(found), style="bold green" if found.passed else "bold red"))


def _relative(tensor: WeightDifference | None, tolerance: float | None) -> str:
    if tensor is None:
        return MISSING
    if tensor.equal:
        return "bit for bit"
    return f"{'[bold red]' if tolerance is not None and tensor.relative > tolerance else ''}{tensor.relative:.1e}"


def _value(m: MetricDifference, value: float | None) -> str:
    if value is None:
        return MISSING
    if m.name.endswith("accuracy"):
        return metric(m.name, value)
    return f"{value:.17g}" if m.kept != m.again and isinstance(value, float) else f"{value:.6g}"


def verdict(found: Replay) -> str:
    """Whether it is the same run, and by what it was judged."""
    if found.exact:
        return "the same, bit for bit"
    if not found.changes and all(tensor.equal for tensor in found.tensors):
        return "FAILED: the weights are the same, the metrics are not: summary.json or the data was altered"
    if not found.changes:
        return "FAILED: not the same, though the environment is"
    if found.tolerance is not None:
        reason = f"float64 weights within {found.tolerance:g}, accuracies the same"
    else:
        reason = (
            f"{found.dtype} runs diverge where rounding decides a sign; the accuracy is that of the same recipe"
        )
    return f"{'passed' if found.passed else 'FAILED'}, as the environment has changed: {reason}"
