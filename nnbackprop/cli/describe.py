"""The command that shows what a trained network expects and gives: describe."""

from __future__ import annotations

from nnbackprop._json import to_json_text

from .evaluate import RunOptions
from .flags import AsJson, Run, out


def describe(run: Run, /, *, as_json: AsJson = False, options: RunOptions = RunOptions()) -> int:  # noqa: B008 (frozen)
    """Show a trained network: its columns with categories and means, its classes, its layers."""
    from nnbackprop.report.description import description_of, description_report

    model = options.open(run)
    if as_json:
        print(to_json_text(description_of(model), indent=2))
    else:
        out.print(description_report(model, out.width))
    return 0
