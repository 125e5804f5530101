"""The curves of a training in Python: `nb.plot(history)`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nnbackprop.errors import UsageError
from nnbackprop.training.history import History, row

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def plot(history: History) -> Figure:
    """Loss and metrics of each part against the epoch, a plot each: a matplotlib figure, to show or to save.

    `history` is what `Trainer.fit` returned, or `trainer.history`.

    >>> network, x = nb.Sequential(nb.Dense(1)), np.linspace(-1, 1, 40)[:, None]
    >>> trainer = nb.Trainer(network, nb.MeanSquaredError(), nb.SGD(), lr=0.1, epochs=3)
    >>> figure = nb.plot(trainer.fit(nb.Dataset(x, 2 * x)))  # figure.savefig("curves.png")
    >>> len(figure.axes) > 0
    True

    Raises:
        UsageError: something else, or no epoch.
    """
    _check(history)
    from .curves import history_curves
    from .style import style

    with style():
        return history_curves([row(event) for event in history])


def _check(history: Any) -> None:
    if not isinstance(history, History) or not history:
        what = "no epoch" if isinstance(history, History) else type(history).__name__
        raise UsageError(
            f"plot got {what} and needs the epochs of a training: pass what trainer.fit(...) returned, or "
            "trainer.history after it."
        )
