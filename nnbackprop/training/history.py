"""The epochs of a training, as a list of events and as columns."""

from __future__ import annotations

from typing import Any

from nnbackprop._html import html_table

from .events import EpochEnd

MAX_ROWS = 50  # in a notebook


class History(list[EpochEnd]):
    """The epochs of a `Trainer`, oldest first: `history[-1].train.loss`.

    >>> network, x = nb.Sequential(nb.Dense(1)), np.linspace(-1, 1, 40)[:, None]
    >>> trainer = nb.Trainer(network, nb.MeanSquaredError(), nb.SGD(), lr=0.1, epochs=3)
    >>> history = trainer.fit(nb.Dataset(x, 2 * x))
    >>> history.to_dict()["epoch"]  # and a data frame by pandas.DataFrame(history.to_dict())
    [1, 2, 3]
    """

    def to_dict(self) -> dict[str, list[Any]]:
        """Columns of a value an epoch, by name: epoch, step, lr, train_loss, train_accuracy, validation_loss ...

        Parts that were never evaluated have no columns. The norm of each layer's gradient has one, such as
        gradient_norm_dense1.
        """
        rows = [flat_row(event) for event in self]
        names = dict.fromkeys(name for columns in rows for name, value in columns.items() if value is not None)
        return {name: [columns.get(name) for columns in rows] for name in names}

    def _repr_html_(self) -> str:
        columns = {name: values for name, values in self.to_dict().items() if not name.startswith("gradient_norm")}
        left_out = max(0, len(self) - MAX_ROWS)
        rows = [
            [value if isinstance(value, int | None) else f"{value:.6g}" for value in values]
            for values in list(zip(*columns.values(), strict=True))[left_out:]
        ]
        heads = [name.replace("_", " ") for name in columns]
        return html_table(heads, rows, f"after {left_out:,} earlier epochs" if left_out else "")


def row(event: EpochEnd) -> dict[str, Any]:
    """An epoch as a line of metrics.jsonl; None where a part is missing."""
    scores = {"train": event.train, "validation": event.validation, "test": event.test}
    flat = {}
    for part, score in scores.items():
        for name in ("loss", *event.train.metrics):
            flat[f"{part}_{name}"] = None if score is None else {"loss": score.loss, **score.metrics}[name]
    return {
        "epoch": event.epoch,
        "step": event.step,
        "lr": event.lr,
        **flat,
        "gradient_norms": dict(event.gradient_norms),
        "seconds": event.seconds,
        "samples_per_second": event.samples_per_second,
    }


def flat_row(event: EpochEnd) -> dict[str, Any]:
    """The same, with a value for each layer's norm: gradient_norm_dense1 ..."""
    values = row(event)
    norms = values.pop("gradient_norms")
    return values | {f"gradient_norm_{layer}": norm for layer, norm in norms.items()}


def confusion(event: EpochEnd) -> dict[str, Any]:
    """How often each class was taken for each, in the part that was evaluated, where there are few classes."""
    score = event.validation or event.test
    return {} if score is None or score.confusion is None else {"confusion": score.confusion}
