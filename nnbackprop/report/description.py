"""A trained network in words and tables: its data's preprocessing, its classes and its layers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from rich.console import Group, RenderableType
from rich.text import Text

from nnbackprop.data.preprocessing import Preprocessing
from nnbackprop.runs.trained_model import TrainedModel
from nnbackprop.training.initialization import layer_rows

from .tables import layer_table, new_table

MAX_FEATURES, MAX_NAMES = 60, 12


def description_of(model: TrainedModel) -> dict[str, Any]:
    """What a trained network expects and gives, as JSON has it."""
    found: dict[str, Any] = {
        "run": str(model.run_dir.path),
        "data": model.config.data,
        "features": model.n_features,
        "classes": list(model.classes),
        "loss": model.config.loss,
    }
    if model.preprocessing is not None:
        found |= {"task": model.preprocessing.task, "targets": list(model.preprocessing.targets)}
        found["columns"] = list(columns_of(model.preprocessing, *_scaling_of(model)))
    return found


def description_report(model: TrainedModel, width: int = 80) -> RenderableType:
    """The preprocessing of each column, the classes, and the layers."""
    lines = [f"trained on {model.config.data}"]
    p = model.preprocessing
    if p is not None:
        lines.append(f"{p.task} of {', '.join(p.targets)}")
    if model.classes:
        shown = ", ".join(model.classes[:MAX_NAMES]) + (" ..." if len(model.classes) > MAX_NAMES else "")
        lines.append(f"{len(model.classes)} classes: {shown}")
    blocks: list[RenderableType] = [Text("\n".join(lines))]
    if p is not None and (p.has_names or not p.is_plain):
        blocks += ["", _column_table(p, *_scaling_of(model))]
    layers = model.evaluator.objective.network.summary(model.sample_shape, model.config.params_dtype)
    itemsize = np.dtype(model.config.params_dtype).itemsize
    return Group(*blocks, "", layer_table(layer_rows(layers, itemsize), width))


def columns_of(p: Preprocessing, mean: np.ndarray, std: np.ndarray) -> Iterator[dict[str, Any]]:
    """Each feature column and what it becomes: mean and standard deviation, or categories."""
    at = 0
    for name in p.columns:
        if name in p.categories:
            yield {"column": name, "categories": list(p.categories[name])}
            at += len(p.categories[name])
            continue
        row = {"column": name, "mean": mean[at] + p.offsets.get(name, 0.0), "std": std[at]}
        if name in p.fill:
            row["missing"] = p.fill[name]
        if name in p.indicators:
            row["indicator"] = f"{name}=missing"
        yield row
        at += 1 + (name in p.indicators)


def _scaling_of(model: TrainedModel) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation (features,) that the scaling takes off and divides by."""
    scaling, shape = model.evaluator.scaling, (model.n_features,)
    with np.errstate(all="ignore"):
        std = np.where(scaling.scale == 0, 0.0, 1 / scaling.scale)
        mean = -scaling.shift * std
    return np.broadcast_to(mean, shape), np.broadcast_to(std, shape)


def _column_table(p: Preprocessing, mean: np.ndarray, std: np.ndarray) -> RenderableType:
    table = new_table("column", "becomes", "a missing value")
    for row in list(columns_of(p, mean, std))[:MAX_FEATURES]:
        if "categories" in row:
            names = ["missing" if c is None else c for c in row["categories"]]
            shown = ", ".join(names[:MAX_NAMES]) + (" ..." if len(names) > MAX_NAMES else "")
            missing = "its own category" if None in row["categories"] else "0 in all of them"
            missing = "an error" if p.missing == "error" else missing
            cells = row["column"], f"one-hot: {shown}", missing
        else:
            becomes = f"(x - {row['mean']:.6g}) / {row['std']:.6g}" if row["std"] else "0"
            if p.missing != "error" and "missing" in row:
                missing = f"{row['missing']:.6g}" + (", and an indicator" if "indicator" in row else "")
            else:
                missing = "an error"
            cells = row["column"], becomes, missing
        table.add_row(*map(Text, cells))
    if len(p.columns) > MAX_FEATURES:
        table.caption = f"and {len(p.columns) - MAX_FEATURES} more columns"
    return table
