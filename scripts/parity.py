"""Train one small network with dropout on several libraries, in float64, and print how far they are apart."""

from __future__ import annotations

import sys
from typing import Annotated

from cyclopts import App, Parameter
from rich.console import Console
from rich.table import Table

from backends import BackendError, select
from nnbackprop.errors import UsageError
from nnbackprop.verify.parity import TOLERANCE, differences, trajectory

app = App(name="parity", help=__doc__)


@app.default
def parity(
    *,
    backends: Annotated[str, Parameter(help="Libraries, the first the one compared with.")] = "numpy,torch,jax",
    steps: Annotated[int, Parameter(help="Training steps.")] = 100,
    seed: Annotated[int, Parameter(help="Decides data, weights and masks.")] = 0,
    tolerance: Annotated[float, Parameter(help="Largest relative difference that passes.")] = TOLERANCE,
) -> int:
    """Print the largest relative difference by norm of loss, gradients and weights after each step."""
    console = Console()
    first, *others = (name.strip() for name in backends.split(","))
    if not others or steps < 1 or seed < 0:
        raise UsageError("Parity needs two libraries at least, such as numpy,torch, a step and a seed from 0 on.")
    reference = list(trajectory(select(first), steps, seed))
    worst = 0.0
    for name in others:
        rows = differences(reference, list(trajectory(select(name), steps, seed)))
        table = Table("step", "loss", "gradients", "weights", title=f"{name} against {first}, float64")
        for row in rows:
            table.add_row(str(row.step), *(f"{value:.1e}" for value in (row.loss, row.gradients, row.weights)))
        largest = max(row.largest for row in rows)
        console.print(table)
        console.print(
            f"{name}: largest {largest:.1e}, {'within' if largest <= tolerance else 'PAST'} {tolerance:g}"
        )
        worst = max(worst, largest)
    return int(not worst <= tolerance)


if __name__ == "__main__":
    try:
        sys.exit(app(result_action="return_value"))
    except (BackendError, UsageError) as error:
        Console(stderr=True).print(f"error: {error}", markup=False, soft_wrap=True)
        sys.exit(2)
